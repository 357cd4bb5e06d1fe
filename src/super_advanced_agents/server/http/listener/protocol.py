"""A uvicorn HTTP protocol with read timeouts and early responses to overload.

uvicorn has no such limits, so its protocol is extended; nothing else of it is changed.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, ClassVar

from uvicorn.config import Config
from uvicorn.server import ServerState

from super_advanced_agents.protocol.operations import Operation, PermitKind
from super_advanced_agents.protocol.problems import problem_details, problem_of, retry_after
from super_advanced_agents.server.http.errors import PreparedProblem
from super_advanced_agents.server.http.listener.parsing import CLOSE_HEADER, ReadState, StrictHttpProtocol
from super_advanced_agents.server.limits.admission import Admission, overloaded_error
from super_advanced_agents.server.observing.requests import REQUEST_ID, RequestObserver, new_request_id
from super_advanced_agents.server.pipeline import CREDENTIAL_FIELDS
from super_advanced_agents.server.route_table import ROUTES, permit_of
from super_advanced_agents.tenancy.settings import Settings

_CREDENTIAL_FIELDS = frozenset(name.encode() for name in CREDENTIAL_FIELDS)
_REQUEST_ID = REQUEST_ID.lower().encode()
_RAW_CLOSE_HEADER = (b"connection", b"close")


@dataclass(frozen=True, kw_only=True)
class ConnectionLimits:
    """Hold the timeouts and limits that apply to each HTTP connection.

    Attributes:
        header_timeout_s: seconds in which the headers of a request must arrive; a new connection must begin its first
            request in the same time.
        body_timeout_s: seconds in which the body must arrive after the headers.
        write_timeout_s: seconds in which a client must read what waits for it; then its connection is dropped.
        max_body_bytes: bytes of a refused request's body that are read before the connection is closed.
        root_path: the prefix that a reverse proxy may leave on paths; it is cut off.
        admission: the permits; a request of a kind of which its tenant would get none is refused.
        observer: counts and logs the requests that are refused.
    """

    header_timeout_s: float
    body_timeout_s: float
    write_timeout_s: float
    max_body_bytes: int
    root_path: bytes
    admission: Admission
    observer: RequestObserver


def http_protocol(settings: Settings, admission: Admission, observer: RequestObserver) -> type[StrictHttpProtocol]:
    """Return an HTTP protocol class for uvicorn, with the timeouts and limits of the settings."""

    class LimitedHttpProtocol(_LimitedHttpProtocol):
        limits = ConnectionLimits(
            header_timeout_s=settings.header_timeout_s,
            body_timeout_s=settings.body_timeout_s,
            write_timeout_s=settings.write_timeout_s,
            max_body_bytes=settings.max_body_bytes,
            root_path=settings.root_path.encode(),
            admission=admission,
            observer=observer,
        )

    return LimitedHttpProtocol


class _LimitedHttpProtocol(StrictHttpProtocol):
    # The timer runs only while a request has arrived in part, so most requests never start one.

    limits: ClassVar[ConnectionLimits]

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._read_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._refusing = False
        self._close_after_refusal = False
        self._discarded_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_timer(self.limits.header_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._stop_write_timer()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._start_write_timer()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_write_timer()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        # A closing connection still waits until the client has read the end of its last answer.
        if self.transport.get_write_buffer_size():
            self._start_write_timer()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing() and self.transport.get_write_buffer_size():
            self._start_write_timer()

    def _start_write_timer(self) -> None:
        if self._write_timer is None:
            self._write_timer = self.loop.call_later(self.limits.write_timeout_s, self._drop)

    def _drop(self) -> None:
        # With a reset, so that the system also drops the bytes that the client does not read.
        connected = self.transport.get_extra_info("socket")
        if connected is not None:
            with suppress(OSError):
                connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def feed(self, data: bytes | memoryview) -> None:
        super().feed(data)
        # A running timer is never extended: a client that sends a byte now and then must finish in time too.
        if self._read_timer is None and not self.transport.is_closing():
            if self.read_state is ReadState.HEADERS:
                self._start_timer(self.limits.header_timeout_s)
            elif self.read_state is ReadState.BODY:
                self._start_timer(self.limits.body_timeout_s)

    def headers_arrived(self) -> bool:
        root_path = self.limits.root_path
        if root_path and self.url.startswith(root_path):
            path = self.url[len(root_path) :]
            if path[:1] in b"/?":  # true for an empty rest, too
                self.url = path if path.startswith(b"/") else b"/" + path
        return super().headers_arrived()

    def on_headers_complete(self) -> None:
        # A refusal creates no object for the request, so that it costs little.
        self._stop_timer()
        if not self.headers_arrived():
            self._refusing = True
            return
        operation = self._saturated_operation()
        if operation is None:
            super().on_headers_complete()
        else:
            self._refuse(operation)

    def on_body(self, body: bytes) -> None:
        if not self._refusing:
            super().on_body(body)
            return
        self.note_body(body)
        self._discarded_bytes += len(body)
        if self._discarded_bytes > self.limits.max_body_bytes:
            self.transport.close()

    def on_message_complete(self) -> None:
        self._stop_timer()
        self.read_state = ReadState.COMPLETE
        if self.refuses_all:
            return
        if not self._refusing:
            super().on_message_complete()
            return
        self._refusing = False
        if self._close_after_refusal:
            self.transport.close()
        else:
            self._start_keep_alive_timer()

    def _start_keep_alive_timer(self) -> None:
        if self.timeout_keep_alive_task is None and not self.transport.is_closing():
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _saturated_operation(self) -> Operation | None:
        admission = self.limits.admission
        if (
            not (admission.is_saturated or admission.is_busy) or self.answering
        ):  # responses are sent in the order of their requests
            return None
        verb, path = self.parser.get_method(), self.url.partition(b"?")[0]
        operation = ROUTES.find(verb.decode("latin-1"), path.decode("latin-1"))
        if verb == b"HEAD" or admission.may_arrive(permit_of(operation), self._known_tenant()):
            return None  # a response to HEAD has no body, and the prepared refusals have one
        assert isinstance(operation, Operation)
        return operation

    def _known_tenant(self) -> str | None:
        # The tenant of a credential that was valid before, used only to refuse a request early, never to admit one.
        credential = next((value for name, value in self.headers if name in _CREDENTIAL_FIELDS), b"")
        return self.limits.admission.remembered_tenant(credential.decode("latin-1"))

    def _refuse(self, operation: Operation) -> None:
        self.server_state.total_requests += 1
        self._refusing, self._discarded_bytes = True, 0
        stopping = _RAW_CLOSE_HEADER in self.server_state.default_headers
        self._close_after_refusal = stopping or self.expect_100_continue or not self.parser.should_keep_alive()
        sent_id = next((value for name, value in self.headers if name == _REQUEST_ID), None)
        request_id = new_request_id(None if sent_id is None else sent_id.decode("latin-1"))
        assert operation.permit is not None
        prepared = (_OVERLOADED_AND_CLOSE if self._close_after_refusal else _OVERLOADED)[operation.permit]
        self.transport.write(prepared.named(request_id))
        self.limits.observer.note_refused("rest", operation, request_id)
        if self.expect_100_continue:  # the client will not send the body
            self.transport.close()

    def _start_timer(self, seconds: float) -> None:
        self._read_timer = self.loop.call_later(seconds, self._on_timeout)

    def _stop_timer(self) -> None:
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None

    def _on_timeout(self) -> None:
        self._read_timer = None
        if self.transport.is_closing() or self.refuses_all:
            return
        if self.read_state is ReadState.HEADERS and self.answering:
            self._start_timer(self.limits.header_timeout_s)  # a pipelined request may wait for the response before it
        elif self.read_state is ReadState.BODY and (self.pipeline or self.flow.read_paused):
            self._start_timer(self.limits.body_timeout_s)  # the server itself has paused reading
        else:
            self._close_on_timeout()

    def _close_on_timeout(self) -> None:
        if self.read_state is ReadState.HEADERS:
            self.refuse_all(_timeout_response("headers", self.limits.header_timeout_s))
        elif self.read_state is ReadState.BODY:
            self.refuse_all(_timeout_response("body", self.limits.body_timeout_s))
        else:
            self.transport.close()


def _overloaded_response(kind: PermitKind, headers: dict[str, str]) -> PreparedProblem:
    error = overloaded_error(kind)
    return PreparedProblem(problem_of(error), {**retry_after(error), **headers})


def _timeout_response(part: str, seconds: float) -> PreparedProblem:
    detail = f"the request's {part} did not arrive within {seconds:g} s"
    return PreparedProblem(problem_details(HTTPStatus.REQUEST_TIMEOUT, detail), CLOSE_HEADER)


_OVERLOADED = {kind: _overloaded_response(kind, {}) for kind in PermitKind}
_OVERLOADED_AND_CLOSE = {kind: _overloaded_response(kind, CLOSE_HEADER) for kind in PermitKind}
