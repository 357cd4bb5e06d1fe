"""A deadline that limits the duration of one operation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from super_advanced_agents.errors import AgentTimeoutError


class Deadline:
    """Limit the duration of an operation, counted from the creation of this object.

    Args:
        seconds: the limit for the whole operation; None for no limit.
    """

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._ends_at = None if seconds is None else time.monotonic() + seconds

    def cap(self, timeout_s: float) -> float:
        """Return the smaller of `timeout_s` and the seconds left until the deadline."""
        return timeout_s if self._ends_at is None else max(0.0, min(timeout_s, self._ends_at - time.monotonic()))

    @asynccontextmanager
    async def limit(self, activity: str) -> AsyncIterator[None]:
        """Enter an async context whose body is cancelled when the deadline passes.

        Args:
            activity: what the block does, for the error's message.

        Raises:
            AgentTimeoutError: the deadline passed inside the block.
        """
        left_s = None if self._ends_at is None else self._ends_at - time.monotonic()
        try:
            async with asyncio.timeout(left_s):
                yield
        except TimeoutError as exc:
            raise AgentTimeoutError(f"{activity} did not end within the deadline of {self._seconds:g} s") from exc
