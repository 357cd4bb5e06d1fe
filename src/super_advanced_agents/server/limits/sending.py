"""A bound on the memory of long answers, and each tenant's share of it.

An answer of more than `SMALL_ANSWER_BYTES` takes the room of the largest one before it is read from its store, and
keeps what it needs of it until it is sent. Every answer is counted once more while it is being sent, by its bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from super_advanced_agents._runtime.memory import MemoryTrimmer
from super_advanced_agents.config import LIMITS
from super_advanced_agents.errors import OverloadedError
from super_advanced_agents.server.limits.fair_pool import FairPool

SMALL_ANSWER_BYTES = 1024 * 1024
"""The bytes up to which an answer takes no room while it is built."""

_CAPACITY_BYTES = 2 * LIMITS.answer_bytes
_COPIES = 3
"""An answer that is built is held as texts, as parts of a message, and as the message."""
_WAITING = 8
_WAIT_S = 1.0
"""The wait of a tenant that holds its share; building 32 MiB takes a fifth of it."""
_RETRY_AFTER_S = 1.0
_TRIMMED_BYTES = 1024 * 1024
"""After an answer of this size its memory is returned to the system."""


class SendingAnswers:
    """Bound the bytes of long answers that wait for their clients to read them.

    A tenant may hold half of the room, so that clients which read slowly leave room for other tenants. A single answer
    is always accepted while its tenant holds none.

    Args:
        capacity_bytes: the bytes of all answers together.
    """

    def __init__(self, capacity_bytes: int = _CAPACITY_BYTES) -> None:
        self._capacity_bytes = capacity_bytes
        self._held: Counter[str] = Counter()
        self._trimmer = MemoryTrimmer()
        self._largest_bytes = _COPIES * (capacity_bytes // 2)
        self._room = FairPool(
            places=2 * capacity_bytes,
            waiting=_WAITING,
            turn_waiting=_WAITING,
            wait_s=_WAIT_S,
        )

    def room(self, tenant: str) -> AnswerRoom:
        """Return the room for one call's answer; it is empty."""
        return AnswerRoom(self._room, tenant, self._largest_bytes)

    @property
    def held_bytes(self) -> int:
        """The bytes of the answers that are being sent now."""
        return self._held.total()

    @property
    def room_bytes(self) -> int:
        """The room that long answers have taken, from before they are built until they are sent."""
        return self._room.in_flight

    @contextmanager
    def hold(self, tenant: str, size_bytes: int) -> Iterator[None]:
        """Enter a context in which an answer of this size is being sent to a tenant's client.

        Raises:
            OverloadedError: the answers that are being sent leave no room.
        """
        self.enter(tenant, size_bytes)
        try:
            yield
        finally:
            self.leave(tenant, size_bytes)

    def enter(self, tenant: str, size_bytes: int) -> None:
        """Count an answer that is being sent to a tenant's client, until `leave`.

        Raises:
            OverloadedError: the answers that are being sent leave no room.
        """
        held = self._held.get(tenant, 0)
        if held and (
            held + size_bytes > self._capacity_bytes // 2 or self.held_bytes + size_bytes > self._capacity_bytes
        ):
            self._return_memory(size_bytes)
            raise _too_many_error()
        self._held[tenant] = held + size_bytes

    def leave(self, tenant: str, size_bytes: int) -> None:
        """Count an answer no longer: it is read, or its client has gone."""
        self._held[tenant] -= size_bytes
        if not self._held[tenant]:
            del self._held[tenant]
        self._return_memory(size_bytes)

    def _return_memory(self, size_bytes: int) -> None:
        if size_bytes >= _TRIMMED_BYTES:
            self._trimmer.request()


class AnswerRoom:
    """The room for one call's long answer, from before it is built until it is sent.

    Args:
        pool: the room of all answers.
        tenant: the tenant of the caller.
        largest_bytes: what an answer takes whose size is not known yet.
    """

    __slots__ = ("_held", "_largest_bytes", "_pool", "_tenant")

    def __init__(self, pool: FairPool, tenant: str, largest_bytes: int) -> None:
        self._pool = pool
        self._tenant = tenant
        self._largest_bytes = largest_bytes
        self._held = 0

    async def take(self) -> None:
        """Wait for room for the largest answer.

        Raises:
            OverloadedError: no room came free in time.
        """
        if not self._held:
            if not await self._pool.enter(self._tenant, self._largest_bytes):
                raise _too_many_error()
            self._held = self._largest_bytes

    def shrink(self, size_bytes: int) -> None:
        """Give back what an answer of this many bytes does not need."""
        if surplus := max(0, self._held - size_bytes):
            self._held -= surplus
            self._pool.leave(self._tenant, surplus)

    def leave(self) -> None:
        """Give back all of it."""
        self.shrink(0)

    def hand_over(self) -> AnswerRoom | None:
        """Return this room as another one, which its new owner has to leave; None when it is empty."""
        if not self._held:
            return None
        other = AnswerRoom(self._pool, self._tenant, self._largest_bytes)
        other._held, self._held = self._held, 0
        return other


def _too_many_error() -> OverloadedError:
    return OverloadedError(
        "too many long answers are being made for clients of this tenant, or sent to them",
        retry_after_s=_RETRY_AFTER_S,
        hint="read the answers that were asked for, or ask for less at once",
    )
