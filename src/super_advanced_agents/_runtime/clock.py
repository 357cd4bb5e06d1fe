"""A wall clock that never goes back, so that what has expired stays expired."""

from __future__ import annotations

import threading
import time


class ForwardClock:
    """Tell the time, but never an earlier one than before.

    When the machine's clock is set back, this one goes on from the highest time that it has seen, second by second. A
    clock that was ahead by mistake cannot be told from a right one: what expired meanwhile stays expired, and lifetimes
    that begin later have their full length, until the machine's clock has caught up.

    Args:
        seen: the highest time that was seen before, in seconds since the epoch.
    """

    def __init__(self, seen: float = 0.0) -> None:
        self._lock = threading.Lock()
        self._offset = seen - time.monotonic()

    def now(self) -> float:
        """Return the time in seconds since the epoch."""
        wall = time.time()  # first: a thread that is held up between the two readings must not run ahead
        passed = time.monotonic()
        if wall - passed > self._offset:
            self.advance_to(wall, passed=passed)
        return max(wall, passed + self._offset)

    def advance_to(self, seen: float, *, passed: float | None = None) -> None:
        """Make `now` return at least a time that was seen elsewhere.

        Args:
            seen: the time in seconds since the epoch.
            passed: the reading of the monotonic clock at that time; now when None.
        """
        with self._lock:
            self._offset = max(self._offset, seen - (time.monotonic() if passed is None else passed))
