"""Call counts and latencies of one agent."""

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
    """Count the calls of one agent by their status, and keep its latest latencies. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._latencies_s: deque[float] = deque(maxlen=_WINDOW)
        self._in_flight = 0
        self._last_error: str | None = None

    def begin(self) -> None:
        """Count a call that begins as in flight."""
        with self._lock:
            self._in_flight += 1

    def end(self, step: Step) -> None:
        """Count a finished call, and keep its latency if the agent returned an answer."""
        with self._lock:
            if step.status != "skipped":
                self._in_flight -= 1
            self._counts[step.status] += 1
            if step.status in ("answered", "empty"):
                self._latencies_s.append(step.latency_s)
            if step.error is not None and step.status in ("failed", "timed_out"):
                self._last_error = step.error

    def report(self) -> dict[str, JSONValue]:
        """Return all counts, and percentiles of the last 512 latencies (None before the first)."""
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
    """Return the nearest-rank percentile of ascending values, or None for an empty list."""
    if not ordered:
        return None
    return round(ordered[math.ceil(fraction * len(ordered)) - 1], 6)
