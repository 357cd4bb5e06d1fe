"""What one tenant has: all that a route or a gRPC method gets to see, so that none can reach another tenant's."""

from __future__ import annotations

from super_advanced_agents.agents import AsyncLLMAgent
from super_advanced_agents.config import checked_name
from super_advanced_agents.server.engines import Engines
from super_advanced_agents.stores.faiss.tenancy import tenant_view


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
