"""Counts that many threads add to."""

from __future__ import annotations

import threading
from collections import Counter


class Counters:
    """How often what was done, by name."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()  # adding to a number is three steps, between which another thread may run

    def add(self, name: str) -> None:
        """Count one more."""
        with self._lock:
            self._counts[name] += 1

    def counts(self) -> dict[str, int]:
        """How often each was done."""
        with self._lock:
            return dict(self._counts)
