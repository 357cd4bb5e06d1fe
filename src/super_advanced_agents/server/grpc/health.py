"""The standard gRPC health and reflection services. Health reports the same state as `/readyz`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from http import HTTPStatus

from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_reflection.v1alpha import _async as reflection
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

from super_advanced_agents.protocol.methods import Method
from super_advanced_agents.server.grpc.rpc import Rpc
from super_advanced_agents.server.pipeline import _RefusedError
from super_advanced_agents.server.services import Services
from super_advanced_agents.tenancy.workspace import Workspace

HEALTH = "grpc.health.v1.Health"
REFLECTION = "grpc.reflection.v1alpha.ServerReflection"
_POLL_INTERVAL_S = 0.2


def health_rpcs(services: Services, names: Sequence[str]) -> tuple[Rpc, ...]:
    """Return the methods of the gRPC health service, `Check` and `Watch`, with their handlers.

    The status is SERVING once the embedding model is loaded, until the server stops or loses a file, for the server (an
    empty name) and for each service. A `Watch` reports that the server is stopping, and then ends.

    Args:
        services: the objects that every request uses.
        names: the full names of the services that can be asked for.
    """

    def status() -> HealthCheckResponse.ServingStatus:
        return HealthCheckResponse.SERVING if services.ready else HealthCheckResponse.NOT_SERVING

    async def check(request: HealthCheckRequest, workspace: Workspace) -> HealthCheckResponse:
        del workspace
        if request.service and request.service not in names:
            raise _RefusedError(HTTPStatus.NOT_FOUND, "there is no service of that name")
        return HealthCheckResponse(status=status())

    async def watch(request: HealthCheckRequest, workspace: Workspace) -> AsyncGenerator[HealthCheckResponse, None]:
        del workspace
        unknown = request.service and request.service not in names
        reported = None
        while True:
            current = HealthCheckResponse.SERVICE_UNKNOWN if unknown else status()
            if current != reported:
                reported = current
                yield HealthCheckResponse(status=current)
            if services.draining:
                return
            await asyncio.sleep(_POLL_INTERVAL_S)

    return (
        Rpc(Method(HEALTH, "Check", HealthCheckRequest, HealthCheckResponse), check),
        Rpc(Method(HEALTH, "Watch", HealthCheckRequest, HealthCheckResponse, False, True), watch),
    )


def reflection_rpcs(services: Sequence[str]) -> tuple[Rpc, ...]:
    """Return the method of the gRPC reflection service, with its handler.

    Args:
        services: the full names of the services to describe.
    """
    servicer = reflection.ReflectionServicer(services)

    async def info(
        requests: AsyncIterator[ServerReflectionRequest], workspace: Workspace
    ) -> AsyncGenerator[ServerReflectionResponse, None]:
        del workspace
        async for response in servicer.ServerReflectionInfo(requests, None):
            yield response

    method = Method(REFLECTION, "ServerReflectionInfo", ServerReflectionRequest, ServerReflectionResponse, True, True)
    return (Rpc(method, info),)
