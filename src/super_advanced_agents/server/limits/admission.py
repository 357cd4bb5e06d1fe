"""Admission control: permits for concurrent requests, with short bounded queues."""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType
from typing import Self

from super_advanced_agents.errors import OverloadedError
from super_advanced_agents.protocol.operations import PermitKind
from super_advanced_agents.tenancy.settings import Settings

WAIT_S = 0.025
"""The longest wait for a permit in seconds, half of the time limit of a refusal."""

RETRY_AFTER_S = 1.0
_PERMITS_FOR_ONE_WAITING = 32


class AdmissionQueue:
    """Limit how many requests of one kind run at once; grant permits first come, first served.

    Args:
        kind: the kind of its permits.
        permits: how many requests may run concurrently.
        waiting: how many more requests may wait for a permit.
        wait_s: the longest wait for a permit, in seconds.

    Attributes:
        kind: the kind of its permits.
        permits: how many requests may run concurrently.
        max_waiting: how many more requests may wait for a permit.
        saturated: contains `kind` while the next request would be refused at once; several queues may share the set.
        in_flight: the number of requests that hold a permit now.
    """

    def __init__(self, kind: PermitKind, *, permits: int, waiting: int, wait_s: float = WAIT_S) -> None:
        self.kind = kind
        self.saturated: set[PermitKind] = set()
        self.permits = permits
        self.max_waiting = waiting
        self.in_flight = 0
        self._wait_s = wait_s
        self._waiting: deque[asyncio.Future[bool]] = deque()

    @property
    def waiting(self) -> int:
        """The number of requests that wait for a permit now."""
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """True if no permit is free and the queue is full, so the next request would be refused."""
        return self.in_flight >= self.permits and len(self._waiting) >= self.max_waiting

    async def enter(self) -> bool:
        """Wait at most `wait_s` seconds for a permit, and return whether it was granted.

        A cancelled wait takes no permit.

        Returns:
            True with a permit, which `leave` returns; False without one: the queue is full, or the wait was in vain.
        """
        if self.in_flight < self.permits:
            self.in_flight += 1
            return True
        if len(self._waiting) >= self.max_waiting:
            self.saturated.add(self.kind)
            return False
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        self._waiting.append(waiter)
        if self.full:
            self.saturated.add(self.kind)
        deadline = loop.call_later(self._wait_s, self._give_up, waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.result():
                self.leave()  # the permit was granted before the cancellation arrived
            elif waiter in self._waiting:
                self._remove(waiter)
            raise
        finally:
            deadline.cancel()

    def leave(self) -> None:
        """Give a permit back; the request that has waited longest gets it."""
        self.saturated.discard(self.kind)
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(True)
                return
        self.in_flight -= 1

    def _give_up(self, waiter: asyncio.Future[bool]) -> None:
        if not waiter.done():
            self._remove(waiter)
            waiter.set_result(False)

    def _remove(self, waiter: asyncio.Future[bool]) -> None:
        self._waiting.remove(waiter)
        self.saturated.discard(self.kind)


class Permit:
    """An async context manager that holds a concurrency permit while its block runs.

    Args:
        queue: grants the permit; None for requests that need none.
    """

    __slots__ = ("_queue",)

    def __init__(self, queue: AdmissionQueue | None) -> None:
        self._queue = queue

    async def __aenter__(self) -> Self:
        if self._queue is not None and not await self._queue.enter():
            raise overloaded_error(self._queue.kind)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._queue is not None:
            self._queue.leave()


class Admission:
    """Limit the concurrent searches, writes and text generations, for REST and gRPC together.

    It belongs to one event loop. A permit is taken before the credential is checked and before the body is read, so
    that a refusal costs little.

    Args:
        permits: how many requests of each kind may run concurrently. One more for every 32 may wait for a permit:
            permits come free in bursts, so more would wait in vain, and refusing a request that has waited costs more.
        wait_s: the longest wait for a permit, in seconds.

    Attributes:
        saturated: the kinds of which the next request would be refused at once.
    """

    def __init__(self, *, permits: dict[PermitKind, int], wait_s: float = WAIT_S) -> None:
        self._queues = {
            kind: AdmissionQueue(kind, permits=count, waiting=max(1, count // _PERMITS_FOR_ONE_WAITING), wait_s=wait_s)
            for kind, count in permits.items()
        }
        self.saturated: set[PermitKind] = set()
        for queue in self._queues.values():
            queue.saturated = self.saturated

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Create an `Admission` with the numbers of permits in the settings."""
        return cls(
            permits={
                PermitKind.SEARCH: settings.searches_in_flight,
                PermitKind.WRITE: settings.writes_in_flight,
                PermitKind.GENERATE: settings.generations_in_flight,
            }
        )

    def queue(self, kind: PermitKind) -> AdmissionQueue:
        """Return the queue that grants permits for one kind of request."""
        return self._queues[kind]

    def enter(self, kind: PermitKind | None) -> Permit:
        """Return an async context manager that holds a permit for one kind of request.

        Args:
            kind: the kind of the permit; None for requests that need none.

        Raises (when the permit is entered):
            OverloadedError: the queue is full, or no permit came free within `wait_s` seconds.
        """
        return Permit(None if kind is None else self._queues[kind])


def overloaded_error(kind: PermitKind) -> OverloadedError:
    """Return the error for a request that is refused because too many of its kind are running.

    Args:
        kind: the kind of the permit.
    """
    return OverloadedError(
        f"too many calls of this kind ({kind.value}) are under way",
        retry_after_s=RETRY_AFTER_S,
        hint="try again later, or send fewer at once",
    )
