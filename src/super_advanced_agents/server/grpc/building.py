"""The gRPC server with all its services; `listening.GrpcServer` binds and starts it."""

from __future__ import annotations

import grpc

from super_advanced_agents.server.gate import Gate
from super_advanced_agents.server.settings import Settings

_OPTIONS = [
    ("grpc.so_reuseport", 0),  # a port that another server listens on is an error, not a share of its calls
    ("grpc.max_receive_message_length", 8 * 1024 * 1024),
    ("grpc.max_concurrent_streams", 100),
]


def build(gate: Gate, settings: Settings) -> grpc.aio.Server:
    """Make the server, bound to no address yet."""
    del gate, settings
    return grpc.aio.server(options=_OPTIONS)
