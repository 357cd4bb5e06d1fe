"""How many calls may be at work at once: what is more waits a moment, in a bounded line, or is refused at once."""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType
from typing import Self

from super_advanced_agents.errors import OverloadedError
from super_advanced_agents.protocol.operations import PermitKind
from super_advanced_agents.tenancy.settings import Settings

WAIT_S = 0.025
"""How long a call may stand in line: half of the time in which a refusal must be there."""

RETRY_AFTER_S = 1.0
_PERMITS_FOR_ONE_WAITING = 32


class AdmissionQueue:
    """The places of one kind, and who waits for one: first come, first served.

    Args:
        kind: what for.
        places: how many calls may be at work.
        waiting: how many more may wait, each for `wait_s`.

    Attributes:
        kind: as given.
        crowd: holds `kind` while the next call would be refused at once; lines may share one.
        in_flight: calls at work now.
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
        """How many wait now."""
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether the next call would be refused at once."""
        return self.in_flight >= self.permits and len(self._waiting) >= self.max_waiting

    async def enter(self) -> bool:
        """Take a place, waiting a moment for one if need be; False when there is none. Cancelled, it takes none."""
        if self.in_flight < self.permits:
            self.in_flight += 1
            return True
        if len(self._waiting) >= self.max_waiting:
            self.saturated.add(self.kind)
            return False
        loop = asyncio.get_running_loop()
        called: asyncio.Future[bool] = loop.create_future()
        self._waiting.append(called)
        if self.full:
            self.saturated.add(self.kind)
        deadline = loop.call_later(self._wait_s, self._give_up, called)
        try:
            return await called
        except asyncio.CancelledError:
            if called.done() and not called.cancelled() and called.result():
                self.leave()
            elif called in self._waiting:
                self._forget(called)
            raise
        finally:
            deadline.cancel()

    def leave(self) -> None:
        """Give a place back, or on to whoever has waited for longest."""
        self.saturated.discard(self.kind)
        while self._waiting:
            called = self._waiting.popleft()
            if not called.done():
                called.set_result(True)
                return
        self.in_flight -= 1

    def _give_up(self, called: asyncio.Future[bool]) -> None:
        if not called.done():
            self._forget(called)
            called.set_result(False)

    def _forget(self, called: asyncio.Future[bool]) -> None:
        self._waiting.remove(called)
        self.saturated.discard(self.kind)


class Permit:
    """A place for as long as the block runs; what streams holds it until its end."""

    __slots__ = ("_queue",)

    def __init__(self, queue: AdmissionQueue | None) -> None:
        self._queue = queue

    async def __aenter__(self) -> Self:
        if self._queue is not None and not await self._queue.enter():
            raise overloaded(self._queue.kind)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._queue is not None:
            self._queue.leave()


class Admission:
    """Places for each kind of call, shared by REST and gRPC; belongs to one event loop.

    Deciding comes before a credential is looked at and before a body is read, so that a refusal costs next to nothing.

    Args:
        places: how many calls of each kind may be at work. One for every 32 may wait a moment: places come free
            in bursts, so more would wait in vain, and one that has waited is dearer to refuse than one that has not.
        wait_s: how long that moment is, in seconds.

    Attributes:
        crowd: the kinds of which the next call would be refused at once.
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
        """As settings say."""
        return cls(
            permits={
                PermitKind.SEARCH: settings.searches_in_flight,
                PermitKind.WRITE: settings.writes_in_flight,
                PermitKind.GENERATE: settings.generations_in_flight,
            }
        )

    def queue(self, kind: PermitKind) -> AdmissionQueue:
        """The places of one kind."""
        return self._queues[kind]

    def enter(self, kind: PermitKind | None) -> Permit:
        """A place for a call, as an asynchronous context; None needs none.

        Raises (when it is entered):
            OverloadedError: all places are taken, and so are those in the line, or the wait was in vain.
        """
        return Permit(None if kind is None else self._queues[kind])


def overloaded(kind: PermitKind) -> OverloadedError:
    """What a call is told that got no place."""
    return OverloadedError(
        f"too many calls of this kind ({kind.value}) are under way",
        retry_after_s=RETRY_AFTER_S,
        hint="try again later, or send fewer at once",
    )
