"""A circuit breaker (M. Nygard, Release It!): who failed too often in a row is left alone for a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Literal, TypeAlias

CircuitState: TypeAlias = Literal["closed", "open", "half-open"]


class CircuitBreaker:
    """Closed, everybody passes; after so many failures in a row it is open, and nobody does for `cool_down_s`.

    Then it is half-open: one call at a time passes; its success closes the circuit, its failure opens it again.
    Thread-safe.

    Args:
        failures: how many in a row open it.
        cool_down_s: for how long.
        clock: seconds that only grow.
    """

    def __init__(self, *, failures: int, cool_down_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most_failures = failures
        self._cool_down_s = cool_down_s
        self._clock = clock
        self._lock = threading.Lock()
        self._in_a_row = 0
        self._opened_at: float | None = None
        self._trial: BreakerPermit | None = None

    @property
    def state(self) -> CircuitState:
        """What a call would find now."""
        with self._lock:
            return self._state()

    @property
    def in_a_row(self) -> int:
        """Failures since the last success."""
        return self._in_a_row

    @property
    def ready(self) -> bool:
        """Whether a call would pass now."""
        with self._lock:
            return self._would_pass()

    @property
    def retry_after_s(self) -> float:
        """Seconds until the next call may pass; 0 when it may now."""
        with self._lock:
            if self._opened_at is None:
                return 0.0
            return max(0.0, self._opened_at + self._cool_down_s - self._clock())

    def admit(self) -> BreakerPermit | None:
        """A pass for one call, whose end must be told; None when none may pass."""
        with self._lock:
            if not self._would_pass():
                return None
            admitted = BreakerPermit(self)
            if self._opened_at is not None:
                self._trial = admitted
            return admitted

    def _state(self) -> CircuitState:
        if self._opened_at is None:
            return "closed"
        return "open" if self._clock() < self._opened_at + self._cool_down_s else "half-open"

    def _would_pass(self) -> bool:
        state = self._state()
        return state == "closed" or (state == "half-open" and self._trial is None)

    def _end(self, admitted: BreakerPermit, success: bool | None) -> bool:
        """Returns whether this opened the circuit. What began before the circuit opened decides nothing any more."""
        with self._lock:
            trial = self._trial is admitted
            if trial:
                self._trial = None
            if success is None or (self._opened_at is not None and not trial):
                return False
            if success:
                self._in_a_row, self._opened_at = 0, None
                return False
            self._in_a_row += 1
            if trial or self._in_a_row >= self._most_failures:
                self._opened_at = self._clock()
                return True
            return False


class BreakerPermit:
    """One call that was let through; the first end that is told counts."""

    __slots__ = ("_breaker",)

    def __init__(self, breaker: CircuitBreaker) -> None:
        self._breaker: CircuitBreaker | None = breaker

    def end(self, success: bool | None) -> bool:
        """Tell how it ended, None when that says nothing of the other side; returns whether it opened the circuit."""
        breaker, self._breaker = self._breaker, None
        return breaker is not None and breaker._end(self, success)
