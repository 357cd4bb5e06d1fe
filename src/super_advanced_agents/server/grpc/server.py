"""The gRPC server with all its services, on an address of its own."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Any, Self

import grpc

from super_advanced_agents._runtime.futures import in_thread
from super_advanced_agents.config import LIMITS
from super_advanced_agents.protocol.methods import AGENT, ORCHESTRATOR, VECTOR_STORE
from super_advanced_agents.server.grpc.handler import MethodHandler
from super_advanced_agents.server.grpc.health import HEALTH, REFLECTION, health_rpcs, reflection_rpcs
from super_advanced_agents.server.grpc.rpc import Rpc
from super_advanced_agents.server.grpc.services import rpcs
from super_advanced_agents.server.pipeline import Pipeline
from super_advanced_agents.server.services import Services
from super_advanced_agents.server.sockets import port_in_use
from super_advanced_agents.tenancy.settings import Settings, checked_certificate

GRPC_PORT = "--grpc-port"
_OPTIONS = [
    ("grpc.so_reuseport", 0),  # a port that another server listens on is an error, not a share of its calls
    ("grpc.max_receive_message_length", LIMITS.message_bytes),
    ("grpc.max_send_message_length", -1),  # what was asked for decides, as over REST
    ("grpc.max_concurrent_streams", 100),
    ("grpc.http.overload_protection", 0),  # it counts calls that have ended as well, and resets new ones
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
]


def method_handlers(services: Services, settings: Settings) -> list[MethodHandler]:
    """Make what answers each method there is."""
    names = [VECTOR_STORE, AGENT, ORCHESTRATOR, HEALTH, REFLECTION]
    every: Iterable[Rpc] = chain(rpcs(services), health_rpcs(services, names), reflection_rpcs(names))
    pipeline = Pipeline(services, longest_s=settings.request_timeout_s)
    return [MethodHandler(rpc, services, pipeline) for rpc in every]


def build(services: Services, settings: Settings) -> grpc.aio.Server:
    """Make the server, bound to no address yet; it belongs to the event loop that runs.

    Args:
        gate: what every call passes; its engines may still be loading.
        settings: how long a call may take.
    """
    server = grpc.aio.server(options=_OPTIONS)
    handlers: dict[str, dict[str, grpc.RpcMethodHandler[Any, Any]]] = {}
    for handler in method_handlers(services, settings):
        service, _, method = handler.path.strip("/").rpartition("/")
        handlers.setdefault(service, {})[method] = handler.registered()
    for service, methods in handlers.items():
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, methods),))
    return server


class GrpcServer:
    """`grpc.aio`'s server on an address of its own, in the event loop it is entered in; nothing when gRPC is off.

    Args:
        gate: what every call passes.
        settings: where to listen.

    Attributes:
        address: `host:port`; None when gRPC is off.
    """

    def __init__(self, services: Services, settings: Settings) -> None:
        self.address: str | None = None
        self._services = services
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
        server = build(self._services, self._settings)
        wanted = f"{f'[{host}]' if ':' in host else host}"
        certified = await in_thread(lambda: checked_certificate(self._settings), name="read certificate")
        try:
            if certified is None:
                port = server.add_insecure_port(f"{wanted}:{port}")
            else:
                chain, key = certified
                port = server.add_secure_port(f"{wanted}:{port}", grpc.ssl_server_credentials([(key, chain)]))
        except RuntimeError as exc:  # taken since `sockets.bound` tried it
            raise port_in_use(host, port, GRPC_PORT) from exc
        await server.start()
        self._server, self.address = server, f"{wanted}:{port}"
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.stop(0)

    async def stop(self, grace_s: float) -> None:
        """Take no more calls; those under way are cancelled when `grace_s` is over. May be called again with less."""
        if self._server is not None:
            await self._server.stop(grace_s)
