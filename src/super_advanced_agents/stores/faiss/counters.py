"""Named counters that many threads increment."""

from __future__ import annotations

import threading
from collections import Counter


class Counters:
    """Hold a counter per event name. Thread-safe."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()  # an increment is three steps, between which another thread may run

    def add(self, name: str) -> None:
        """Add one to the counter of the event `name`."""
        with self._lock:
            self._counts[name] += 1

    def counts(self) -> dict[str, int]:
        """Return a copy of all counters: event name -> count."""
        with self._lock:
            return dict(self._counts)
