"""The orchestrators of a server, which distribute questions among agents.

An orchestrator is declared in the server's configuration file, or is a tenant's default.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from cachetools import LRUCache

from super_advanced_agents._runtime.concurrency.lifecycle import Resource
from super_advanced_agents._runtime.metering import estimated_tokens
from super_advanced_agents.agents import AsyncLLMAgent
from super_advanced_agents.config import checked_agent_name, checked_name
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
"""A function that makes a client of a remote agent from its URL, its name and an API key.

It must not access the network yet. The server does not depend on `client`, so the code that starts a server passes this
function in.
"""

_MAX_TENANTS = 1_000
_MAX_NAMED_AGENTS = 256
"""The maximum number of agents without settings in a default orchestrator (LRU eviction)."""

_REMOTE_ANSWER_TOKENS = 200
"""The units charged for an answer of a remote agent, whose length is not known beforehand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrchestratorServices:
    """Hold the configuration, the catalog and the models that all orchestrators share.

    Attributes:
        declared: the content of the configuration file.
        catalog: the agents of all tenants and their settings.
        pipeline: embeds questions, answers and descriptions.
        generator: generates the texts of critics.
        agent: makes an agent from a tenant and the agent's name.
    """

    declared: Declared
    catalog: Catalog
    pipeline: EmbeddingPipeline
    generator: LLMGenerator
    agent: Callable[[str, str], AsyncLLMAgent]


class Orchestrators(Resource):
    """Make and cache a server's orchestrators, which distribute questions among agents.

    For use in one event loop. Counters and circuit breakers of agents are kept in memory only.

    Args:
        services: the objects that all orchestrators share.
        connect: makes clients of agents on other servers; without it such agents fail when they are asked.
    """

    def __init__(self, services: OrchestratorServices, connect: Connect | None = None) -> None:
        super().__init__()
        self._services = services
        self._connect = connect
        self._declared: dict[tuple[str, str], Orchestrator] = {}
        self._defaults: LRUCache[str, _DefaultOrchestrator] = LRUCache(_MAX_TENANTS)
        self._remote: list[SupportsAsk] = []

    def open(self) -> None:
        """Build all orchestrators that the configuration file declares. Blocks.

        Raises:
            ConfigurationError: a declaration is invalid.
        """
        for (tenant, name), settings in self._services.declared.orchestrators.items():
            try:
                self._declared[tenant, name] = self._build(tenant, settings)
            except ValueError as exc:
                raise ConfigurationError(f"{self._services.declared.file}: [orchestrators.{name}]: {exc}") from exc

    def of(self, tenant: str, name: str, agent_names: Sequence[str] = ()) -> Orchestrator:
        """Return an orchestrator of a tenant by name.

        Unless the configuration file declares `default`, that orchestrator has all of the tenant's agents: questions
        are routed to agents with settings only, and any other agent takes part when a request names it.

        Args:
            tenant: the tenant.
            name: the name of the orchestrator.
            agent_names: the agents that the request names.

        Raises:
            InvalidInputError: `name` is not a valid name.
            AgentNotFoundError: there is no orchestrator of that name.
        """
        checked_name(name, "orchestrator")
        declared = self._declared.get((tenant, name))
        if declared is not None:
            return declared
        if name != DEFAULT_ORCHESTRATOR:
            raise AgentNotFoundError(f"there is no orchestrator {name!r}", hint="GET /v1/orchestrators lists them")
        default = self._defaults.get(tenant)
        if default is None:
            default = self._defaults[tenant] = _DefaultOrchestrator(self._services, tenant)
        return default.with_agents(agent_names)

    def names(self, tenant: str) -> list[str]:
        """Return the names of all of a tenant's orchestrators, sorted."""
        return sorted(
            {DEFAULT_ORCHESTRATOR, *(name for declared_tenant, name in self._declared if declared_tenant == tenant)}
        )

    def _build(self, tenant: str, settings: OrchestratorSettings) -> Orchestrator:
        orchestrator = Orchestrator(
            embedding_pipeline=self._services.pipeline,
            critic=_ChargedCritic(self._services.generator),
            **settings.model_dump(exclude={"agents"}),
        )
        for name, member in settings.agents.items():
            orchestrator.register_agent(
                name,
                self._agent(tenant, name, member),
                tasks=member.tasks,
                users=member.users,
                description=member.description,
            )
        return orchestrator

    def _agent(self, tenant: str, name: str, member: MemberSettings) -> SupportsAsk:
        if member.url is None:
            return ServedAgent(self._services, tenant, member.agent or name)
        if self._connect is None:
            return _UnreachableAgent(name)
        remote = self._connect(member.url, member.agent or name, member.api_key)
        self._remote.append(remote)
        return _RemoteAgent(remote)

    def _release(self) -> None:
        for remote in self._remote:
            close = getattr(remote, "close", None)
            if close is not None:
                close()


