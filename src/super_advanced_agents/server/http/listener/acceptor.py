"""The acceptance of REST connections: counted from the first moment, before a TLS handshake."""

from __future__ import annotations

import asyncio
import errno
import select
import socket
import ssl
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from http import HTTPStatus

from super_advanced_agents.protocol.problems import problem_details
from super_advanced_agents.server.connections import ConnectionCaps, client_of
from super_advanced_agents.server.http.errors import PreparedProblem
from super_advanced_agents.server.http.listener.parsing import CLOSE_HEADER, StrictHttpProtocol
from super_advanced_agents.server.limits.admission import RETRY_AFTER_S
from super_advanced_agents.server.observing.requests import new_request_id
from super_advanced_agents.server.packet_filter import drop_new_connections
from super_advanced_agents.telemetry import counter, get_logger

_ACCEPTS_A_TURN = 64
_PAUSE_S = 0.1
"""The pause after an accept that found no free descriptor.

The listener stays readable, so the event loop would spin.
"""
_LOG_EVERY_S = 60.0
_TLS_SHUTDOWN_S = 10.0
_USED_UP = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_REFUSED = counter("connections_refused")
_REFUSAL = PreparedProblem(
    problem_details(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections are open"),
    {"Retry-After": f"{RETRY_AFTER_S:.0f}", **CLOSE_HEADER},
)

_log = get_logger("server")

_Opening = asyncio.Task[tuple[asyncio.Transport, asyncio.BaseProtocol]]


class Acceptor:
    """Accept connections within `ConnectionCaps`, and serve each with a protocol of its own.

    A connection beyond the caps is answered 503 without TLS, and closed without a response with TLS. When the process
    has no free descriptor, an idle connection is closed, and the others wait in the kernel's backlog.

    Args:
        make_protocol: makes the protocol of one connection.
        caps: counts the connections.
        context: the TLS context; None to serve without TLS.
        handshake_s: the time in which the TLS handshake must be over, in seconds.
    """

    def __init__(
        self,
        make_protocol: Callable[[], StrictHttpProtocol],
        caps: ConnectionCaps,
        *,
        context: ssl.SSLContext | None,
        handshake_s: float,
    ) -> None:
        self._make_protocol = make_protocol
        self._caps = caps
        self._handshake_s = handshake_s
        self._loop = asyncio.get_running_loop()
        self.use(context)
        self._opening: set[_Opening] = set()
        self._resuming: dict[socket.socket, asyncio.TimerHandle] = {}
        self._quiet_until = 0.0

    def use(self, context: ssl.SSLContext | None) -> None:
        """Serve further connections with another TLS context, or without TLS if it is None."""
        self._context = context
        self._connect = partial(
            self._loop.connect_accepted_socket,
            ssl=context,
            ssl_handshake_timeout=self._handshake_s if context else None,
            ssl_shutdown_timeout=_TLS_SHUTDOWN_S if context else None,
        )

    def start(self, listeners: Iterable[socket.socket]) -> None:
        """Accept the connections of some listening sockets, until `stop`."""
        for listener in listeners:
            self._listen(listener)

    async def stop(self, listeners: Iterable[socket.socket], settle_s: float) -> None:
        """Accept the connections that clients have begun to open, and close the listeners.

        Args:
            listeners: the sockets given to `start`.
            settle_s: the time for TCP handshakes, and then for the connections that are being opened, in seconds; TLS
                handshakes that take longer are cancelled.
        """
        listeners = list(listeners)
        for listener in listeners:
            _begin_no_more(listener)
        await asyncio.sleep(settle_s)
        for listener in listeners:
            self._loop.remove_reader(listener)
            resuming = self._resuming.pop(listener, None)
            if resuming is not None:
                resuming.cancel()
            while self._accept_one(listener):
                pass
            listener.close()
        await asyncio.sleep(settle_s)
        for task in self._opening:
            task.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)

    def _listen(self, listener: socket.socket) -> None:
        backlog = select.poll()
        backlog.register(listener, select.POLLIN)
        self._loop.add_reader(listener, self._accept, listener, backlog)

    def _accept(self, listener: socket.socket, backlog: select.poll) -> None:
        for _ in range(_ACCEPTS_A_TURN):
            if not (self._accept_one(listener) and backlog.poll(0)):  # 0.4 us; an accept in vain takes 5.6
                return

    def _accept_one(self, listener: socket.socket) -> bool:
        try:
            connected, (address, *_) = listener.accept()
        except OSError as exc:
            if exc.errno in _USED_UP:
                self._pause(listener)
            return exc.errno == errno.ECONNABORTED
        if self._caps.admit(client := client_of(address), self._loop.time()):
            self._open(connected, client)
        else:
            self._refuse(connected)
        return True

    def _open(self, connected: socket.socket, client: str) -> None:
        connected.setblocking(False)
        protocol = self._make_protocol()
        opening = self._loop.create_task(self._connect(lambda: protocol, connected))
        self._opening.add(opening)
        accepted = _Accepted(protocol, opening)
        self._caps.add(accepted, client)
        protocol.on_end = partial(self._caps.remove, accepted)
        opening.add_done_callback(partial(self._opened, protocol, connected))

    def _opened(self, protocol: StrictHttpProtocol, connected: socket.socket, opening: _Opening) -> None:
        self._opening.discard(opening)
        error = asyncio.CancelledError() if opening.cancelled() else opening.exception()
        if error is not None:
            protocol.on_end()
            connected.close()
            if not isinstance(error, (OSError, asyncio.CancelledError)):  # the client has gone, or its handshake failed
                raise error

    def _refuse(self, connected: socket.socket) -> None:
        _REFUSED.add()
        with connected, suppress(OSError):
            connected.setblocking(False)
            if self._context is None:
                connected.send(_REFUSAL.named(new_request_id()))
                connected.shutdown(socket.SHUT_WR)
                connected.recv(65_536)  # closing a socket with unread bytes would reset it

    def _pause(self, listener: socket.socket) -> None:
        now = self._loop.time()
        self._caps.close_one(now)
        if now >= self._quiet_until:
            self._quiet_until = now + _LOG_EVERY_S
            _log.warning(
                "server.descriptors_used_up",
                extra={"connections": len(self._caps), "hint": "raise the limit of open files (ulimit -n)"},
            )
        if listener not in self._resuming:
            self._loop.remove_reader(listener)
            self._resuming[listener] = self._loop.call_later(_PAUSE_S, self._resume, listener)

    def _resume(self, listener: socket.socket) -> None:
        del self._resuming[listener]
        self._listen(listener)


def _begin_no_more(listener: socket.socket) -> None:
    # Between the last `accept` and the closing of a listener, the kernel would go on to complete connections, and reset
    # them. Clients repeat what Linux drops after a second, and are refused.
    with suppress(OSError):  # a kernel without socket filters
        drop_new_connections(listener)


class _Accepted:
    __slots__ = ("_opening", "_protocol")

    def __init__(self, protocol: StrictHttpProtocol, opening: _Opening) -> None:
        self._protocol = protocol
        self._opening = opening

    @property
    def is_authenticated(self) -> bool:
        return self._protocol.is_authenticated

    @property
    def idle_since(self) -> float | None:
        return self._protocol.idle_since

    def abort(self) -> None:
        if self._opening.done():
            self._protocol.transport.abort()
        else:
            self._opening.cancel()
