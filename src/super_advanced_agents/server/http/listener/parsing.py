"""An HTTP/1 protocol that parses one request at a time, and reads each as proxies do.

uvicorn parses everything that it receives at once: a request in each 18 bytes, or 40,000 chunks of a body, while the
event loop waits. Here at most one request waits behind the one that is answered; the rest stays unparsed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from enum import Enum
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from super_advanced_agents.protocol.problems import problem_details
from super_advanced_agents.server.http.errors import PreparedProblem
from super_advanced_agents.server.http.middleware.calls import INCOMING
from super_advanced_agents.server.observing.requests import new_request_id
from super_advanced_agents.server.pipeline import IncomingRequest

CLOSE_HEADER = {"Connection": "close"}
MAX_HEADER_BYTES = 64 * 1024
"""The limit for the head of a request. Trailers and the framing of chunks have the same limit."""

_HEAD_END = b"\r\n\r\n"
_SMALL = 1024
"""Bytes that are parsed at once; they hold at most 56 requests."""
_CHUNKED_PIECE = 2048
_LINGER_S = 0.5
"""The time before a refused connection is closed, in which what still arrives is dropped."""
_PIECES_A_TURN = 16
"""Pieces that are parsed in one turn of the event loop.

It takes about 5 ms for a body whose chunks are one byte each.
"""


class ReadState(Enum):
    """The states of reading requests from a connection."""

    IDLE = "nothing has arrived yet"
    HEADERS = "headers are arriving"
    BODY = "a body is arriving"
    COMPLETE = "every request that began has arrived"


class StrictHttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol with paced parsing, a limit for headers and stricter reading.

    Trailers are dropped, so that they never count as headers. A version other than HTTP/1.0 and HTTP/1.1 is answered
    505. A target in absolute form that names another host than the `Host` header adds that name to the headers, so that
    `AllowedHosts` refuses the request (RFC 9112, 3.2.2). After an upgrade, which is ignored, the connection is closed:
    a client may have sent a body or the other protocol's bytes, and neither may be read as a request.

    Attributes:
        read_state: what arrives now.
        on_end: called when the connection has ended.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.read_state = ReadState.IDLE
        self.on_end: Callable[[], None] = _nothing
        self._began = self.loop.time()
        self._is_authenticated = False
        self._last_response: bytes | None = None
        self._unparsed = b""
        self._parsed_bytes = 0
        self._parsing: asyncio.Handle | None = None
        self._progressed = False
        self._head_bytes = 0
        self._body_bytes = 0

    @property
    def answering(self) -> bool:
        """True while a request has arrived, at least its head, and its response is not complete."""
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def refuses_all(self) -> bool:
        """True after a request that cannot be read: what follows it is not parsed."""
        return self._last_response is not None

    @property
    def is_authenticated(self) -> bool:
        """True once a request on this connection had a valid credential."""
        if not self._is_authenticated and self.scope is not None:
            incoming = self.scope.get(INCOMING)
            self._is_authenticated = isinstance(incoming, IncomingRequest) and incoming.context is not None
        return self._is_authenticated

    @property
    def idle_since(self) -> float | None:
        """The event loop's time since when the server waits for the client; None while it works.

        Of a client that has shown no credential, the server waits for the whole request.
        """
        if self.answering and not self.in_body:
            return None
        if self.is_authenticated and (self.answering or self.read_state is ReadState.HEADERS):
            return None
        if self.timeout_keep_alive_task is not None:
            return self.timeout_keep_alive_task.when() - self.timeout_keep_alive
        return self._began

    @property
    def in_body(self) -> bool:
        """True while a body arrives."""
        return self.read_state is ReadState.BODY

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to read requests from a connection."""
        super().connection_made(transport)
        self.flow = _HeldFlow(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget what has not been parsed, and wake the application."""
        self._unparsed = b""
        if self._parsing is not None:
            self._parsing.cancel()
        super().connection_lost(exc)
        self.on_end()

    def data_received(self, data: bytes) -> None:
        """Parse received bytes, or keep them until the requests before them are answered."""
        if self.refuses_all:
            return
        if self._unparsed:
            self._unparsed = self._unparsed[self._parsed_bytes :] + data
            self._parsed_bytes = 0
        elif len(data) <= _SMALL and not self.pipeline:
            self._feed(data)
        else:
            self._unparsed = data
            self._parse()

    def refuse_all(self, problem: PreparedProblem) -> None:
        """Answer a request that cannot be read, after those before it, and close the connection."""
        if self.refuses_all:
            return
        response = problem.named(new_request_id())
        self._last_response = response
        if self.read_state is not ReadState.BODY:
            if self.answering:
                self._hold()
            else:
                self._end(response)
        elif self.answering and not self.pipeline and not self.cycle.response_started:
            self.disconnect(response)
        else:
            self.transport.close()  # its response has begun, or would be sent before those of earlier requests

    def disconnect(self, response: bytes) -> None:
        """Wake an application that waits for a body, respond in its place, and close the connection."""
        self.cycle.disconnected = True
        self.cycle.message_event.set()
        self._end(response)

    def send_400_response(self, msg: str) -> None:
        """Refuse bytes that are not HTTP."""
        del msg
        self.refuse_all(_NOT_HTTP_1)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header without the spaces around its value (RFC 9110, 5.5)."""
        super().on_header(name, value.strip(b" \t"))

    def on_message_begin(self) -> None:
        """Note that a request begins."""
        self.read_state, self._progressed = ReadState.HEADERS, True
        super().on_message_begin()

    def headers_arrived(self) -> bool:
        """Check the head of a request, and return False if it is refused."""
        if self.refuses_all:
            return False
        version = self.parser.get_http_version()
        if version not in ("1.1", "1.0"):
            self.refuse_all(_NOT_HTTP_1 if version == "0.9" else _VERSION_NOT_SUPPORTED)
            return False
        if not self.url.startswith(b"/"):
            self._check_target()
        self.read_state, self._body_bytes = ReadState.BODY, 0
        return True

    def on_headers_complete(self) -> None:
        """Call the application, and drop the trailers that may follow the body."""
        super().on_headers_complete()
        self.headers = _TRAILERS

    def on_body(self, body: bytes) -> None:
        """Give a piece of the body to the application."""
        self.note_body(body)
        super().on_body(body)

    def note_body(self, body: bytes) -> None:
        """Count a piece of a body."""
        self._progressed = True
        self._body_bytes += len(body)

    def on_response_complete(self) -> None:
        """Go on with the next request."""
        if not self._is_authenticated:
            self._is_authenticated = self.is_authenticated
        super().on_response_complete()
        if self._last_response is None:
            if self._unparsed and not self.pipeline:
                self._parse_soon()
        elif not self.answering:
            self._end(self._last_response)

    def feed(self, data: bytes | memoryview) -> None:
        """Parse bytes now."""
        super().data_received(data)  # type: ignore[arg-type]

    def _unsupported_upgrade_warning(self) -> None:
        self._last_response = b""
        if self.answering:
            self.cycle.keep_alive = False
        else:
            self.transport.close()

    def _check_target(self) -> None:
        target = httptools.parse_url(self.url)
        name: bytes | None = target.host
        if name is None:  # the asterisk form
            return
        port = b"" if target.port is None else b":%d" % target.port
        host = name + port if target.userinfo is None else b""
        if [value.lower() for field, value in self.headers if field == b"host"] != [host.lower()]:
            self.headers.append((b"host", host))

    def _feed(self, data: bytes | memoryview) -> None:
        in_body = self.in_body
        if not in_body and self._head_bytes + len(data) > MAX_HEADER_BYTES:
            self.refuse_all(_HEADERS_TOO_LONG)
            return
        self._progressed = False
        self.feed(data)
        self._count_head(len(data), in_body=in_body)

    def _count_head(self, size_bytes: int, *, in_body: bool) -> None:
        if self.in_body and in_body and not self._progressed:
            self._head_bytes += size_bytes  # trailers, or the framing of a chunk
            if self._head_bytes > MAX_HEADER_BYTES:
                self.refuse_all(_HEADERS_TOO_LONG)
        elif self.read_state is ReadState.HEADERS:
            self._head_bytes = size_bytes if self._progressed else self._head_bytes + size_bytes
        else:
            self._head_bytes = 0

    def _parse(self) -> None:
        # A piece ends where a head or a body ends, so that it holds one request at most.
        self._parsing = None
        view = memoryview(self._unparsed)
        for _ in range(_PIECES_A_TURN):
            if self._parsed_bytes == len(view) or self.pipeline or self.refuses_all or self.transport.is_closing():
                break
            end = self._piece_end()
            piece = view[self._parsed_bytes : end]
            self._parsed_bytes = end
            self._feed(piece)
        if self._parsed_bytes < len(view) and not (self.refuses_all or self.transport.is_closing()):
            self._hold()
            if not self.pipeline:
                self._parse_soon()
        else:
            self._unparsed, self._parsed_bytes = b"", 0
            if not self.refuses_all:
                self._release()

    def _piece_end(self) -> int:
        start, length = self._parsed_bytes, len(self._unparsed)
        if self.read_state is ReadState.BODY:
            left = self._body_left()
            return min(length, start + (_CHUNKED_PIECE if left is None else max(1, left)))
        found = self._unparsed.find(_HEAD_END, start)
        return length if found < 0 else found + len(_HEAD_END)

    def _body_left(self) -> int | None:
        for name, value in self.scope["headers"]:
            if name == b"content-length":
                return int(value) - self._body_bytes
        return None

    def _parse_soon(self) -> None:
        if self._parsing is None:
            self._parsing = self.loop.call_soon(self._parse)

    def _hold(self) -> None:
        assert isinstance(self.flow, _HeldFlow)
        self.flow.hold()

    def _release(self) -> None:
        assert isinstance(self.flow, _HeldFlow)
        self.flow.release()

    def _end(self, response: bytes) -> None:
        # Closing at once resets the connection when more has arrived, and the client would not see the response.
        self._last_response = b""
        self._release()
        self.flow.resume_reading()
        self.transport.write(response)
        if self.transport.can_write_eof():
            with contextlib.suppress(OSError):  # the client has gone
                self.transport.write_eof()
        self.loop.call_later(_LINGER_S, self.transport.close)


def _nothing() -> None:
    pass


class _HeldFlow(FlowControl):
    # Reading also stops while received bytes wait to be parsed, whatever the application asks for.

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__(transport)
        self._held = False

    def hold(self) -> None:
        if not self._held:
            self._held = True
            if not self.read_paused:
                self._transport.pause_reading()

    def release(self) -> None:
        if self._held:
            self._held = False
            if not self.read_paused:
                self._transport.resume_reading()

    def pause_reading(self) -> None:
        if self._held:
            self.read_paused = True
        else:
            super().pause_reading()

    def resume_reading(self) -> None:
        if self._held:
            self.read_paused = False
        else:
            super().resume_reading()


class _Trailers(list[tuple[bytes, bytes]]):
    # Drops all trailers: a proxy that checks the headers does not check them, and nothing here needs them.

    def append(self, trailer: tuple[bytes, bytes], /) -> None:
        del trailer


_TRAILERS = _Trailers()


_HEADERS_TOO_LONG = PreparedProblem(
    problem_details(
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"the headers are longer than {MAX_HEADER_BYTES} bytes"
    ),
    CLOSE_HEADER,
)
_NOT_HTTP_1 = PreparedProblem(
    problem_details(HTTPStatus.BAD_REQUEST, "what arrived is not an HTTP/1 request"), CLOSE_HEADER
)
_VERSION_NOT_SUPPORTED = PreparedProblem(
    problem_details(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "this port speaks HTTP/1.1 and HTTP/1.0"), CLOSE_HEADER
)
