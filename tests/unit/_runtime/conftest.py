"""Fixtures that make batchers, close them after the test, and keep one busy."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

import pytest

from super_advanced_agents._runtime.queues.batcher import MicroBatcher, Workers

MakeBatcher = Callable[..., MicroBatcher[object, object]]


class BlockedRun:
    """Record the batches of a batcher, and block each until the test calls `unblock`."""

    def __init__(self) -> None:
        self.batches: list[list[object]] = []
        self.entered = threading.Semaphore(0)
        self._unblocked = threading.Event()

    def run(self, items: list[object]) -> Sequence[object]:
        """Return the items unchanged once unblocked."""
        self.batches.append(list(items))
        self.entered.release()
        self._unblocked.wait()
        return items

    def unblock(self) -> None:
        """Let the waiting batch and all later ones finish."""
        self._unblocked.set()


@pytest.fixture
def blocked_run() -> Iterator[BlockedRun]:
    """Make a blocked run, and unblock it after the test so that no worker waits for ever."""
    run = BlockedRun()
    yield run
    run.unblock()


@pytest.fixture
def make_batcher(blocked_run: BlockedRun) -> Iterator[MakeBatcher]:
    """Make batchers with small defaults, and close them after the test."""
    batchers: list[MicroBatcher[object, object]] = []

    def make(
        run: Callable[[list[object]], Sequence[object]] = blocked_run.run, **options: object
    ) -> MicroBatcher[object, object]:
        settings = {"name": "test batcher", "max_batch_cost": 8, "max_queue_cost": 1_000, **options}
        batchers.append(MicroBatcher(run, **settings))  # type: ignore[arg-type]
        return batchers[-1]

    yield make
    blocked_run.unblock()
    for batcher in batchers:
        batcher.close()


@pytest.fixture
def workers() -> Iterator[Workers]:
    """Make a pool of four threads for blocking calls."""
    pool = Workers(name="test workers", threads=4, max_queue=10_000)
    yield pool
    pool.close()
