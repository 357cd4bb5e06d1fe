"""The tools at `/mcp`, by the protocol's streamable HTTP, without sessions: nothing is kept between two requests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from super_advanced_agents._runtime.futures import in_thread
from super_advanced_agents.config import checked_name
from super_advanced_agents.server.mcp.configuration import PATH
from super_advanced_agents.server.mcp.tools import ToolSession
from super_advanced_agents.server.services import Services
from super_advanced_agents.tenancy.context import RequestContext, current_context

if TYPE_CHECKING:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

    from super_advanced_agents.server.mcp.server import Context

_CONTEXT = "super_advanced_agents.call"


class MCPEndpoint:
    """The endpoint; it answers while `open` is entered.

    Who calls is written into the request itself (its scope), so that a tool never depends on which task of the
    protocol's library it happens to run in. `Host` and `Origin` are looked at by the application's own middleware.

    Args:
        max_body_bytes: how long a request may be.
    """

    def __init__(self, *, max_body_bytes: int) -> None:
        self._max_body_bytes = max_body_bytes
        self._manager: StreamableHTTPSessionManager | None = None

    def routes(self) -> list[Route]:
        """`/mcp` for the default agent, `/mcp/{agent}` for any other; there is nothing to GET or to DELETE."""
        return [Route(path, self, methods=["POST"]) for path in (PATH, f"{PATH}/{{agent}}")]

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Answer requests; at the end those under way are cancelled."""
        manager = await in_thread(self._made, name="import mcp")
        failure: Exception | None = None
        async with manager.run():
            self._manager = manager
            try:
                yield
            except Exception as exc:  # its task group would wrap what the body raised
                failure = exc
            finally:
                self._manager = None
        if failure is not None:
            raise failure

    def _made(self) -> StreamableHTTPSessionManager:
        """Made off the event loop: importing the protocol's library takes a second."""
        from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

        from super_advanced_agents.server.mcp.server import memory_server

        return StreamableHTTPSessionManager(
            memory_server(_session), stateless=True, max_request_body_size=self._max_body_bytes
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request.

        Raises:
            InvalidInputError: the path names no agent.
        """
        assert self._manager is not None
        checked_name(scope["path_params"].get("agent", "default"), "agent")
        await self._manager.handle_request({**scope, _CONTEXT: current_context()}, receive, send)


def _session(context: Context) -> ToolSession:
    assert context.request is not None
    scope = context.request.scope
    context, services = scope[_CONTEXT], scope["app"].state.services
    assert isinstance(context, RequestContext)
    assert isinstance(services, Services)
    workspace = services.workspaces.of(context.principal.tenant)
    name = scope["path_params"].get("agent", services.runtime.settings.agent)
    answer_tokens = workspace.agent_settings(name).answer_tokens
    return ToolSession(agent=workspace.agent(name), context=context, answer_tokens=answer_tokens)
