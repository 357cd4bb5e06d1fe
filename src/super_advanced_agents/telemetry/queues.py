"""Measurements of the queues of this process, by the name of the queue."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from typing import Protocol

from super_advanced_agents.telemetry.instruments import COUNTS, Histogram


class HasQueue(Protocol):
    """Interface of an object with a queue, such as a micro-batcher."""

    @property
    def queued(self) -> int:
        """The number of items that wait in the queue."""


class QueueMetrics:
    """Measure all queues of one name: how long items wait, and how many run together.

    Attributes:
        waits: the seconds from the arrival of an item until its batch began.
        runs: the seconds that a batch took.
        sizes: the number of items in a batch.
        refused: the number of items that a full queue did not take.
    """

    __slots__ = ("_lock", "_queues", "refused", "runs", "sizes", "waits")

    def __init__(self) -> None:
        self.waits = Histogram()
        self.runs = Histogram()
        self.sizes = Histogram(COUNTS)
        self.refused = 0
        self._queues: weakref.WeakSet[HasQueue] = weakref.WeakSet()
        self._lock = threading.Lock()

    @property
    def depth(self) -> int:
        """The number of items that wait now, in all queues of this name."""
        with self._lock:
            alive = list(self._queues)
        return sum(queue.queued for queue in alive)

    def add_queue(self, queue: HasQueue) -> None:
        """Count a queue's items in `depth` for as long as it exists."""
        with self._lock:
            self._queues.add(queue)

    def note_batch(self, waited_s: Sequence[float], ran_s: float) -> None:
        """Count a batch: how long each of its items had waited, and how long it ran, in seconds."""
        self.waits.observe_all(waited_s)
        self.sizes.observe(len(waited_s))
        self.runs.observe(ran_s)

    def note_refused(self, count: int) -> None:
        """Count items that a full queue did not take."""
        with self._lock:
            self.refused += count


_queues: dict[str, QueueMetrics] = {}
_lock = threading.Lock()


def queue_metrics(name: str) -> QueueMetrics:
    """Return the measurements of the queues of a name, made at the first call."""
    with _lock:
        return _queues.setdefault(name, QueueMetrics())


def queues() -> dict[str, QueueMetrics]:
    """Return the measurements of all queues of this process by their names."""
    with _lock:
        return dict(_queues)
