"""Workspaces, through which REST and gRPC handlers reach the data of one tenant only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import get_args

from cachetools import LRUCache

from super_advanced_agents.agents import AsyncLLMAgent
from super_advanced_agents.config import LIMITS, checked_agent_name, checked_name
from super_advanced_agents.errors import AgentNotFoundError, InvalidInputError
from super_advanced_agents.orchestration import Orchestrator
from super_advanced_agents.retrieval import LLMReranker
from super_advanced_agents.stores import VectorStore
from super_advanced_agents.stores.options import IndexKind, Metric, Storage
from super_advanced_agents.tenancy.catalog import new_collection
from super_advanced_agents.tenancy.config_file import AgentSettings
from super_advanced_agents.tenancy.idempotent_writes import earlier_result
from super_advanced_agents.tenancy.runtime import Runtime
from super_advanced_agents.tenancy.store_wrappers import CachedStore, CollectionStore
from super_advanced_agents.types import AgentInfo, CollectionInfo, JSONValue

_MAX_WORKSPACES = 1_024


class Workspace:
    """Give access to the agents, orchestrators and collections of one tenant.

    Handlers get a workspace and nothing else, so that no handler can reach the data of another tenant.

    Args:
        runtime: the open runtime of the process.
        tenant: the tenant; it comes from a credential, never from a request.

    Attributes:
        tenant: the tenant.
    """

    def __init__(self, runtime: Runtime, tenant: str) -> None:
        self.tenant = tenant
        self._runtime = runtime
        self._memories = runtime.memories(tenant)

    @property
    def default_agent(self) -> AsyncLLMAgent:
        """The agent that answers `POST /search`."""
        return self.agent(self._runtime.settings.agent)

    def agent(self, name: str, *, answer_tokens: int | None = None) -> AsyncLLMAgent:
        """Return the tenant's agent of that name, with its settings or the defaults.

        Args:
            name: 1 to 256 characters without control characters.
            answer_tokens: the maximum length of an answer in tokens; the agent's setting when None.

        Raises:
            InvalidInputError: `name` is not a valid name.
        """
        return self._runtime.agent_of(self._memories, self.tenant, name, answer_tokens=answer_tokens)

    @property
    def reranker(self) -> LLMReranker:
        """The re-ranker of search results, which uses the language model of this process."""
        return self._runtime.reranker

    def agent_settings(self, name: str) -> AgentSettings:
        """Return the settings of an agent, or the default settings when it has none."""
        return self._runtime.catalog.agent_settings(self.tenant, checked_agent_name(name, "agent"))

    async def aagents(self) -> list[AgentInfo]:
        """Return the name and settings of each agent that has settings or memories, sorted by name.

        Of those with memories 1,000 at most, and none where the memories are in a store of another machine.
        """
        agents = {info.name: info for info in self._runtime.catalog.agents(self.tenant)}
        namespaces = {info.namespace for info in agents.values()}
        for name in await self._memories.anamespaces() or []:
            if name not in namespaces:
                agents.setdefault(name, replace(AgentSettings().info(name, updated_at=None), declared=False))
        return [agents[name] for name in sorted(agents)]

    async def aagent_info(self, name: str) -> AgentInfo:
        """Return the name and the settings of an agent that has settings of its own.

        Raises:
            InvalidInputError: `name` is not a valid name.
            AgentNotFoundError: the agent has no settings; it still works, with the defaults.
        """
        checked_agent_name(name, "agent")
        for info in self._runtime.catalog.agents(self.tenant):
            if info.name == name:
                return info
        raise _no_settings(name)

    async def aput_agent(self, name: str, settings: AgentSettings) -> AgentInfo:
        """Set or replace the settings of an agent; they are durable on return.

        Raises:
            InvalidInputError: `name` is not a valid name, the agent is declared in the configuration file, or the
                tenant has `max_agents` agents with settings already.
        """
        return await self._runtime.catalog.aput_agent(self.tenant, checked_agent_name(name, "agent"), settings)

    async def adelete_agent(self, name: str) -> bool:
        """Reset an agent to the default settings; its memories (stored texts) are kept.

        Returns:
            False when the agent had no settings.

        Raises:
            InvalidInputError: `name` is not a valid name, or the agent is declared in the configuration file.
        """
        checked_agent_name(name, "agent")

        async def has_settings() -> bool:
            return self._runtime.catalog.has_agent(self.tenant, name)

        had = await earlier_result(has_settings)
        deleted = await self._runtime.catalog.adelete_agent(self.tenant, name)
        return deleted if had is None else had

    @property
    def orchestrators(self) -> list[str]:
        """The names of the tenant's orchestrators, sorted."""
        return self._runtime.orchestrators.names(self.tenant)

    def orchestrator(self, name: str, agent_names: Sequence[str] = ()) -> Orchestrator:
        """Return an orchestrator, which distributes questions among agents, by its name.

        Unless the configuration file declares `default`, it has every agent of the tenant.

        Args:
            name: the name of the orchestrator.
            agent_names: the agents that the request names.

        Raises:
            InvalidInputError: `name` is not a valid name.
            AgentNotFoundError: there is no orchestrator of that name.
        """
        return self._runtime.orchestrators.of(self.tenant, name, agent_names)

    async def acollection(self, name: str) -> VectorStore:
        """Return a collection by name as a vector store, which opens its files when it is used.

        Closing the returned store is not needed and does not affect the collection.

        Raises:
            InvalidInputError: `name` is not a valid name.
            CollectionNotFoundError: there is no collection of that name.
        """
        checked_name(name, "collection")
        store = CollectionStore(
            self._runtime.collections, self.tenant, self._runtime.catalog.collection(self.tenant, name)
        )
        return CachedStore(store, self._runtime.results, store_key=f"{self.tenant}/collections/{store.id}")

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
        """Create an empty collection of vector records; it is durable on return.

        Args:
            name: 1 to 64 letters, digits, `_` or `-`, unique within the tenant.
            dim: the dimension of its vectors, 1 to 65,536.
            metric: `"cosine"` or `"dot"`.
            index: `"auto"`, `"flat"`, `"hnsw"` or `"ivf"`; see `stores.options`.
            storage: `"fp32"`, `"fp16"` or `"sq8"`; see `stores.options`.
            exist_ok: return an existing collection of that name with equal settings instead of raising.

        Raises:
            InvalidInputError: an argument is invalid, or the tenant has `max_collections` collections already.
            CollectionExistsError: a collection of that name exists, with other settings or without `exist_ok`.
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
        info = new_collection(name, dim, metric, index, storage)
        was_there = await earlier_result(partial(self._has_collection, name))
        # In a retry, a collection that did not exist before the first attempt was created by that attempt.
        return await self._runtime.collections.acreate(self.tenant, info, exist_ok=exist_ok or was_there is False)

    async def acollection_info(self, name: str) -> CollectionInfo:
        """Return the name and the settings of a collection of this tenant, by its name.

        Raises:
            InvalidInputError: `name` is not a valid name.
            CollectionNotFoundError: there is no collection of that name.
        """
        checked_name(name, "collection")
        return self._runtime.catalog.collection(self.tenant, name).info

    async def acollections(self) -> list[CollectionInfo]:
        """Return the names and settings of all of the tenant's collections, sorted by name."""
        return self._runtime.catalog.collections(self.tenant)

    async def adelete_collection(self, name: str) -> bool:
        """Delete a collection and its records; the deletion is durable on return.

        Operations that are running on it finish first; then its files are removed.

        Returns:
            False when there was no collection of that name.
        """
        checked_name(name, "collection")
        was_there = await earlier_result(partial(self._has_collection, name))
        deleted = await self._runtime.collections.adelete(self.tenant, name)
        return deleted if was_there is None else was_there

    async def _has_collection(self, name: str) -> bool:
        return any(info.name == name for info in self._runtime.catalog.collections(self.tenant))

    async def astats(self) -> dict[str, JSONValue]:
        """Return a tenant's agent and collection counts, store statistics and cache hit counts."""
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
    """Make and cache the `Workspace` of each tenant, with LRU eviction.

    Making a workspace costs more than a cached search.

    Args:
        runtime: the open runtime of the process.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._workspaces: LRUCache[str, Workspace] = LRUCache(_MAX_WORKSPACES)

    def of(self, tenant: str) -> Workspace:
        """Return a tenant's `Workspace`, created if it is not cached."""
        workspace = self._workspaces.get(tenant)
        if workspace is None:
            workspace = self._workspaces[tenant] = Workspace(self._runtime, tenant)
        return workspace
