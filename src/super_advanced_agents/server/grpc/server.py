"""The gRPC server with all its services; `listening.GrpcServer` binds and starts it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Any

import grpc

from super_advanced_agents.config import LIMITS
from super_advanced_agents.protocol.methods import AGENT, ORCHESTRATOR, VECTOR_STORE
from super_advanced_agents.server.grpc.handler import MethodHandler
from super_advanced_agents.server.grpc.health import HEALTH, REFLECTION, health_rpcs, reflection_rpcs
from super_advanced_agents.server.grpc.rpc import Rpc
from super_advanced_agents.server.grpc.services import rpcs
from super_advanced_agents.server.pipeline import Pipeline
from super_advanced_agents.server.services import Gate
from super_advanced_agents.tenancy.settings import Settings

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


def method_handlers(gate: Gate, settings: Settings) -> list[MethodHandler]:
    """Make what answers each method there is."""
    names = [VECTOR_STORE, AGENT, ORCHESTRATOR, HEALTH, REFLECTION]
    every: Iterable[Rpc] = chain(rpcs(gate), health_rpcs(gate, names), reflection_rpcs(names))
    pipeline = Pipeline(gate, longest_s=settings.request_timeout_s)
    return [MethodHandler(rpc, gate, pipeline) for rpc in every]


def build(gate: Gate, settings: Settings) -> grpc.aio.Server:
    """Make the server, bound to no address yet; it belongs to the event loop that runs.

    Args:
        gate: what every call passes; its engines may still be loading.
        settings: how long a call may take.
    """
    server = grpc.aio.server(options=_OPTIONS)
    handlers: dict[str, dict[str, grpc.RpcMethodHandler[Any, Any]]] = {}
    for handler in method_handlers(gate, settings):
        service, _, method = handler.path.strip("/").rpartition("/")
        handlers.setdefault(service, {})[method] = handler.registered()
    for service, methods in handlers.items():
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, methods),))
    return server
