"""What one tenant has: all that a route or a gRPC method gets to see, so that none can reach another tenant's."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import get_args

from cachetools import LRUCache

from super_advanced_agents.agents import AsyncLLMAgent
from super_advanced_agents.config import LIMITS, checked_name
from super_advanced_agents.errors import AgentNotFoundError, InvalidInputError
from super_advanced_agents.orchestration import Orchestrator
from super_advanced_agents.retrieval import LLMReranker
from super_advanced_agents.stores import VectorStore
from super_advanced_agents.stores.options import IndexKind, Metric, Storage
from super_advanced_agents.tenancy.catalog import new_collection
from super_advanced_agents.tenancy.config_file import AgentSettings
from super_advanced_agents.tenancy.idempotent_writes import was
from super_advanced_agents.tenancy.runtime import Runtime
from super_advanced_agents.tenancy.store_wrappers import CachedStore, CollectionStore
from super_advanced_agents.types import AgentInfo, CollectionInfo, JSONValue

_MAX_KEPT = 1_024


class Workspace:
    """A tenant's agents and collections, made from the engines of this process.

    Args:
        engines: open.
        tenant: whose; it comes from a credential, never from a request.

    Attributes:
        tenant: as given.
    """

    def __init__(self, runtime: Runtime, tenant: str) -> None:
        self.tenant = tenant
        self._runtime = runtime
        self._memories = runtime.memories(tenant)

    @property
    def default_agent(self) -> AsyncLLMAgent:
        """The agent that `POST /search` asks."""
        return self.agent(self._runtime.settings.agent)

    def agent(self, name: str, *, answer_tokens: int | None = None) -> AsyncLLMAgent:
        """The agent of that name, with the settings it was given; there is one for every name.

        Args:
            name: 1 to 64 letters, digits, `_` or `-`.
            answer_tokens: the length of its answers, at most, in tokens; as it was given when None.

        Raises:
            InvalidInputError: it is not a name.
        """
        return self._runtime.agent_of(self._memories, self.tenant, name, answer_tokens=answer_tokens)

    @property
    def reranker(self) -> LLMReranker:
        """Looks again at matches with the language model of this process."""
        return self._runtime.reranker

    def agent_settings(self, name: str) -> AgentSettings:
        """What the agent of that name was given, or the defaults."""
        return self._runtime.catalog.agent_settings(self.tenant, checked_name(name, "agent"))

    async def aagents(self) -> list[AgentInfo]:
        """The agents that were given settings, by name."""
        return self._runtime.catalog.agents(self.tenant)

    async def aagent_info(self, name: str) -> AgentInfo:
        """The settings of an agent.

        Raises:
            InvalidInputError: it is not a name.
            AgentNotFoundError: it was given none; it works all the same, with the defaults.
        """
        checked_name(name, "agent")
        for info in self._runtime.catalog.agents(self.tenant):
            if info.name == name:
                return info
        raise _no_settings(name)

    async def aput_agent(self, name: str, settings: AgentSettings) -> AgentInfo:
        """Give an agent settings, in place of those it had; returned means durable.

        Raises:
            InvalidInputError: it is not a name, the agent is declared in the configuration file, or there are as many
                as there may be.
        """
        return await self._runtime.catalog.aput_agent(self.tenant, checked_name(name, "agent"), settings)

    async def adelete_agent(self, name: str) -> bool:
        """Give an agent the defaults again; its memories stay.

        Returns:
            False when it has been given none.

        Raises:
            InvalidInputError: it is not a name, or the agent is declared in the configuration file.
        """
        checked_name(name, "agent")

        async def has_settings() -> bool:
            return self._runtime.catalog.has_agent(self.tenant, name)

        had = await was(has_settings)
        deleted = await self._runtime.catalog.adelete_agent(self.tenant, name)
        return deleted if had is None else had

    @property
    def orchestrators(self) -> list[str]:
        """The names of the tenant's orchestrators, in order."""
        return self._runtime.orchestrators.names(self.tenant)

    def orchestrator(self, name: str, named: Sequence[str] = ()) -> Orchestrator:
        """The tenant's orchestrator of that name; the one called `default` has every agent of the tenant.

        Args:
            name: which.
            named: the agents that the call names.

        Raises:
            InvalidInputError: it is not a name.
            AgentNotFoundError: there is none.
        """
        return self._runtime.orchestrators.of(self.tenant, name, named)

    async def acollection(self, name: str) -> VectorStore:
        """The tenant's collection of that name; its files are opened when it is used, and closed when others are.

        Closing what is returned is not needed, and leaves the collection as it is.

        Raises:
            InvalidInputError: it is not a name.
            CollectionNotFoundError: there is none.
        """
        checked_name(name, "collection")
        store = CollectionStore(
            self._runtime.collections, self.tenant, self._runtime.catalog.collection(self.tenant, name)
        )
        return CachedStore(store, self._runtime.results, owner=f"{self.tenant}/collections/{store.id}")

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
            index: `"auto"`, `"flat"`, `"hnsw"` or `"ivf"`; see `stores.options`.
            storage: `"fp32"`, `"fp16"` or `"sq8"`; see there.
            exist_ok: one of that name with these settings is as good.

        Raises:
            InvalidInputError: an argument is wrong, or the tenant has as many collections as it may.
            CollectionExistsError: there is one, with other settings or without `exist_ok`.
        """
        checked_name(name, "name")
        if type(dim) is not int or not 1 <= dim <= LIMITS.dim:
            raise InvalidInputError(f"dim must be an integer from 1 to {LIMITS.dim}", field="dim")
        for field, value, choices in (
            ("metric", metric, get_args(Metric)),
            ("index", index, get_args(IndexKind)),
            ("storage", storage, get_args(Storage)),
        ):
            if value not in choices:
                raise InvalidInputError(f"{field} must be one of {', '.join(choices)}", field=field)
        wanted = new_collection(name, dim, metric, index, storage)
        was_there = await was(partial(self._has_collection, name))
        # One that was not there when this request was first carried out is what it made then.
        return await self._runtime.collections.acreate(self.tenant, wanted, exist_ok=exist_ok or was_there is False)

    async def acollection_info(self, name: str) -> CollectionInfo:
        """What the collection of that name was made with; raises as `acollection` does."""
        checked_name(name, "collection")
        return self._runtime.catalog.collection(self.tenant, name).info

    async def acollections(self) -> list[CollectionInfo]:
        """All of the tenant's collections, by name."""
        return self._runtime.catalog.collections(self.tenant)

    async def adelete_collection(self, name: str) -> bool:
        """Delete a collection with all that is in it; returned means that it is gone for good.

        Calls that are under way in it come to their end first; then its files are removed.

        Returns:
            False when there was none.
        """
        checked_name(name, "collection")
        was_there = await was(partial(self._has_collection, name))
        deleted = await self._runtime.collections.adelete(self.tenant, name)
        return deleted if was_there is None else was_there

    async def _has_collection(self, name: str) -> bool:
        return any(info.name == name for info in self._runtime.catalog.collections(self.tenant))

    async def astats(self) -> dict[str, JSONValue]:
        """What the tenant has, and what the server works with; nothing of other tenants."""
        return {
            "agents": len(self._runtime.catalog.agents(self.tenant)),
            "collections": len(self._runtime.catalog.collections(self.tenant)),
            "embedding_model": self._runtime.pipeline.model_id,
            "store": await self._memories.astats(),
            "results": {**self._runtime.results.stats(self.tenant)},
        }


def _no_settings(name: str) -> AgentNotFoundError:
    return AgentNotFoundError(
        f"the agent {name!r} has no settings", hint="it works all the same; PUT /v1/agents/{agent} gives it some"
    )


class Workspaces:
    """Those of the tenants that called last: making one costs more than a search for an equal question does."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._kept: LRUCache[str, Workspace] = LRUCache(_MAX_KEPT)

    def of(self, tenant: str) -> Workspace:
        """What a tenant has."""
        kept = self._kept.get(tenant)
        if kept is None:
            kept = self._kept[tenant] = Workspace(self._runtime, tenant)
        return kept
