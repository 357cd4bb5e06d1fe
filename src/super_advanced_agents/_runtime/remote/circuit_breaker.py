"""A circuit breaker, which stops calls to an agent or an engine that keeps failing.

The pattern is described in M. Nygard's "Release It!".
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Literal, TypeAlias

CircuitState: TypeAlias = Literal["closed", "open", "half-open"]


class CircuitBreaker:
    """Refuse calls for a while after several have failed in a row.

    A closed circuit admits every call. After `failures` failures in a row it is open and admits none for `cool_down_s`.
    Then it is half-open and admits one trial call at a time: a success closes the circuit, a failure opens it again.
    Thread-safe.

    Args:
        failures: the number of failures in a row that opens the circuit.
        cool_down_s: seconds for which it stays open.
        clock: returns the time in seconds, and never goes back.
    """

    def __init__(self, *, failures: int, cool_down_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._failure_threshold = failures
        self._cool_down_s = cool_down_s
        self._clock = clock
        self._lock = threading.Lock()
        self._consecutive_failures = 0
        self._opened_at: float | None = None
        self._trial: BreakerPermit | None = None

    @property
    def state(self) -> CircuitState:
        """The current state of the circuit breaker: closed, open or half-open."""
        with self._lock:
            return self._state()

    @property
    def consecutive_failures(self) -> int:
        """The number of failed calls since the last successful one."""
        return self._consecutive_failures

    @property
    def ready(self) -> bool:
        """True if the circuit breaker would admit a call now."""
        with self._lock:
            return self._can_admit()

    @property
    def retry_after_s(self) -> float:
        """Seconds until the circuit breaker may admit a call again; 0 if it may do so now."""
        with self._lock:
            if self._opened_at is None:
                return 0.0
            return max(0.0, self._opened_at + self._cool_down_s - self._clock())

    def admit(self) -> BreakerPermit | None:
        """Return a permit for one call, or None if the circuit breaker refuses calls now.

        The caller must report the call's result with `BreakerPermit.end`: until then a trial call blocks all others.
        """
        with self._lock:
            if not self._can_admit():
                return None
            permit = BreakerPermit(self)
            if self._opened_at is not None:
                self._trial = permit
            return permit

    def _state(self) -> CircuitState:
        if self._opened_at is None:
            return "closed"
        return "open" if self._clock() < self._opened_at + self._cool_down_s else "half-open"

    def _can_admit(self) -> bool:
        state = self._state()
        return state == "closed" or (state == "half-open" and self._trial is None)

    def _record(self, permit: BreakerPermit, success: bool | None) -> bool:
        with self._lock:
            is_trial = self._trial is permit
            if is_trial:
                self._trial = None
            # A call that began before the circuit opened neither closes it nor keeps it open for longer.
            if success is None or (self._opened_at is not None and not is_trial):
                return False
            if success:
                self._consecutive_failures, self._opened_at = 0, None
                return False
            self._consecutive_failures += 1
            if is_trial or self._consecutive_failures >= self._failure_threshold:
                self._opened_at = self._clock()
                return True
            return False


class BreakerPermit:
    """Represent a circuit breaker's permit for one call, whose result is reported back to it."""

    __slots__ = ("_breaker",)

    def __init__(self, breaker: CircuitBreaker) -> None:
        self._breaker: CircuitBreaker | None = breaker

    def end(self, success: bool | None) -> bool:
        """Report to the circuit breaker whether the call succeeded; repeated reports are ignored.

        Args:
            success: None if the result says nothing about the health of what was called.

        Returns:
            True if this report opened the circuit.
        """
        breaker, self._breaker = self._breaker, None
        return breaker is not None and breaker._record(self, success)
