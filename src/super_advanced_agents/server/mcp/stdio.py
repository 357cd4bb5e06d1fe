"""The MCP server over standard input and output, for clients that start it."""

from __future__ import annotations

from mcp.server.stdio import stdio_server

from super_advanced_agents.server.mcp.server import memory_server
from super_advanced_agents.server.mcp.tools import AgentMemory, ToolSession
from super_advanced_agents.tenancy.context import ANYBODY, RequestContext


async def aserve_stdio(agent: AgentMemory) -> None:
    """Serve an agent's memory as MCP tools over stdio until standard input ends.

    Only protocol messages are written to standard output.

    Args:
        agent: the agent whose memory the tools use; the client has every scope, since it started this process.
    """
    session = ToolSession(agent=agent, context=RequestContext(principal=ANYBODY))
    server = memory_server(lambda _: session)
    try:
        async with stdio_server() as (incoming, outgoing):
            await server.run(incoming, outgoing, server.create_initialization_options())
    except* BrokenPipeError:
        pass  # the client closed the pipe
