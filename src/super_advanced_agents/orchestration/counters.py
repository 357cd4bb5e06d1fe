"""Counts and latencies of one agent."""

from __future__ import annotations

import math
import threading
from collections import Counter, deque

from super_advanced_agents.orchestration.outcome import Step
from super_advanced_agents.types import JSONValue

_WINDOW = 512
"""Latencies kept for the percentiles, the latest ones."""

STATUSES = ("answered", "empty", "failed", "timed_out", "cancelled", "skipped")


class MemberCounters:
    """What became of an agent's calls. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._latencies_s: deque[float] = deque(maxlen=_WINDOW)
        self._in_flight = 0
        self._last_error: str | None = None

    def begin(self) -> None:
        """It is asked."""
        with self._lock:
            self._in_flight += 1

    def end(self, step: Step) -> None:
        """It answered, or did not; only answers have a latency worth keeping."""
        with self._lock:
            if step.status != "skipped":
                self._in_flight -= 1
            self._counts[step.status] += 1
            if step.status in ("answered", "empty"):
                self._latencies_s.append(step.latency_s)
            if step.error is not None and step.status in ("failed", "timed_out"):
                self._last_error = step.error

    def report(self) -> dict[str, JSONValue]:
        """Counts of all time; percentiles of the last 512 answers, None before the first."""
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


def _percentile(ordered: list[float], part: float) -> float | None:
    """The nearest rank: the least value that `part` of all do not exceed."""
    if not ordered:
        return None
    return round(ordered[math.ceil(part * len(ordered)) - 1], 6)
