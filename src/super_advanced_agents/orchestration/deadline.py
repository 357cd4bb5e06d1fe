"""How long an operation may still take."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from super_advanced_agents.errors import AgentTimeoutError


class Deadline:
    """Begins to count when it is made.

    Args:
        seconds: for the whole operation; None for no end.
    """

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._at = None if seconds is None else time.monotonic() + seconds

    def at_most(self, seconds: float) -> float:
        """What one call may take that would get `seconds`: that, or what is left of all."""
        return seconds if self._at is None else max(0.0, min(seconds, self._at - time.monotonic()))

    @asynccontextmanager
    async def over(self, doing: str) -> AsyncIterator[None]:
        """What is done inside ends at the deadline.

        Raises:
            AgentTimeoutError: it did not end by itself.
        """
        left_s = None if self._at is None else self._at - time.monotonic()
        try:
            async with asyncio.timeout(left_s):
                yield
        except TimeoutError as exc:
            raise AgentTimeoutError(f"{doing} took longer than the {self._seconds:g} s it was given") from exc
