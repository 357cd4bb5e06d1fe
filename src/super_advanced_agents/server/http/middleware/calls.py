"""ASGI middleware that checks requests, receives their bodies and applies deadlines."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from super_advanced_agents.errors import SuperAdvancedAgentsError
from super_advanced_agents.protocol.operations import Operation
from super_advanced_agents.protocol.problems import problem_details
from super_advanced_agents.server.http.errors import problem_response
from super_advanced_agents.server.http.middleware.bodies import Body
from super_advanced_agents.server.http.paths import keep_encoded_slashes
from super_advanced_agents.server.http.streaming.sse import MEDIA_TYPE, event
from super_advanced_agents.server.limits.rate_limit import quota_headers
from super_advanced_agents.server.pipeline import (
    CREDENTIAL_FIELDS,
    READ_FIELDS,
    IncomingRequest,
    Pipeline,
    _RefusedError,
    problem_and_headers,
)
from super_advanced_agents.server.route_table import ROUTES, RouteTable
from super_advanced_agents.types import JSONValue

INCOMING = "saa.incoming"
"""The key of the ASGI scope under which a request's `IncomingRequest` is stored."""

_REALM = 'Bearer realm="super-advanced-agents"'
_FIELD_NAMES = {name.encode(): name for name in READ_FIELDS}


class PipelineMiddleware:
    """Middleware that checks requests, receives their bodies and applies deadlines.

    The credential is checked before a byte of the body is kept, and a permit is taken once the body has arrived. Only
    requests whose operation is in the route table reach the router. A stream of events whose deadline passes ends with
    an `error` event.

    Args:
        app: the application behind it.
        routes: the operations that are served.
    """

    def __init__(self, app: ASGIApp, *, routes: RouteTable = ROUTES) -> None:
        self._app = app
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":  # no route is a websocket
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        keep_encoded_slashes(scope)
        if scope["path"].startswith("/mcp/"):  # people paste its address with a slash behind
            scope["path"] = scope["path"].removesuffix("/")
        incoming = scope[INCOMING] = IncomingRequest(
            operation=self._routes.find(scope["method"], scope["path"]),
            fields=[
                (_FIELD_NAMES[name], value.decode("latin-1"))
                for name, value in scope["headers"]
                if name in _FIELD_NAMES
            ],
        )
        response = _ResponseSender(incoming, send)
        headers: Mapping[str, str] | None
        try:
            await self._answer(incoming, scope, receive, response.send)
        except HTTPException as exc:  # of the body
            problem, headers = problem_details(HTTPStatus(exc.status_code), str(exc.detail)), exc.headers
        except (SuperAdvancedAgentsError, _RefusedError) as exc:
            problem, headers = problem_and_headers(exc)
            headers |= _challenge(problem, incoming)
        else:
            return
        if response.head is None:
            await problem_response(problem, headers)(scope, receive, response.send)
        else:
            await response.abort(problem)

    async def _answer(self, incoming: IncomingRequest, scope: Scope, receive: Receive, send: Send) -> None:
        pipeline: Pipeline = scope["app"].state.pipeline
        await pipeline.check(incoming)
        if incoming.context is None:  # public operations read no body
            async with pipeline.work(incoming):
                await self._app(scope, receive, send)
            return
        body = Body(scope["headers"], receive, admission=pipeline.admission, tenant=incoming.tenant)
        try:
            if await body.read():
                async with pipeline.work(incoming):
                    await self._app(scope, body.receive, send)
        finally:
            body.release()


class _ResponseSender:
    def __init__(self, incoming: IncomingRequest, send: Send) -> None:
        self._incoming = incoming
        self._send = send
        self.head: Message | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.head = message
            quota = self._incoming.quota
            if quota is not None:
                message["headers"] = [*message.get("headers", ()), *quota_headers(quota)]
        await self._send(message)

    async def abort(self, problem: dict[str, JSONValue]) -> None:
        assert self.head is not None
        content_types = (value for name, value in self.head["headers"] if name == b"content-type")
        if not any(value.startswith(MEDIA_TYPE.encode()) for value in content_types):
            raise TimeoutError("the deadline passed while the response was being sent")  # uvicorn closes the connection
        await self._send({"type": "http.response.body", "body": event("error", problem), "more_body": False})


def _challenge(problem: Mapping[str, JSONValue], incoming: IncomingRequest) -> Mapping[str, str]:
    # RFC 6750 demands this header with 401 and 403.
    operation = incoming.operation
    if problem["status"] == HTTPStatus.UNAUTHORIZED:
        has_credential = any(name in CREDENTIAL_FIELDS for name, _ in incoming.fields)
        return {"WWW-Authenticate": f'{_REALM}, error="invalid_token"' if has_credential else _REALM}
    if problem["status"] == HTTPStatus.FORBIDDEN and isinstance(operation, Operation) and operation.access:
        scopes = " ".join(operation.access)
        return {"WWW-Authenticate": f'{_REALM}, error="insufficient_scope", scope="{scopes}"'}
    return {}
