"""The MCP endpoint at `/mcp`, over streamable HTTP and without sessions."""

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
    """An ASGI application that answers MCP requests over HTTP while its `open` context lasts.

    The caller's context travels in the scope of the request, because the MCP library may run a tool in a task that
    another request started. The application's own middleware checks `Host` and `Origin`.

    Args:
        max_body_bytes: the largest request body, in bytes.
    """

    def __init__(self, *, max_body_bytes: int) -> None:
        self._max_body_bytes = max_body_bytes
        self._manager: StreamableHTTPSessionManager | None = None

    def routes(self) -> list[Route]:
        """Return the routes `POST /mcp` (for the default agent) and `POST /mcp/{agent}`."""
        return [Route(path, self, methods=["POST"]) for path in (PATH, f"{PATH}/{{agent}}")]

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Enter a context that accepts MCP requests, and cancels running ones at its end."""
        manager = await in_thread(self._create_manager, name="import mcp")
        failure: Exception | None = None
        async with manager.run():
            self._manager = manager
            try:
                yield
            except Exception as exc:  # raised here, the manager's task group would wrap it in a group
                failure = exc
            finally:
                self._manager = None
        if failure is not None:
            raise failure

    def _create_manager(self) -> StreamableHTTPSessionManager:
        # Runs off the event loop: importing the MCP library takes a second.
        from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

        from super_advanced_agents.server.mcp.server import memory_server

        return StreamableHTTPSessionManager(
            memory_server(_session), stateless=True, max_request_body_size=self._max_body_bytes
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one MCP request over HTTP.

        Raises:
            InvalidInputError: the agent's name in the path is not valid.
        """
        assert self._manager is not None
        checked_name(scope["path_params"].get("agent", "default"), "agent")
        await self._manager.handle_request({**scope, _CONTEXT: current_context()}, receive, send)


def _session(protocol_context: Context) -> ToolSession:
    assert protocol_context.request is not None
    scope = protocol_context.request.scope
    context, services = scope[_CONTEXT], scope["app"].state.services
    assert isinstance(context, RequestContext)
    assert isinstance(services, Services)
    workspace = services.workspaces.of(context.principal.tenant)
    name = scope["path_params"].get("agent", services.runtime.settings.agent)
    answer_tokens = workspace.agent_settings(name).answer_tokens
    return ToolSession(agent=workspace.agent(name), context=context, answer_tokens=answer_tokens)
