"""The standard gRPC health service, which reports the same state as `/readyz`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus

from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from super_advanced_agents.protocol.methods import Method
from super_advanced_agents.server.grpc.rpc import Rpc
from super_advanced_agents.server.pipeline import _RefusedError
from super_advanced_agents.server.services import Services
from super_advanced_agents.tenancy.workspace import Workspace

HEALTH = "grpc.health.v1.Health"
_POLL_INTERVAL_S = 0.2
_WATCHES = 1_000


def health_rpcs(services: Services, names: Sequence[str]) -> tuple[Rpc, ...]:
    """Return the methods of the gRPC health service, `Check` and `Watch`, with their handlers.

    The status is SERVING once the embedding model is loaded and until the server stops, for the server (an empty name)
    and for each service. A `Watch` reports that the server is stopping, and then ends; at most 1,000
    are open.

    Args:
        services: the objects that every request uses.
        names: the full names of the services that can be asked for.
    """
    board = _StatusBoard(services)

    async def check(request: HealthCheckRequest, workspace: Workspace) -> HealthCheckResponse:
        del workspace
        if request.service and request.service not in names:
            raise _RefusedError(HTTPStatus.NOT_FOUND, "there is no service of that name")
        return HealthCheckResponse(status=board.current())

    async def watch(request: HealthCheckRequest, workspace: Workspace) -> AsyncGenerator[HealthCheckResponse, None]:
        del workspace
        unknown = bool(request.service) and request.service not in names
        reported = None
        with board.watching():
            while True:
                change = board.change  # taken first, so that no change during the reply is missed
                current = HealthCheckResponse.SERVICE_UNKNOWN if unknown else board.current()
                if current != reported:
                    reported = current
                    yield HealthCheckResponse(status=current)
                if services.draining:
                    return
                await change.wait()

    return (
        Rpc(Method(HEALTH, "Check", HealthCheckRequest, HealthCheckResponse), check),
        Rpc(Method(HEALTH, "Watch", HealthCheckRequest, HealthCheckResponse, False, True), watch),
    )


class _StatusBoard:
    # One timer looks at the state for all watches: 10,000 timers of their own took 0.4 of a core.

    def __init__(self, services: Services) -> None:
        self._services = services
        self._watches = 0
        self._seen: tuple[object, bool] | None = None
        self.change = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    def current(self) -> HealthCheckResponse.ServingStatus:
        return HealthCheckResponse.SERVING if self._services.ready else HealthCheckResponse.NOT_SERVING

    @contextmanager
    def watching(self) -> Iterator[None]:
        if self._watches >= _WATCHES:
            raise _RefusedError(
                HTTPStatus.TOO_MANY_REQUESTS, f"{_WATCHES} health watches are open; call Check, or try again later"
            )
        self._watches += 1
        if self._timer is None:
            self._look()
        try:
            yield
        finally:
            self._watches -= 1
            if not self._watches and self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def _look(self) -> None:
        state = (self.current(), self._services.draining)
        if state != self._seen:
            self._seen = state
            self.change.set()
            self.change = asyncio.Event()
        self._timer = asyncio.get_running_loop().call_later(_POLL_INTERVAL_S, self._look)
