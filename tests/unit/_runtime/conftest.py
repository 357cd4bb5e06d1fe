"""Batchers that are closed after the test, and a blocked_run to hold one busy."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

import pytest

from super_advanced_agents._runtime.batcher import MicroBatcher, Workers

MakeBatcher = Callable[..., MicroBatcher[object, object]]


class BlockedRun:
    """A batch function that records its batches, and holds each until it is opened."""

    def __init__(self) -> None:
        self.batches: list[list[object]] = []
        self.entered = threading.Semaphore(0)
        self._open = threading.Event()

    def run(self, items: list[object]) -> Sequence[object]:
        """Echo the items, once the blocked_run is open."""
        self.batches.append(list(items))
        self.entered.release()
        self._open.wait()
        return items

    def open(self) -> None:
        """Let what waits through, and all that follows."""
        self._open.set()


@pytest.fixture
def blocked_run() -> Iterator[BlockedRun]:
    """A blocked_run, opened after the test so that no worker waits for it for ever."""
    made = BlockedRun()
    yield made
    made.open()


@pytest.fixture
def make_batcher(blocked_run: BlockedRun) -> Iterator[MakeBatcher]:
    """Make batchers with small defaults; each is closed after the test."""
    made: list[MicroBatcher[object, object]] = []

    def make(
        run: Callable[[list[object]], Sequence[object]] = blocked_run.run, **options: object
    ) -> MicroBatcher[object, object]:
        settings = {"name": "test batcher", "max_batch_cost": 8, "max_queue_cost": 1_000, **options}
        made.append(MicroBatcher(run, **settings))  # type: ignore[arg-type]
        return made[-1]

    yield make
    blocked_run.open()
    for batcher in made:
        batcher.close()


@pytest.fixture
def workers() -> Iterator[Workers]:
    """Four threads for blocking work."""
    pool = Workers(name="test workers", threads=4, max_queue=10_000)
    yield pool
    pool.close()
