"""The gRPC server with all its services, on its own port."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from itertools import chain
from typing import Any, Self

import grpc

from super_advanced_agents._runtime.concurrency.futures import in_thread
from super_advanced_agents.config import LIMITS
from super_advanced_agents.protocol.methods import AGENT, JOB, ORCHESTRATOR, VECTOR_STORE
from super_advanced_agents.server.auth.certificates import check_certificate, renewals
from super_advanced_agents.server.grpc.handler import MethodHandler
from super_advanced_agents.server.grpc.health import HEALTH, health_rpcs
from super_advanced_agents.server.grpc.peers import Peers
from super_advanced_agents.server.grpc.reflection import REFLECTION, reflection_rpcs
from super_advanced_agents.server.grpc.rpc import Rpc
from super_advanced_agents.server.grpc.services import operation_rpcs
from super_advanced_agents.server.pipeline import Pipeline
from super_advanced_agents.server.services import Services
from super_advanced_agents.server.sockets import port_in_use
from super_advanced_agents.tenancy.settings import Settings

GRPC_PORT = "--grpc-port"
_IDLE_S = 20
_OPTIONS = [
    ("grpc.max_receive_message_length", LIMITS.message_bytes),
    # Compressed messages are refused: 300 KB could unfold to 300 MiB, and the limit counts what is sent.
    ("grpc.compression_enabled_algorithms_bitset", 1),
    ("grpc.max_send_message_length", -1),  # a reply is as long as the request demands, as over REST
    ("grpc.max_concurrent_streams", 100),
    ("grpc.http.overload_protection", 0),  # it also counts calls that have ended, and then resets new ones
    # The bytes of a stream that are read ahead. gRPC estimated 16 MiB: 20 streams without a credential kept 640 MiB. A
    # message that a handler awaits is read as a whole all the same.
    ("grpc.http2.lookahead_bytes", 64 * 1024),
    ("grpc.http2.bdp_probe", 0),
    ("grpc.max_metadata_size", 16 * 1024),
    ("grpc.absolute_max_metadata_size", 64 * 1024),
    ("grpc.max_connection_idle_ms", _IDLE_S * 1000),  # without a call; a client connects again by itself
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.max_ping_strikes", 2),
]


def method_handlers(services: Services, settings: Settings, peers: Peers | None = None) -> list[MethodHandler]:
    """Return one `MethodHandler`, which serves the calls, for each gRPC method of the server.

    Args:
        services: the objects that every request uses.
        settings: the limits of the server.
        peers: the connections of the server; None for handlers that no server calls.
    """
    names = [VECTOR_STORE, AGENT, ORCHESTRATOR, JOB, HEALTH, *([REFLECTION] if settings.grpc_reflection else [])]
    rpcs: Iterable[Rpc] = chain(operation_rpcs(services), health_rpcs(services, names))
    if settings.grpc_reflection:
        rpcs = chain(rpcs, reflection_rpcs(names))
    pipeline = Pipeline(
        services, max_timeout_s=settings.request_timeout_s, search_s=settings.search_s, refresh=services.arefresh
    )
    peers = peers or Peers(settings)
    return [MethodHandler(rpc, services, pipeline, peers) for rpc in rpcs]


def _build_server(services: Services, settings: Settings, peers: Peers) -> grpc.aio.Server:
    limits = [
        ("grpc.so_reuseport", int(settings.reuse_port)),  # without it a port in use is an error
        ("grpc.max_allowed_incoming_connections", settings.max_connections),
        ("grpc.server_handshake_timeout_ms", round(settings.header_timeout_s * 1000)),  # up to the first frames
    ]
    server = grpc.aio.server(options=[*_OPTIONS, *limits])
    handlers: dict[str, dict[str, grpc.RpcMethodHandler[Any, Any]]] = {}
    for handler in method_handlers(services, settings, peers):
        service, _, method = handler.path.strip("/").rpartition("/")
        handlers.setdefault(service, {})[method] = handler.method_handler()
    for service, methods in handlers.items():
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, methods),))
    return server


class GrpcServer:
    """Run a `grpc.aio` server as an async context manager, or none if gRPC is turned off.

    It belongs to the event loop in which its context is entered.

    Args:
        services: the objects that every request uses.
        settings: the address, the certificate and the limits of the server.

    Attributes:
        address: `host:port`; None before the server listens and when gRPC is off.
    """

    def __init__(self, services: Services, settings: Settings) -> None:
        self.address: str | None = None
        self._services = services
        self._settings = settings
        self._server: grpc.aio.Server | None = None
        self._peers = Peers(settings)
        self._renewing: asyncio.Task[None] | None = None
        self._renewed: grpc.ServerCertificateConfiguration | None = None

    async def __aenter__(self) -> Self:
        """Bind the gRPC address and accept calls, or do nothing if gRPC is turned off.

        Raises:
            ConfigurationError: the address is in use, or the certificate cannot be read.
        """
        host, port = self._settings.host, self._settings.chosen_grpc_port
        if port is None:
            return self
        server = _build_server(self._services, self._settings, self._peers)
        url_host = f"[{host}]" if ":" in host else host
        certificate = await in_thread(lambda: check_certificate(self._settings), name="read certificate")
        try:
            if certificate is None:
                port = server.add_insecure_port(f"{url_host}:{port}")
            else:
                credentials = grpc.dynamic_ssl_server_credentials(
                    _configuration(certificate),
                    self._take_renewed,  # type: ignore[arg-type]  # it may return None, which its type forgets
                )
                port = server.add_secure_port(f"{url_host}:{port}", credentials)
        except RuntimeError as exc:  # taken since `sockets.bind_listener` tried it
            raise port_in_use(host, port, GRPC_PORT) from exc
        await server.start()
        self._peers.start(port)
        self._renewing = asyncio.create_task(self._renew(), name="renew certificate of gRPC")
        self._server, self.address = server, f"{url_host}:{port}"
        return self

    async def __aexit__(self, *raised: object) -> None:
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.gather(self._renewing, return_exceptions=True)
        await self._peers.stop()
        await self.stop(0)

    async def stop(self, grace_s: float) -> None:
        """Stop accepting gRPC calls, and cancel those that still run after a grace period.

        Args:
            grace_s: the grace period in seconds; a second call may shorten it.
        """
        if self._server is not None:
            await self._server.stop(grace_s)

    async def _renew(self) -> None:
        async for certificate in renewals(self._settings, "gRPC"):
            self._renewed = _configuration(certificate)

    def _take_renewed(self) -> grpc.ServerCertificateConfiguration | None:
        # Called by gRPC's threads before each handshake; None keeps the certificate that it has.
        renewed, self._renewed = self._renewed, None
        return renewed


def _configuration(certificate: tuple[bytes, bytes]) -> grpc.ServerCertificateConfiguration:
    chain, key = certificate
    return grpc.ssl_server_certificate_configuration([(key, chain)])
