"""`alist_agents`, which asks a server for its agents."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from super_advanced_agents.client.connection import Connection
from super_advanced_agents.client.transport import RemoteCall
from super_advanced_agents.protocol import operations as ops
from super_advanced_agents.protocol.requests import ListAgentsRequest
from super_advanced_agents.types import AgentInfo


async def alist_agents(
    url: str, *, api_key: str | None = None, timeout_s: float = 60.0, ca_file: str | Path | None = None
) -> list[AgentInfo]:
    """Return the agents of a server that have memories or settings of their own, sorted by name.

    Args:
        url: the server's URL; see `RemoteAgent`.
        api_key: an API key or a JWT; the agents are those of its tenant.
        timeout_s: seconds for the call with all its attempts.
        ca_file: the certificates (PEM) of the trusted authorities; the system's when None.

    Raises:
        ConfigurationError: an argument is wrong.
        EngineUnavailableError: the server could not be reached, or did not answer in time.
        SuperAdvancedAgentsError: the error that the server answered with.
    """
    connection = Connection(url, api_key=api_key, timeout_s=timeout_s, ca_file=ca_file)
    try:
        return cast("list[AgentInfo]", await connection.acall(RemoteCall(ops.LIST_AGENTS, "", ListAgentsRequest())))
    finally:
        connection.close()