class _DefaultOrchestrator:
    def __init__(self, services: OrchestratorServices, tenant: str) -> None:
        self._services = services
        self._tenant = tenant
        critic = _ChargedCritic(services.generator)
        self._orchestrator = Orchestrator(embedding_pipeline=services.pipeline, critic=critic)
        self._descriptions: dict[str, str] = {}  # of the registered agents that have settings
        self._named_agents: LRUCache[str, None] = LRUCache(_MAX_NAMED_AGENTS)

    def with_agents(self, agent_names: Sequence[str]) -> Orchestrator:
        # settings may have changed since the last use: agents that differ from the catalog are registered again
        descriptions = {info.name: info.description for info in self._services.catalog.agents(self._tenant)}
        for name in [name for name, description in self._descriptions.items() if descriptions.get(name) != description]:
            del self._descriptions[name]
            self._orchestrator.unregister_agent(name)
        for name, description in descriptions.items():
            if name not in self._descriptions:
                if name in self._named_agents:
                    del self._named_agents[name]
                    self._orchestrator.unregister_agent(name)
                self._register(name, description=description)
                self._descriptions[name] = description
        for name in agent_names:
            self._add_named(name)
        return self._orchestrator

    def _add_named(self, name: str) -> None:
        if name in self._descriptions:
            return
        if name not in self._named_agents:
            try:
                self._register(name, routed=False)
            except InvalidInputError:
                return  # the orchestrator rejects it, and names the argument in its error
            if len(self._named_agents) >= _MAX_NAMED_AGENTS:
                self._orchestrator.unregister_agent(self._named_agents.popitem()[0])
        self._named_agents[name] = None

    def _register(self, name: str, *, description: str = "", routed: bool = True) -> None:
        agent = ServedAgent(self._services, self._tenant, name)
        self._orchestrator.register_agent(name, agent, description=description, routed=routed)


class ServedAgent:
    """Answer questions as an agent of this server, charging the caller's rate limit.

    Each answer uses the agent's current settings.

    Args:
        services: the objects that all orchestrators share.
        tenant: the tenant of the agent.
        name: the name of the agent.
    """

    def __init__(self, services: OrchestratorServices, tenant: str, name: str) -> None:
        self._services = services
        self._tenant = tenant
        self._name = checked_agent_name(name, "agent")

    @property
    def embedding_pipeline(self) -> EmbeddingPipeline:
        """The pipeline that turns the agent's texts into vectors."""
        return self._services.pipeline

    async def aask(self, question: str, top_k: int = 5) -> Answer:
        """Answer a question from the agent's `top_k` stored texts that match it best.

        Raises:
            RateLimitedError: the caller's allowance is used up.
        """
        return await self.aask_about(question, question, top_k)

    async def aask_about(self, question: str, about: str, top_k: int = 5) -> Answer:
        """Answer a question from the agent's `top_k` stored texts that match `about` best.

        Raises:
            RateLimitedError: the caller's allowance is used up.
        """
        context = current_context()
        await context.charge(self._services.catalog.agent_settings(self._tenant, self._name).answer_tokens)
        agent = self._services.agent(self._tenant, self._name)
        async with context.part():
            return await agent.aask(question, top_k, sources=await agent.asearch_text(about, top_k))


class _RemoteAgent:
    def __init__(self, remote: SupportsAsk) -> None:
        self._remote = remote

    async def aask(self, question: str, top_k: int = 5) -> Answer:
        context = current_context()
        await context.charge(_REMOTE_ANSWER_TOKENS + estimated_tokens(question))
        async with context.part():
            return await self._remote.aask(question, top_k)


class _UnreachableAgent:
    # A declared agent of another server in a process without `connect`, which fails when it is asked.

    def __init__(self, name: str) -> None:
        self._name = name

    async def aask(self, question: str, top_k: int = 5) -> Answer:
        raise ConfigurationError(
            f"agent {self._name!r} is on another server, and this process has no client for it",
            hint="ask the orchestrator through a server: saa serve",
        )


class _ChargedCritic:
    def __init__(self, generator: LLMGenerator) -> None:
        self._critic = LLMCritic(generator)

    async def aask(self, question: str, top_k: int = 5) -> Answer:
        context = current_context()
        await context.charge(CRITIC_TOKENS)
        async with context.part():
            return await self._critic.aask(question, top_k)
