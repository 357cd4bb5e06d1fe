"""`RemoteTenant`, a client of what a tenant has at a server: its agents and collections."""

from __future__ import annotations

from super_advanced_agents.client.transports.base import RemoteCall
from super_advanced_agents.client.transports.connection import ConnectedClient
from super_advanced_agents.protocol import operations as ops
from super_advanced_agents.protocol.requests import (
    CreateCollectionRequest,
    ListAgentsRequest,
    ListCollectionsRequest,
    PutAgentRequest,
)
from super_advanced_agents.types import AgentInfo, CollectionInfo


class RemoteTenant(ConnectedClient):
    """Read and change the agents' settings and the collections of one tenant of a server.

    Args:
        url: the server's URL; see `RemoteAgent`.
        api_key: an API key or a JWT, which determines the tenant.
        timeout_s: seconds for one call with all its attempts.
        ca_file: the certificates (PEM) of the trusted authorities; the system's when None.

    Raises:
        ConfigurationError: an argument is wrong.
    """

    async def aagents(self) -> list[AgentInfo]:
        """Return the agents that have memories or settings of their own, sorted by name.

        Of those without settings, the server names 1,000 at most.
        """
        return await self._acall(RemoteCall(ops.LIST_AGENTS, "", ListAgentsRequest()))

    async def aput_agent(self, name: str, request: PutAgentRequest) -> AgentInfo:
        """Replace all settings of an agent; the key needs the scope `admin`."""
        return await self._acall(RemoteCall(ops.PUT_AGENT, name, request))

    async def acollections(self) -> list[CollectionInfo]:
        """Return the settings of all collections, sorted by name."""
        call = RemoteCall(ops.LIST_COLLECTIONS, "", ListCollectionsRequest())
        return await self._acall(call)

    async def acreate_collection(self, request: CreateCollectionRequest) -> CollectionInfo:
        """Create a collection."""
        return await self._acall(RemoteCall(ops.CREATE_COLLECTION, "", request))
