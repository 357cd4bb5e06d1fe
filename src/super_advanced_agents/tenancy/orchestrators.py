"""The orchestrators of a server: declared ones, and for each tenant the one that has all of its agents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from cachetools import LRUCache

from super_advanced_agents._runtime.lifecycle import Resource
from super_advanced_agents.agents import AsyncLLMAgent
from super_advanced_agents.config import checked_name
from super_advanced_agents.embeddings import EmbeddingPipeline
from super_advanced_agents.errors import AgentNotFoundError, ConfigurationError, InvalidInputError
from super_advanced_agents.generation import LLMGenerator
from super_advanced_agents.orchestration import Orchestrator, SupportsAsk
from super_advanced_agents.orchestration.critic import CRITIC_TOKENS, LLMCritic
from super_advanced_agents.tenancy.catalog import Catalog
from super_advanced_agents.tenancy.config_file import Declared
from super_advanced_agents.tenancy.context import current_context
from super_advanced_agents.tenancy.orchestrator_settings import MemberSettings, OrchestratorSettings
from super_advanced_agents.types import Answer

DEFAULT_ORCHESTRATOR = "default"

Connect: TypeAlias = Callable[[str, str, str | None], SupportsAsk]
"""Makes an agent of another server out of that server's URL, the agent's name there, and a key; touches no network yet.

Servers do not know clients: whoever starts a server hands this in.
"""

_MOST_TENANTS = 1_000
_MOST_NAMED = 256
_REMOTE_TOKENS = 200
"""What an answer of another server's agent is taken to cost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What the orchestrators of all tenants work with.

    Attributes:
        declared: what the configuration file says.
        catalog: which agents there are, and their settings.
        pipeline: makes vectors of texts.
        generator: writes what a critic says.
        agent: makes a tenant's agent out of the tenant and its name.
    """

    declared: Declared
    catalog: Catalog
    pipeline: EmbeddingPipeline
    generator: LLMGenerator
    agent: Callable[[str, str], AsyncLLMAgent]


class Orchestrators(Resource):
    """All of one server; what agents have been doing is remembered as long as it runs. For one event loop.

    Args:
        shared: where agents come from.
        connect: reaches agents of other servers; without it they cannot be asked.
    """

    def __init__(self, shared: Shared, connect: Connect | None = None) -> None:
        super().__init__()
        self._shared = shared
        self._connect = connect
        self._declared: dict[tuple[str, str], Orchestrator] = {}
        self._of_tenants: LRUCache[str, _EveryAgent] = LRUCache(_MOST_TENANTS)
        self._remote: list[SupportsAsk] = []

    def open(self) -> None:
        """Make the declared ones. Blocks.

        Raises:
            ConfigurationError: one is declared wrongly.
        """
        for (tenant, name), settings in self._shared.declared.orchestrators.items():
            try:
                self._declared[tenant, name] = self._made(tenant, settings)
            except ValueError as exc:
                raise ConfigurationError(f"{self._shared.declared.file}: [orchestrators.{name}]: {exc}") from exc

    def of(self, tenant: str, name: str, named: Sequence[str] = ()) -> Orchestrator:
        """The tenant's orchestrator of that name.

        The one called `default`, unless it is declared, has all of the tenant's agents: those that were given settings
        take part in everything, any other once it is named.

        Args:
            tenant: whose.
            name: which.
            named: the agents that the call names.

        Raises:
            InvalidInputError: it is not a name.
            AgentNotFoundError: there is none.
        """
        checked_name(name, "orchestrator")
        declared = self._declared.get((tenant, name))
        if declared is not None:
            return declared
        if name != DEFAULT_ORCHESTRATOR:
            raise AgentNotFoundError(
                f"there is no orchestrator {name!r}", hint="GET /v1/orchestrators lists those there are"
            )
        every = self._of_tenants.get(tenant)
        if every is None:
            every = self._of_tenants[tenant] = _EveryAgent(self._shared, tenant)
        return every.with_agents(named)

    def names(self, tenant: str) -> list[str]:
        """The names of all of the tenant's orchestrators, in order."""
        return sorted({DEFAULT_ORCHESTRATOR, *(name for owner, name in self._declared if owner == tenant)})

    def _made(self, tenant: str, settings: OrchestratorSettings) -> Orchestrator:
        made = Orchestrator(
            embedding_pipeline=self._shared.pipeline,
            critic=_ServedCritic(self._shared.generator),
            **settings.model_dump(exclude={"agents"}),
        )
        for name, member in settings.agents.items():
            made.register_agent(
                name,
                self._agent(tenant, name, member),
                tasks=member.tasks,
                users=member.users,
                description=member.description,
            )
        return made

    def _agent(self, tenant: str, name: str, member: MemberSettings) -> SupportsAsk:
        if member.url is None:
            return ServedAgent(self._shared, tenant, member.agent or name)
        if self._connect is None:
            return _Unreachable(name)
        remote = self._connect(member.url, member.agent or name, member.api_key)
        self._remote.append(remote)
        return _RemoteAgent(remote)

    def _release(self) -> None:
        """Close what reaches other servers. Blocks."""
        for remote in self._remote:
            close = getattr(remote, "close", None)
            if close is not None:
                close()


