"""The REST listener: uvicorn's server, which loses nothing that reached it before it closed."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from fastapi import FastAPI

from super_advanced_agents.server.http.protocol import http_protocol
from super_advanced_agents.tenancy.settings import Settings

_KEEP_ALIVE_S = 30
_CLOSE = (b"connection", b"close")
_DOORS = 16
"""uvloop takes one connection by each in a turn: in a crowd, whose turns are long, some waited for seconds."""
_SETTLE_S = 0.1
"""What the kernel had received when the listener closed is read by then: it takes the event loop one turn."""


class RestServer(uvicorn.Server):
    """uvicorn's server with an end of its own: nothing that reached it before its listener closed is dropped."""

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                lifespan="off",  # entered by `run.aserve`, so that what it raises reaches the caller as it is
                loop="none",
                http=http_protocol(settings, app.state.admission),
                log_config=None,
                access_log=False,
                server_header=False,
                ws="none",
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=max(1, round(settings.drain_s)),
                ssl_certfile=settings.tls_cert,
                ssl_keyfile=settings.tls_key,
            )
        )
        self.ended = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the handlers to `run.aserve`: uvicorn's own ends the process by the signal it has caught."""
        yield

    def hang_up_after_answers(self) -> None:
        """From now on each answer ends its connection, so that few are open when the listener closes."""
        self.config.encoded_headers.append(_CLOSE)
        self.server_state.default_headers = [*self.server_state.default_headers, _CLOSE]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen by several descriptors of each listener."""
        doors = [each.dup() for each in sockets or [] for _ in range(_DOORS - 1)]
        await super().startup([*(sockets or []), *doors])

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take what still waits at the door, close it, read what has arrived, then finish as uvicorn does."""
        waiting = [connection for listener in sockets or [] for connection in _accepted(listener)]
        for server in self.servers:
            server.close()
        loop = asyncio.get_running_loop()
        for connection in waiting:
            with contextlib.suppress(OSError):  # it went away while it waited
                await loop.connect_accepted_socket(self._protocol, connection, ssl=self.config.ssl)
        await asyncio.sleep(_SETTLE_S)
        try:
            await super().shutdown(sockets)
        finally:
            self.ended.set()

    def _protocol(self) -> asyncio.Protocol:
        made: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state={}
        )
        return made


def _accepted(listener: socket.socket) -> Iterator[socket.socket]:
    """The connections the kernel has made and nobody has taken; closing the listener would reset them."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:  # none is left
            return
        connection.setblocking(False)
        yield connection
