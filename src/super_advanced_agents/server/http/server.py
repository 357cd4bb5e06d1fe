"""The two listeners of one process: uvicorn for REST and `grpc.aio`, begun together and ended together."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Iterator
from typing import Self

import grpc
import uvicorn
from fastapi import FastAPI

from super_advanced_agents._runtime.futures import in_thread
from super_advanced_agents.errors import ConfigurationError
from super_advanced_agents.server.http.protocol import http_protocol
from super_advanced_agents.server.services import Gate
from super_advanced_agents.tenancy.settings import Settings, checked_certificate

GRPC_PORT = "--grpc-port"
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


class GrpcServer:
    """`grpc.aio`'s server on an address of its own, in the event loop it is entered in; nothing when gRPC is off.

    Args:
        gate: what every call passes.
        settings: where to listen.

    Attributes:
        address: `host:port`; None when gRPC is off.
    """

    def __init__(self, gate: Gate, settings: Settings) -> None:
        self.address: str | None = None
        self._gate = gate
        self._settings = settings
        self._server: grpc.aio.Server | None = None

    async def __aenter__(self) -> Self:
        """Begin to listen.

        Raises:
            ConfigurationError: the address cannot be had, or a certificate cannot be read.
        """
        host, port = self._settings.host, self._settings.chosen_grpc_port
        if port is None:
            return self
        from super_advanced_agents.server.grpc.server import build

        server = build(self._gate, self._settings)
        wanted = f"{f'[{host}]' if ':' in host else host}"
        certified = await in_thread(lambda: checked_certificate(self._settings), name="read certificate")
        try:
            if certified is None:
                port = server.add_insecure_port(f"{wanted}:{port}")
            else:
                chain, key = certified
                port = server.add_secure_port(f"{wanted}:{port}", grpc.ssl_server_credentials([(key, chain)]))
        except RuntimeError as exc:  # taken since `bound` tried it
            raise _in_use(host, port, GRPC_PORT) from exc
        await server.start()
        self._server, self.address = server, f"{wanted}:{port}"
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.stop(0)

    async def stop(self, grace_s: float) -> None:
        """Take no more calls; those under way are cancelled when `grace_s` is over. May be called again with less."""
        if self._server is not None:
            await self._server.stop(grace_s)


def _accepted(listener: socket.socket) -> Iterator[socket.socket]:
    """The connections the kernel has made and nobody has taken; closing the listener would reset them."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:  # none is left
            return
        connection.setblocking(False)
        yield connection


def bound(host: str, port: int, option: str) -> socket.socket:
    """Take an address before anything slow happens, so that one in use is told at once.

    Raises:
        ConfigurationError: it cannot be had; the hint names `option`.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(1024)  # early callers wait in line; another server on this port would fail only here
        listener.setblocking(False)
    except OSError as exc:
        listener.close()
        if exc.errno == errno.EADDRINUSE:
            raise _in_use(host, port, option) from exc
        raise ConfigurationError(
            f"cannot listen on {host}:{port}: {exc.strerror}", hint=f"choose another {option}"
        ) from exc
    return listener


def _in_use(host: str, port: int, option: str) -> ConfigurationError:
    return ConfigurationError(
        f"another program listens on {host}:{port}", hint=f"stop it, or choose another port with {option}"
    )


def address_of(listener: socket.socket) -> str:
    """`host:port` as URLs write it."""
    host, port = listener.getsockname()[:2]
    return f"{f'[{host}]' if ':' in host else host}:{port}"
