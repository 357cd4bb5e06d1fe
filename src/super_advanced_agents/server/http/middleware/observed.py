"""ASGI middleware that gives each request an id, and counts, times, logs and traces it."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from super_advanced_agents.protocol.operations import Operation
from super_advanced_agents.server.http.middleware.calls import INCOMING
from super_advanced_agents.server.observing.requests import (
    OBSERVED,
    REQUEST_ID,
    ObservedRequest,
    RequestObserver,
    new_request_id,
)
from super_advanced_agents.server.pipeline import IncomingRequest

_REQUEST_ID = REQUEST_ID.lower().encode()
_LENGTH_DIGITS = 15


class Observed:
    """Middleware that observes requests, and is the outermost one, so that it sees all answers.

    Args:
        app: the application behind it.
        observer: counts and logs the requests.
    """

    def __init__(self, app: ASGIApp, *, observer: RequestObserver) -> None:
        self._app = app
        self._observer = observer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sent_id, length, headers = None, 0, {}
        for name, value in scope["headers"]:
            if name == _REQUEST_ID:
                sent_id = value.decode("latin-1")
            elif name == b"content-length" and value.isdigit() and len(value) <= _LENGTH_DIGITS:
                length = int(value)
            elif name in {b"traceparent", b"tracestate"}:
                headers[name.decode()] = value.decode("latin-1")
        client = scope.get("client")
        observed = scope[OBSERVED] = ObservedRequest(
            protocol="rest",
            request_id=new_request_id(sent_id),
            address=client[0] if client else "",
            request_bytes=length,
        )
        responder = _Responder(observed, scope, send)
        with self._observer.observe(observed, headers):
            try:
                await self._app(scope, receive, responder.send)
            finally:
                responder.note_checked()


class _Responder:
    def __init__(self, observed: ObservedRequest, scope: Scope, send: Send) -> None:
        self._observed = observed
        self._scope = scope
        self._send = send

    def note_checked(self) -> None:
        incoming = self._scope.get(INCOMING)
        if isinstance(incoming, IncomingRequest):
            if isinstance(incoming.operation, Operation):
                self._observed.operation = incoming.operation
            self._observed.principal = incoming.principal

    async def send(self, message: Message) -> None:
        observed = self._observed
        if message["type"] == "http.response.start":
            observed.status = message["status"]
            message["headers"] = [*message.get("headers", ()), (_REQUEST_ID, observed.request_id.encode())]
        elif message["type"] == "http.response.body":
            observed.response_bytes += len(message.get("body", b""))
        await self._send(message)
