"""Histograms of this process, which a server shows as metrics.

They count what happens and know nothing of Prometheus, so that a library that nobody scrapes imports none of it.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import NamedTuple

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)
"""The upper bounds of the buckets of a duration."""
COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
"""The upper bounds of the buckets of a number of items."""


class Counted(NamedTuple):
    """The content of a histogram at one moment.

    Attributes:
        buckets: the number of values up to each bound, and then that of all values.
        total: the sum of all values.
    """

    buckets: tuple[int, ...]
    total: float


class Histogram:
    """Count values by their size. Thread-safe.

    Args:
        bounds: the upper bounds of the buckets, ascending; larger values have a bucket of their own.

    Attributes:
        bounds: the upper bounds.
    """

    __slots__ = ("_counts", "_lock", "_total", "bounds")

    def __init__(self, bounds: tuple[float, ...] = SECONDS) -> None:
        self.bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0
        self._lock = threading.Lock()

    def observe(self, value: float) -> None:
        """Count one value."""
        bucket = bisect_left(self.bounds, value)
        with self._lock:
            self._counts[bucket] += 1
            self._total += value

    def observe_all(self, values: Iterable[float]) -> None:
        """Count several values."""
        with self._lock:
            for value in values:
                self._counts[bisect_left(self.bounds, value)] += 1
                self._total += value

    @contextmanager
    def time(self) -> Iterator[None]:
        """Enter a context whose seconds are counted at its end, also when it fails."""
        began = perf_counter()
        try:
            yield
        finally:
            self.observe(perf_counter() - began)

    def counted(self) -> Counted:
        """Return the numbers of values, cumulated over the buckets, and their sum."""
        with self._lock:
            counts, total = tuple(self._counts), self._total
        cumulated, below = [], 0
        for count in counts:
            below += count
            cumulated.append(below)
        return Counted(tuple(cumulated), total)


class Counter:
    """Count events. Thread-safe.

    Attributes:
        value: the number of events so far.
    """

    __slots__ = ("_lock", "value")

    def __init__(self) -> None:
        self.value = 0
        self._lock = threading.Lock()

    def add(self, count: int = 1) -> None:
        """Count one event, or several."""
        with self._lock:
            self.value += count


Labels = tuple[tuple[str, str], ...]

_histograms: dict[tuple[str, Labels], Histogram] = {}
_counters: dict[tuple[str, Labels], Counter] = {}
_lock = threading.Lock()


def histogram(name: str, bounds: tuple[float, ...] = SECONDS, **labels: str) -> Histogram:
    """Return the histogram of this process with a name and labels, made at the first call.

    Args:
        name: the name in the style of Prometheus, without the package's prefix; `docs/observability.md` lists it.
        bounds: the upper bounds of its buckets.
        labels: its labels. Their values come from the code or a bounded set, never from a request.
    """
    key = (name, tuple(sorted(labels.items())))
    found = _histograms.get(key)
    if found is None:
        with _lock:
            found = _histograms.setdefault(key, Histogram(bounds))
    return found


def histograms() -> list[tuple[str, Labels, Histogram]]:
    """Return all histograms of this process with their names and labels."""
    with _lock:
        return [(name, labels, each) for (name, labels), each in _histograms.items()]


def counter(name: str, **labels: str) -> Counter:
    """Return the counter of this process with a name and labels, made at the first call.

    Args:
        name: the name in the style of Prometheus, without the package's prefix and without `_total`.
        labels: its labels. Their values come from the code or a bounded set, never from a request.
    """
    key = (name, tuple(sorted(labels.items())))
    found = _counters.get(key)
    if found is None:
        with _lock:
            found = _counters.setdefault(key, Counter())
    return found


def counters() -> list[tuple[str, Labels, Counter]]:
    """Return all counters of this process with their names and labels."""
    with _lock:
        return [(name, labels, each) for (name, labels), each in _counters.items()]
