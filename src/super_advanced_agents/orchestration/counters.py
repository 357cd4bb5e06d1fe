"""Counts and latencies of the calls to one agent."""

from __future__ import annotations

import math
import threading
from collections import Counter, deque

from super_advanced_agents.orchestration.outcome import Step
from super_advanced_agents.types import JSONValue

_WINDOW = 512
"""The number of latest latencies from which percentiles are computed."""

STATUSES = ("answered", "empty", "failed", "timed_out", "cancelled", "skipped")


class MemberCounters:
    """Count the calls to one agent by their status, and keep its latest latencies. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._latencies_s: deque[float] = deque(maxlen=_WINDOW)
        self._in_flight = 0
        self._last_error: str | None = None

    def begin(self) -> None:
        """Increment the number of calls in progress when a call begins."""
        with self._lock:
            self._in_flight += 1

    def end(self, step: Step) -> None:
        """Count a finished call by its status, and keep its latency if the agent replied."""
        with self._lock:
            if step.status != "skipped":
                self._in_flight -= 1
            self._counts[step.status] += 1
            if step.status in ("answered", "empty"):
                self._latencies_s.append(step.latency_s)
            if step.error is not None and step.status in ("failed", "timed_out"):
                self._last_error = step.error

    def report(self) -> dict[str, JSONValue]:
        """Return the call counts, and the median and 95th percentile of the last 512 latencies.

        The percentiles are None before the first latency.
        """
        with self._lock:
            counts, latencies_s = dict(self._counts), sorted(self._latencies_s)
            in_flight, last_error = self._in_flight, self._last_error
        return {
            "calls": sum(counts.values()) - counts.get("skipped", 0),
            **{status: counts.get(status, 0) for status in STATUSES},
            "in_flight": in_flight,
            "latency_p50_s": _percentile(latencies_s, 0.50),
            "latency_p95_s": _percentile(latencies_s, 0.95),
            "last_error": last_error,
        }


def _percentile(ordered: list[float], fraction: float) -> float | None:
    # By the nearest-rank method.
    if not ordered:
        return None
    return round(ordered[math.ceil(fraction * len(ordered)) - 1], 6)
