"""How requests arrive: in time, from not too many at once; and refused in a few bytes where there is no place.

uvicorn has no such limits, so its protocol is extended; nothing else of it is changed.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import Any, ClassVar

import orjson
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from super_advanced_agents.protocol.operations import PermitKind
from super_advanced_agents.protocol.problems import MEDIA_TYPE, problem_details, problem_of, retry_after
from super_advanced_agents.server.limits.admission import RETRY_AFTER_S, Admission, overloaded
from super_advanced_agents.server.route_table import ROUTES, permit_of
from super_advanced_agents.tenancy.settings import Settings
from super_advanced_agents.types import JSONValue

_CLOSE = {"Connection": "close"}
_MAX_HEAD_BYTES = 64 * 1024
"""Of a head that has arrived in part; what arrives at once may be a little longer."""
_HANG_UP = (b"connection", b"close")


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What a connection is held to.

    Attributes:
        header_s: seconds in which the headers of a request must arrive; a new connection has as long to begin one.
        body_s: seconds in which its body must arrive after them.
        max_body_bytes: how much of the body of a refused request is read before the connection is closed.
        max_connections: further ones are turned away.
        admission: who gets a place.
    """

    header_s: float
    body_s: float
    max_body_bytes: int
    max_connections: int
    admission: Admission


def http_protocol(settings: Settings, admission: Admission) -> type[asyncio.Protocol]:
    """The class for uvicorn's `http` option."""

    class Receiving(_Receiving):
        rules = Rules(
            header_s=settings.header_timeout_s,
            body_s=settings.body_timeout_s,
            max_body_bytes=settings.max_body_bytes,
            max_connections=settings.max_connections,
            admission=admission,
        )

    return Receiving


class _Stage(Enum):
    SILENT = "nothing has arrived yet"
    HEADERS = "headers are arriving"
    BODY = "a body is arriving"
    WHOLE = "all that was begun has arrived"


class _Receiving(HttpToolsProtocol):
    """One connection. A timer runs only while a request has arrived in part, so most requests never start one."""

    rules: ClassVar[Rules]

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._stage = _Stage.SILENT
        self._deadline: asyncio.TimerHandle | None = None
        self._refusing = False
        self._closes = False
        self._saturated = self.rules.admission.saturated
        self._unread = 0
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, or turn it away."""
        if len(self.connections) >= self.rules.max_connections:
            self.transport = transport
            transport.write(_CROWDED)
            transport.close()
            return
        super().connection_made(transport)
        self._arm(self.rules.header_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop counting."""
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on; what is still missing then must come in time, however it drips."""
        super().data_received(data)
        self._head_bytes = self._head_bytes + len(data) if self._stage is _Stage.HEADERS else 0
        if self._head_bytes > _MAX_HEAD_BYTES and not self.transport.is_closing():
            self.transport.write(_TOO_LONG_A_HEAD)
            self.transport.close()
        if self._deadline is None and not self.transport.is_closing():
            if self._stage is _Stage.HEADERS:
                self._arm(self.rules.header_s)
            elif self._stage is _Stage.BODY:
                self._arm(self.rules.body_s)

    def on_message_begin(self) -> None:
        """A request begins."""
        self._stage = _Stage.HEADERS
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Begin to answer, or refuse before anything is made for the request."""
        self._disarm()
        self._stage = _Stage.BODY
        kind = self._kind_without_permit()
        if kind is None:
            super().on_headers_complete()
        else:
            self._refuse(kind)

    def on_body(self, body: bytes) -> None:
        """Keep it, or drop what nobody will read."""
        if not self._refusing:
            super().on_body(body)
            return
        self._unread += len(body)
        if self._unread > self.rules.max_body_bytes:
            self.transport.close()

    def on_message_complete(self) -> None:
        """All of it is here."""
        self._disarm()
        self._stage = _Stage.WHOLE
        if not self._refusing:
            super().on_message_complete()
            return
        self._refusing = False
        if self._closes:
            self.transport.close()
        else:
            self._keep_alive()

    def _keep_alive(self) -> None:
        if self.timeout_keep_alive_task is None and not self.transport.is_closing():
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _kind_without_permit(self) -> PermitKind | None:
        """The kind of permit that the request would wait for in vain, if it is so."""
        if not self._saturated or self._answering:  # answers go out in the order of their requests
            return None
        verb, path = self.parser.get_method(), self.url.partition(b"?")[0]
        kind = permit_of(ROUTES.find(verb.decode("latin-1"), path.decode("latin-1")))
        return kind if kind in self._saturated and verb != b"HEAD" else None  # whose refusal has no body

    def _refuse(self, kind: PermitKind) -> None:
        self.server_state.total_requests += 1
        self._refusing, self._unread = True, 0
        hanging_up = _HANG_UP in self.server_state.default_headers  # the server is about to stop
        self._closes = hanging_up or self.expect_100_continue or not self.parser.should_keep_alive()
        self.transport.write((_LAST_REFUSALS if self._closes else _REFUSALS)[kind])
        if self.expect_100_continue:  # its body will not come
            self.transport.close()

    def _arm(self, seconds: float) -> None:
        self._deadline = self.loop.call_later(seconds, self._too_late)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_late(self) -> None:
        self._deadline = None
        if self.transport.is_closing():
            return
        if self._stage is _Stage.HEADERS and self._answering:
            self._arm(self.rules.header_s)  # an earlier request is being answered; this one can wait for that
        elif self._stage is _Stage.BODY and self.pipeline:
            self._arm(self.rules.body_s)  # reading was paused by us
        else:
            self._close_late()

    def _close_late(self) -> None:
        if self._stage is _Stage.HEADERS:
            self.transport.write(_late("headers", self.rules.header_s))
        elif self._stage is _Stage.BODY and self._answering and not self.cycle.response_started:
            self.cycle.disconnected = True  # whoever waits for the body learns that none will come
            self.cycle.message_event.set()
            self.transport.write(_late("body", self.rules.body_s))
        self.transport.close()


def _response(problem: dict[str, JSONValue], headers: dict[str, str]) -> bytes:
    """All bytes of a response."""
    status = problem["status"]
    assert isinstance(status, int)
    body = orjson.dumps(problem)
    lines = {"Content-Type": MEDIA_TYPE, "Content-Length": str(len(body)), **headers}
    head = "".join(f"{name.lower()}: {value}\r\n" for name, value in lines.items())
    return STATUS_LINE[status] + head.encode("ascii") + b"\r\n" + body


def _refusal(kind: PermitKind, headers: dict[str, str]) -> bytes:
    error = overloaded(kind)
    return _response(problem_of(error), {**retry_after(error), **headers})


def _late(part: str, seconds: float) -> bytes:
    detail = f"the request's {part} did not arrive within {seconds:g} s"
    return _response(problem_details(HTTPStatus.REQUEST_TIMEOUT, detail), _CLOSE)


_REFUSALS = {kind: _refusal(kind, {}) for kind in PermitKind}
_LAST_REFUSALS = {kind: _refusal(kind, _CLOSE) for kind in PermitKind}
_CROWDED = _response(
    problem_details(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections are open"),
    {"Retry-After": f"{RETRY_AFTER_S:.0f}", **_CLOSE},
)
_TOO_LONG_A_HEAD = _response(
    problem_details(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"the headers are longer than {_MAX_HEAD_BYTES} bytes"),
    _CLOSE,
)
