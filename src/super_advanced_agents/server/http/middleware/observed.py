"""ASGI middleware that gives each request an id, and counts, times, logs and traces it."""

from __future__ import annotations

from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from super_advanced_agents.errors import SuperAdvancedAgentsError
from super_advanced_agents.protocol.operations import Operation
from super_advanced_agents.protocol.problems import problem_of
from super_advanced_agents.server.handlers.registry import note_work
from super_advanced_agents.server.http.errors import problem_response
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
    # Records an audited request before the first byte of its answer.

    def __init__(self, observed: ObservedRequest, scope: Scope, send: Send) -> None:
        self._observed = observed
        self._scope = scope
        self._send = send
        self._refused = False

    def note_checked(self) -> None:
        incoming = self._scope.get(INCOMING)
        if isinstance(incoming, IncomingRequest):
            if isinstance(incoming.operation, Operation):
                self._observed.operation = incoming.operation
            self._observed.principal = incoming.principal
            if incoming.context is not None:
                note_work(self._observed, incoming.context.notes)

    async def _recorded(self) -> bool:
        observed = self._observed
        self.note_checked()
        services = getattr(self._scope["app"].state, "services", None) if "app" in self._scope else None
        audit = None if services is None else services.audit
        if audit is None or observed.principal is None or not audit.covers(observed.operation):
            return True
        client = self._scope.get("client")  # a proxy may have said which
        observed.address = client[0] if client else ""
        try:
            await audit.arecord(observed.audit_entry())
        except SuperAdvancedAgentsError as exc:
            self._refused = True
            observed.status = HTTPStatus.SERVICE_UNAVAILABLE
            response = problem_response(problem_of(exc), {REQUEST_ID: observed.request_id})
            await response(self._scope, _receive_nothing, self._send)
            return False
        return True

    async def send(self, message: Message) -> None:
        observed = self._observed
        if self._refused:
            return  # the answer that could not be recorded
        if message["type"] == "http.response.start":
            observed.status = message["status"]
            if not await self._recorded():
                return
            message["headers"] = [*message.get("headers", ()), (_REQUEST_ID, observed.request_id.encode())]
        elif message["type"] == "http.response.body":
            observed.response_bytes += len(message.get("body", b""))
        await self._send(message)


async def _receive_nothing() -> Message:
    raise RuntimeError("a prepared answer reads no body")
