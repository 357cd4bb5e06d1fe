"""The tools over standard input and output, for clients that start a program of their own."""

from __future__ import annotations

from mcp.server.stdio import stdio_server

from super_advanced_agents.server.mcp.server import memory_server
from super_advanced_agents.server.mcp.tools import AgentMemory, ToolSession
from super_advanced_agents.tenancy.context import ANYBODY, RequestContext


async def aserve_stdio(agent: AgentMemory) -> None:
    """Offer an agent's memory until standard input ends; nothing but the protocol goes to standard output.

    Args:
        agent: whose memory it is. Whoever started this process may do everything with it.
    """
    session = ToolSession(agent=agent, context=RequestContext(principal=ANYBODY))
    server = memory_server(lambda _: session)
    try:
        async with stdio_server() as (incoming, outgoing):
            await server.run(incoming, outgoing, server.create_initialization_options())
    except* BrokenPipeError:
        pass  # the client left without a word
