"""What one tenant has: all that a route or a gRPC method gets to see, so that none can reach another tenant's."""

from __future__ import annotations

from typing import get_args

from super_advanced_agents.agents import AsyncLLMAgent
from super_advanced_agents.config import checked_name
from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.server.catalog import new_collection
from super_advanced_agents.server.collection_store import CollectionStore
from super_advanced_agents.server.engines import Engines
from super_advanced_agents.stores import VectorStore
from super_advanced_agents.stores.faiss.building import IndexKind, Storage
from super_advanced_agents.stores.faiss.intake import Metric
from super_advanced_agents.stores.faiss.tenancy import tenant_view
from super_advanced_agents.types import CollectionInfo

_MAX_DIM = 65_536


class Workspace:
    """A tenant's agents and collections, made from the engines of this process.

    Args:
        engines: open.
        tenant: whose; it comes from a credential, never from a request.

    Attributes:
        tenant: as given.
    """

    def __init__(self, engines: Engines, tenant: str) -> None:
        self.tenant = tenant
        self._engines = engines
        self._memories = tenant_view(engines.store, tenant)

    @property
    def default_agent(self) -> AsyncLLMAgent:
        """The agent that `POST /search` asks."""
        return self.agent(self._engines.settings.agent)

    def agent(self, name: str) -> AsyncLLMAgent:
        """The agent of that name; it sees only its own memories, and there is one for every name.

        Raises:
            InvalidInputError: it is not a name.
        """
        checked_name(name, "agent")
        return AsyncLLMAgent(name, self._memories, self._engines.pipeline, self._engines.generator)

    async def acollection(self, name: str) -> VectorStore:
        """The tenant's collection of that name; its files are opened when it is used, and closed when others are.

        Closing what is returned is not needed, and leaves the collection as it is.

        Raises:
            InvalidInputError: it is not a name.
            CollectionNotFoundError: there is none.
        """
        checked_name(name, "collection")
        return CollectionStore(
            self._engines.collections, self.tenant, self._engines.catalog.collection(self.tenant, name)
        )

    async def acreate_collection(
        self,
        name: str,
        *,
        dim: int,
        metric: str = "cosine",
        index: str = "auto",
        storage: str = "fp32",
        exist_ok: bool = False,
    ) -> CollectionInfo:
        """Make a collection; returned means durable.

        Args:
            name: 1 to 64 letters, digits, `_` or `-`; other tenants may have one of the same name.
            dim: the length of its vectors, 1 to 65,536.
            metric: `"cosine"` or `"dot"`.
            index: `"auto"`, `"flat"`, `"hnsw"` or `"ivf"`; see `FAISSVectorStore`.
            storage: `"fp32"`, `"fp16"` or `"sq8"`; see there.
            exist_ok: one of that name with these settings is as good.

        Raises:
            InvalidInputError: an argument is wrong, or the tenant has as many collections as it may.
            CollectionExistsError: there is one, with other settings or without `exist_ok`.
        """
        checked_name(name, "name")
        if type(dim) is not int or not 1 <= dim <= _MAX_DIM:
            raise InvalidInputError(f"dim must be an integer from 1 to {_MAX_DIM}", field="dim")
        for field, value, choices in (
            ("metric", metric, get_args(Metric)),
            ("index", index, get_args(IndexKind)),
            ("storage", storage, get_args(Storage)),
        ):
            if value not in choices:
                raise InvalidInputError(f"{field} must be one of {', '.join(choices)}", field=field)
        wanted = new_collection(name, dim, metric, index, storage)
        return await self._engines.collections.acreate(self.tenant, wanted, exist_ok=exist_ok)

    async def acollection_info(self, name: str) -> CollectionInfo:
        """What the collection of that name was made with; raises as `acollection` does."""
        checked_name(name, "collection")
        return self._engines.catalog.collection(self.tenant, name).info

    async def acollections(self) -> list[CollectionInfo]:
        """All of the tenant's collections, by name."""
        return self._engines.catalog.collections(self.tenant)

    async def adelete_collection(self, name: str) -> bool:
        """Delete a collection with all that is in it; returned means that it is gone for good.

        Calls that are under way in it come to their end first; then its files are removed.

        Returns:
            False when there was none.
        """
        checked_name(name, "collection")
        return await self._engines.collections.adelete(self.tenant, name)
