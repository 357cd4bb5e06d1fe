"""`Progress`: the finished share of a job's work, its rate and the time left."""

from __future__ import annotations

import time


class Progress:
    """Measure the progress of one attempt: units of work done, altogether, and per second."""

    __slots__ = ("_began", "_first", "done", "note", "total")

    def __init__(self) -> None:
        self.done: float | None = None
        self.total: float | None = None
        self.note = ""
        self._first = 0.0
        self._began = 0.0

    def report(self, done: float, total: float | None, note: str) -> None:
        """Set the units done; the first report of an attempt begins the measurement of its rate."""
        if self.done is None:
            self._first, self._began = done, time.monotonic()
        self.done, self.total, self.note = done, total, note

    @property
    def per_s(self) -> float | None:
        """The units done per second since the first report; None before there are any."""
        passed = time.monotonic() - self._began
        if self.done is None or self.done <= self._first or passed <= 0:
            return None
        return (self.done - self._first) / passed

    @property
    def left_s(self) -> float | None:
        """The estimated seconds until all is done; None where they cannot be estimated."""
        rate = self.per_s
        return (
            None if rate is None or self.total is None or self.done is None else max(0, self.total - self.done) / rate
        )
