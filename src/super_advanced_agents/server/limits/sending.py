"""A bound on the memory of long answers, and each tenant's share of it.

An answer of more than `SMALL_ANSWER_BYTES` reserves as many bytes as the largest answer takes, before it is read from
its store; once it is built, it keeps the bytes that it needs until it is sent. Every answer is counted once more while
it is being sent, by its own bytes.
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
"""The bytes up to which an answer is built without a reservation."""

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

    A tenant may hold half of these bytes, so that its slow clients leave the other half to other tenants. An answer of
    any size is accepted while its tenant holds none.

    Args:
        capacity_bytes: the bytes of all answers together.
    """

    def __init__(self, capacity_bytes: int = _CAPACITY_BYTES) -> None:
        self._capacity_bytes = capacity_bytes
        self._held: Counter[str] = Counter()
        self._trimmer = MemoryTrimmer()
        self._largest_bytes = _COPIES * (capacity_bytes // 2)
        self._pool = FairPool(
            capacity=2 * capacity_bytes,
            waiting=_WAITING,
            entitled_waiting=_WAITING,
            wait_s=_WAIT_S,
        )

    def reservation(self, tenant: str) -> AnswerReservation:
        """Return a reservation for one call's answer, which holds no bytes yet."""
        return AnswerReservation(self._pool, tenant, self._largest_bytes)

    @property
    def held_bytes(self) -> int:
        """The bytes of the answers that are being sent now."""
        return self._held.total()

    @property
    def reserved_bytes(self) -> int:
        """The bytes reserved for long answers, from before they are built until they are sent."""
        return self._pool.in_flight

    @contextmanager
    def hold(self, tenant: str, size_bytes: int) -> Iterator[None]:
        """Enter a context in which an answer of this size is being sent to a tenant's client.

        Raises:
            OverloadedError: too many bytes are being sent already.
        """
        self.enter(tenant, size_bytes)
        try:
            yield
        finally:
            self.leave(tenant, size_bytes)

    def enter(self, tenant: str, size_bytes: int) -> None:
        """Count an answer that is being sent to a tenant's client, until `leave`.

        Raises:
            OverloadedError: too many bytes are being sent already.
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


class AnswerReservation:
    """Hold the bytes reserved for one call's long answer, until the answer is sent.

    Args:
        pool: the bytes of all answers, which tenants share.
        tenant: the tenant of the caller.
        largest_bytes: the bytes to reserve for an answer whose size is not known yet.
    """

    __slots__ = ("_held", "_largest_bytes", "_pool", "_tenant")

    def __init__(self, pool: FairPool, tenant: str, largest_bytes: int) -> None:
        self._pool = pool
        self._tenant = tenant
        self._largest_bytes = largest_bytes
        self._held = 0

    async def acquire(self) -> None:
        """Reserve the bytes of the largest answer, waiting until they are free.

        Raises:
            OverloadedError: they did not come free in time.
        """
        if not self._held:
            if not await self._pool.enter(self._tenant, self._largest_bytes):
                raise _too_many_error()
            self._held = self._largest_bytes

    def shrink(self, size_bytes: int) -> None:
        """Release all but this many of the reserved bytes."""
        if surplus := max(0, self._held - size_bytes):
            self._held -= surplus
            self._pool.leave(self._tenant, surplus)

    def release(self) -> None:
        """Release all of the reserved bytes."""
        self.shrink(0)

    def transfer(self) -> AnswerReservation | None:
        """Move the bytes to a new reservation, which the caller has to release; None without bytes."""
        if not self._held:
            return None
        other = AnswerReservation(self._pool, self._tenant, self._largest_bytes)
        other._held, self._held = self._held, 0
        return other


def _too_many_error() -> OverloadedError:
    return OverloadedError(
        "too many long answers are being made for clients of this tenant, or sent to them",
        retry_after_s=_RETRY_AFTER_S,
        hint="read the answers that were asked for, or ask for less at once",
    )
