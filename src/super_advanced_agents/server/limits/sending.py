"""A bound on the memory of long answers that are being sent, and each tenant's share of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from super_advanced_agents._runtime.memory import MemoryTrimmer
from super_advanced_agents.config import LIMITS
from super_advanced_agents.errors import OverloadedError

_CAPACITY_BYTES = 2 * LIMITS.answer_bytes
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

    @property
    def held_bytes(self) -> int:
        """The bytes of the answers that are being sent now."""
        return self._held.total()

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
            raise OverloadedError(
                "too many long answers are being sent to clients of this tenant",
                retry_after_s=_RETRY_AFTER_S,
                hint="read the answers that were asked for, or ask for less at once",
            )
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
