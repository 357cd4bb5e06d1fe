"""The REST listener: uvicorn's server, with a shutdown that drops no received request."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.applications import Starlette

from super_advanced_agents.server.auth.certificates import renewals
from super_advanced_agents.server.connections import ConnectionCaps
from super_advanced_agents.server.http.listener.acceptor import Acceptor
from super_advanced_agents.server.http.listener.parsing import StrictHttpProtocol
from super_advanced_agents.server.http.listener.protocol import http_protocol
from super_advanced_agents.tenancy.settings import Settings

_KEEP_ALIVE_S = 30
_CLOSE_HEADER = (b"connection", b"close")
_SETTLE_S = 0.1
"""Time for TCP handshakes that have begun, and then for reading what has arrived."""


class RestServer(uvicorn.Server):
    """A uvicorn server that answers every request that arrived before its listener closed.

    Attributes:
        ended: set when the shutdown is over.
    """

    def __init__(self, app: Starlette, settings: Settings) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                lifespan="off",  # `main.aserve` enters it, so that its errors reach the caller unchanged
                loop="none",
                http=http_protocol(settings, app.state.admission, app.state.observer),
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,  # uvicorn would believe any caller on this machine; see `server.forwarded`
                ws="none",
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=max(1, round(settings.drain_s)),
                ssl_certfile=settings.tls_cert,
                ssl_keyfile=settings.tls_key,
            )
        )
        self.ended = asyncio.Event()
        self._settings = settings
        self._acceptor: Acceptor | None = None
        self._renewing: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Enter a context that installs no signal handlers, since `main.aserve` handles signals.

        uvicorn's handlers would end the process by the signal that they caught.
        """
        yield

    def disable_keep_alive(self) -> None:
        """Close each connection after its next response, so that few are open at shutdown."""
        self.config.encoded_headers.append(_CLOSE_HEADER)
        self.server_state.default_headers = [*self.server_state.default_headers, _CLOSE_HEADER]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections in place of uvicorn, so that they are counted from the first moment."""
        self.servers = []
        caps = ConnectionCaps(
            max_connections=self._settings.max_connections,
            max_unauthenticated=self._settings.max_unauthenticated,
        )
        self._acceptor = Acceptor(
            self._protocol, caps, context=self.config.ssl, handshake_s=self._settings.header_timeout_s
        )
        self._acceptor.start(sockets or ())
        self._renewing = asyncio.create_task(self._renew(self._acceptor), name="renew certificate of REST")
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept the connections in the backlog, close the listener, and finish received requests."""
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.gather(self._renewing, return_exceptions=True)
        if self._acceptor is not None:
            await self._acceptor.stop(sockets or (), _SETTLE_S)
        try:
            await super().shutdown(sockets)
        finally:
            self.ended.set()

    async def _renew(self, acceptor: Acceptor) -> None:
        async for _ in renewals(self._settings, "REST"):
            with contextlib.suppress(OSError):  # exchanged again since they were checked: the next look sees it
                renewed = uvicorn.Config(
                    self.config.app,
                    http=self.config.http,
                    ws=self.config.ws,
                    log_config=None,
                    ssl_certfile=self._settings.tls_cert,
                    ssl_keyfile=self._settings.tls_key,
                )
                renewed.load()
                acceptor.use(renewed.ssl)

    def _protocol(self) -> StrictHttpProtocol:
        protocol: StrictHttpProtocol = self.config.http_protocol_class(  # type: ignore[assignment, call-arg]
            config=self.config, server_state=self.server_state, app_state={}
        )
        return protocol
