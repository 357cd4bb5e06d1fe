"""The MCP endpoint at `/mcp`, over streamable HTTP and without sessions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from super_advanced_agents._runtime.concurrency.futures import in_thread
from super_advanced_agents._runtime.concurrency.slices import finished
from super_advanced_agents.config import checked_agent_name
from super_advanced_agents.errors import InvalidInputError, SuperAdvancedAgentsError
from super_advanced_agents.protocol.json_parser import INLINE_BYTES, parse_in_slices
from super_advanced_agents.protocol.operations import Operation, PermitKind
from super_advanced_agents.protocol.problems import status_of
from super_advanced_agents.server.http.body import json_response, read_body, replayed
from super_advanced_agents.server.http.dependencies import in_slices
from super_advanced_agents.server.http.paths import named
from super_advanced_agents.server.limits.admission import overloaded_error
from super_advanced_agents.server.limits.fair_pool import FairPool
from super_advanced_agents.server.mcp.configuration import PATH
from super_advanced_agents.server.mcp.tool import ToolSession
from super_advanced_agents.server.observing.requests import OBSERVED, ObservedRequest, new_request_id
from super_advanced_agents.server.services import Services
from super_advanced_agents.tenancy.context import RequestContext, current_context
from super_advanced_agents.tenancy.reranking import reranks

if TYPE_CHECKING:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

    from super_advanced_agents.server.mcp.server import Context

MAX_BODY_BYTES = 1024 * 1024
"""The largest body of an MCP request, in bytes."""
MAX_VALUES = 20_000
"""The limit on the values in an MCP request, counted as its commas and opening brackets."""

_CONTEXT, _SLOT = "super_advanced_agents.call", "super_advanced_agents.slot"
_SLOTS = 4
"""The requests that the MCP library works on at once."""
_WAITING = 1_000
"""The most requests of one tenant that wait for a slot."""

_PARSE_ERROR = -32700  # JSON-RPC 2.0, section 5.1


class MCPEndpoint:
    """An ASGI application that answers MCP requests over HTTP while its `open` context lasts.

    The caller's context travels in the scope of the request, because the MCP library may run a tool in a task that
    another request started. The application's own middleware checks `Host` and `Origin`.

    Args:
        max_body_bytes: the largest request body, in bytes; more than `MAX_BODY_BYTES` has no effect.
    """

    def __init__(self, *, max_body_bytes: int) -> None:
        self._max_body_bytes = min(max_body_bytes, MAX_BODY_BYTES)
        self._opened: asyncio.Future[StreamableHTTPSessionManager]
        self._wanted = asyncio.Event()
        self._ending = asyncio.Event()
        self._slots: FairPool

    def routes(self) -> list[Route]:
        """Return the routes `POST /mcp` (for the default agent) and `POST /mcp/{agent}`."""
        return [Route(path, self, methods=["POST"]) for path in (PATH, f"{PATH}/{{agent}}")]

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Enter a context that accepts MCP requests, and cancels running ones at its end.

        The MCP library is loaded at the first request: it takes a second, and 15 MiB of an idle server.
        """
        self._opened, self._wanted, self._ending = asyncio.Future(), asyncio.Event(), asyncio.Event()
        self._slots = FairPool(capacity=_SLOTS, waiting=_WAITING, entitled_waiting=_WAITING)
        serving = asyncio.create_task(self._serve(), name="mcp")
        try:
            yield
        finally:
            self._ending.set()
            self._wanted.set()
            await serving
            self._opened.cancel()  # ends requests that still wait for the library

    async def _serve(self) -> None:
        # One task enters the manager's task group and leaves it.
        while True:
            await self._wanted.wait()
            if self._ending.is_set():
                return
            try:
                manager = await in_thread(self._create_manager, name="import mcp")
            except Exception as exc:  # such as too many open files: the next request tries again
                opened, self._opened = self._opened, asyncio.Future()
                self._wanted.clear()
                opened.set_exception(exc)
                continue
            async with manager.run():
                self._opened.set_result(manager)
                await self._ending.wait()
            return

    def _create_manager(self) -> StreamableHTTPSessionManager:
        # Runs off the event loop.
        from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

        from super_advanced_agents.server.mcp.server import memory_server

        return StreamableHTTPSessionManager(
            memory_server(_session), stateless=True, max_request_body_size=self._max_body_bytes
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one MCP request over HTTP.

        Raises:
            InvalidInputError: the agent's name in the path is not valid.
            HTTPException: the body is longer than the limit (413).
            OverloadedError: too many requests of the tenant wait.
        """
        checked_agent_name(named(scope["path_params"].get("agent", "default")), "agent")
        body = await read_body(receive, max_bytes=self._max_body_bytes)
        if body is None:  # the client disconnected
            return
        try:
            await _check(body, scope)
        except InvalidInputError as exc:
            await _parse_error(exc)(scope, receive, send)
            return
        self._wanted.set()
        manager = await asyncio.shield(self._opened)
        slot = _Slot(self._slots, current_context().principal.tenant)
        try:
            await slot.take()
            scope = {**scope, _CONTEXT: current_context(), _SLOT: slot}
            await manager.handle_request(scope, replayed(body, receive), send)
        finally:
            slot.give_back()


class _Slot:
    # The MCP library works on the event loop for milliseconds, so it gets few requests at once, fairly by tenant. A
    # tool that begins to work gives the slot back, as it has a permit of its own.

    def __init__(self, pool: FairPool, tenant: str) -> None:
        self._pool = pool
        self._tenant = tenant
        self._held = False

    async def take(self) -> None:
        if not await self._pool.enter(self._tenant, patient=True):
            raise overloaded_error(PermitKind.SEARCH)
        self._held = True

    def give_back(self) -> None:
        if self._held:
            self._held = False
            self._pool.leave(self._tenant)


async def _check(body: bytes, scope: Scope) -> None:
    # The MCP library parses and validates on the event loop, 1 us a value: it gets no more than 20 ms of them.
    checking = parse_in_slices(body, max_values=MAX_VALUES)
    if len(body) > INLINE_BYTES:
        await in_slices(Request(scope), checking)
    elif body:
        finished(checking)


def _parse_error(error: InvalidInputError) -> Response:
    message = f"{error.message} ({error.hint})" if error.hint else error.message
    content = {"jsonrpc": "2.0", "id": None, "error": {"code": _PARSE_ERROR, "message": message}}
    return json_response(content, HTTPStatus.BAD_REQUEST)


def _session(protocol_context: Context) -> ToolSession:
    assert protocol_context.request is not None
    scope = protocol_context.request.scope
    context, services = scope[_CONTEXT], scope["app"].state.services
    assert isinstance(context, RequestContext)
    assert isinstance(services, Services)
    workspace = services.workspaces.of(context.principal.tenant)
    name = named(scope["path_params"].get("agent", services.runtime.settings.agent))
    answer_tokens = workspace.agent_settings(name).answer_tokens
    return ToolSession(
        agent=workspace.agent(name),
        context=context,
        jobs=services.jobs,
        answer_tokens=answer_tokens,
        reranks=bool(reranks(None, name, workspace)),
        admission=services.admission,
        observe=partial(_observed, services, scope, context, name),
        on_begin=scope[_SLOT].give_back,
    )


@asynccontextmanager
async def _observed(
    services: Services, scope: Scope, context: RequestContext, agent: str, operation: Operation
) -> AsyncIterator[None]:
    # A call of a tool is counted and recorded like the operation that it carries out.
    request, audit, client = scope.get(OBSERVED), services.audit, scope.get("client")
    observed = ObservedRequest(
        protocol="mcp",
        request_id=request.request_id if isinstance(request, ObservedRequest) else new_request_id(),
        address=client[0] if client else "",
        operation=operation,
        principal=context.principal,
        target=agent,
    )
    if audit is not None:
        audit.check(operation)
    with services.observer.observe(observed, {}):
        try:
            yield
            observed.status = HTTPStatus.OK
        except SuperAdvancedAgentsError as exc:
            observed.status = status_of(exc)
            raise
        finally:
            if audit is not None and audit.covers(operation):
                observed.status = observed.status or HTTPStatus.INTERNAL_SERVER_ERROR
                await audit.arecord(observed.audit_entry())