class _EveryAgent:
    """One tenant's default orchestrator, which follows what agents there are."""

    def __init__(self, shared: Shared, tenant: str) -> None:
        self._shared = shared
        self._tenant = tenant
        critic = _ServedCritic(shared.generator)
        self._orchestrator = Orchestrator(embedding_pipeline=shared.pipeline, critic=critic)
        self._known: dict[str, str] = {}  # with their descriptions
        self._named: LRUCache[str, None] = LRUCache(_MOST_NAMED)

    def with_agents(self, named: Sequence[str]) -> Orchestrator:
        """The orchestrator, with all agents that have settings, and those named."""
        known = {info.name: info.description for info in self._shared.catalog.agents(self._tenant)}
        for name in [name for name, description in self._known.items() if known.get(name) != description]:
            del self._known[name]
            self._orchestrator.unregister_agent(name)
        for name, description in known.items():
            if name not in self._known:
                if name in self._named:
                    del self._named[name]
                    self._orchestrator.unregister_agent(name)
                self._register(name, description=description)
                self._known[name] = description
        for name in named:
            self._add_named(name)
        return self._orchestrator

    def _add_named(self, name: str) -> None:
        if name in self._known:
            return
        if name not in self._named:
            try:
                self._register(name, routed=False)
            except InvalidInputError:
                return  # what is asked next refuses it, and knows in which argument it stands
            if len(self._named) >= _MOST_NAMED:
                self._orchestrator.unregister_agent(self._named.popitem()[0])
        self._named[name] = None

    def _register(self, name: str, *, description: str = "", routed: bool = True) -> None:
        agent = ServedAgent(self._shared, self._tenant, name)
        self._orchestrator.register_agent(name, agent, description=description, routed=routed)


class ServedAgent:
    """An agent of this server by name, with whatever settings it has when it is asked; the caller pays for its answer.

    Args:
        shared: where it comes from.
        tenant: whose it is.
        name: what it is called.
    """

    def __init__(self, shared: Shared, tenant: str, name: str) -> None:
        self._shared = shared
        self._tenant = tenant
        self._name = checked_name(name, "agent")

    @property
    def embedding_pipeline(self) -> EmbeddingPipeline:
        """What makes its vectors."""
        return self._shared.pipeline

    async def aask(self, question: str, top_k: int = 5) -> Answer:
        """As `AsyncLLMAgent.aask`.

        Raises:
            RateLimitedError: the caller's allowance is used up.
        """
        return await self.aask_about(question, question, top_k)

    async def aask_about(self, question: str, about: str, top_k: int = 5) -> Answer:
        """As `aask`, from the memories that are found with `about`."""
        await current_context().charge(self._shared.catalog.agent_settings(self._tenant, self._name).answer_tokens)
        agent = self._shared.agent(self._tenant, self._name)
        return await agent.aask(question, top_k, sources=await agent.asearch_text(about, top_k))


class _RemoteAgent:
    """An agent of another server; the caller pays here too."""

    def __init__(self, remote: SupportsAsk) -> None:
        self._remote = remote

    async def aask(self, question: str, top_k: int = 5) -> Answer:
        await current_context().charge(_REMOTE_TOKENS)
        return await self._remote.aask(question, top_k)


class _Unreachable:
    """An agent of another server, where nothing reaches other servers: a command that only works on the store."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def aask(self, question: str, top_k: int = 5) -> Answer:
        raise ConfigurationError(f"agent {self._name!r} is on another server, and this process reaches none")


class _ServedCritic:
    """The server's language model as a critic; the caller pays for what it says."""

    def __init__(self, generator: LLMGenerator) -> None:
        self._critic = LLMCritic(generator)

    async def aask(self, question: str, top_k: int = 5) -> Answer:
        await current_context().charge(CRITIC_TOKENS)
        return await self._critic.aask(question, top_k)
