"""The standard gRPC health service, which reports the same state as `/readyz`."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus

from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from super_advanced_agents.protocol.methods import Method
from super_advanced_agents.server.grpc.peers import calling_peer, client_of_peer
from super_advanced_agents.server.grpc.rpc import Rpc
from super_advanced_agents.server.pipeline import _RefusedError
from super_advanced_agents.server.services import Services
from super_advanced_agents.tenancy.workspace import Workspace

HEALTH = "grpc.health.v1.Health"
_POLL_INTERVAL_S = 0.2
_WATCHES = 1_000
_WATCH_S = 3600.0


def health_rpcs(services: Services, names: Sequence[str]) -> tuple[Rpc, ...]:
    """Return the methods of the gRPC health service, `Check` and `Watch`, with their handlers.

    The status is SERVING once the embedding model is loaded and until the server stops, for the server (an empty name)
    and for each service. A `Watch` reports that the server is stopping, and then ends. It also ends after an hour, and
    when 1,000 are open and another begins: then the oldest one of the address with the most.

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
        with board.watching(client_of_peer(calling_peer.get())) as watch:
            while True:
                watch.news.clear()  # first, so that no change during the reply is missed
                current = HealthCheckResponse.SERVICE_UNKNOWN if unknown else board.current()
                if current != reported:
                    reported = current
                    yield HealthCheckResponse(status=current)
                if services.draining or watch.is_over:
                    return
                await watch.news.wait()

    return (
        Rpc(Method(HEALTH, "Check", HealthCheckRequest, HealthCheckResponse), check),
        Rpc(Method(HEALTH, "Watch", HealthCheckRequest, HealthCheckResponse, False, True), watch),
    )


class _Watch:
    __slots__ = ("address", "is_over", "news", "until")

    def __init__(self, address: str, until: float) -> None:
        self.address = address
        self.until = until
        self.is_over = False
        self.news = asyncio.Event()


class _StatusBoard:
    # One timer looks at the state for all watches: 10,000 timers of their own took 0.4 of a core.

    def __init__(self, services: Services) -> None:
        self._services = services
        self._watches: dict[_Watch, None] = {}  # the oldest first
        self._of_address: Counter[str] = Counter()
        self._seen: tuple[object, bool] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def current(self) -> HealthCheckResponse.ServingStatus:
        return HealthCheckResponse.SERVING if self._services.ready else HealthCheckResponse.NOT_SERVING

    @contextmanager
    def watching(self, address: str) -> Iterator[_Watch]:
        if len(self._watches) >= _WATCHES:
            [(fullest, _)] = self._of_address.most_common(1)
            self._end(next(watch for watch in self._watches if watch.address == fullest))
        watch = _Watch(address, asyncio.get_running_loop().time() + _WATCH_S)
        self._watches[watch] = None
        self._of_address[address] += 1
        if self._timer is None:
            self._look()
        try:
            yield watch
        finally:
            self._forget(watch)
            if not self._watches and self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def _end(self, watch: _Watch) -> None:
        self._forget(watch)
        watch.is_over = True
        watch.news.set()

    def _forget(self, watch: _Watch) -> None:
        if watch in self._watches:
            del self._watches[watch]
            self._of_address[watch.address] -= 1
            if not self._of_address[watch.address]:
                del self._of_address[watch.address]

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        while self._watches and (oldest := next(iter(self._watches))).until <= loop.time():
            self._end(oldest)
        state = (self.current(), self._services.draining)
        if state != self._seen:
            self._seen = state
            for watch in self._watches:
                watch.news.set()
        self._timer = loop.call_later(_POLL_INTERVAL_S, self._look)
