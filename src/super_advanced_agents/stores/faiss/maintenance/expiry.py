"""Deleting for good what has expired, a few hundred rows at a time between the writes of callers.

An expired record is hidden at once by every read. It is deleted when two looks at the clock, at least `GRACE_S` apart,
both say that its time was up at the first: a clock that was wrong for less, ahead or behind, destroys nothing. The last
look is kept with the rows, so programs that open a store for a moment at a time sweep it too.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from pyroaring import BitMap

from super_advanced_agents._runtime.batcher import Workers
from super_advanced_agents._runtime.futures import Future
from super_advanced_agents.errors import OverloadedError, ResourceClosedError
from super_advanced_agents.stores.faiss.index import Index
from super_advanced_agents.stores.faiss.metadata.columns import array_of
from super_advanced_agents.stores.faiss.rows.batch import Change
from super_advanced_agents.stores.faiss.rows.table import RecordTable
from super_advanced_agents.stores.faiss.writing.requests import ExpirySweep
from super_advanced_agents.telemetry import get_logger

_log = get_logger("store")

GRACE_S = 60.0
INTERVAL_S = 30.0
STEP_ROWS = 500
"""Deleted in one transaction; about 10 ms, for which other writes wait."""
_LOOK = "clock_seen"


@dataclass(frozen=True, slots=True)
class SweepStep:
    """What one step of a sweep is to do.

    Attributes:
        rows: to delete.
        look: the time to note; None for none.
        more: whether further rows can be deleted at once.
        waiting: whether a row may be left that has expired or will.
    """

    rows: BitMap
    checked_at: float | None = None
    more: bool = False
    waiting: bool = True


class ExpiredRows:
    """What is due; used by the writer thread only."""

    def __init__(self, rows: RecordTable, index: Index) -> None:
        self._rows = rows
        self._index = index
        self._look: float | None = None
        self._look_here: float | None = None  # by the clock that never jumps; None when another process looked

    def next_step(self) -> SweepStep:
        """What to do now."""
        now, live = time.time(), self._index.view.live
        if not self._index.expired(now) & live:
            return SweepStep(BitMap(), waiting=bool(self._index.expired(np.inf) & live))
        if self._look is None:
            kept = self._rows.setting(_LOOK)
            self._look = None if kept is None else float(kept)
        if self._look is None or now < self._look:  # one of the two looks was wrong
            return SweepStep(BitMap(), checked_at=now)
        since_here = np.inf if self._look_here is None else time.monotonic() - self._look_here
        if min(now - self._look, since_here) < GRACE_S:
            return SweepStep(BitMap())
        due = self._index.expired(self._look) & live
        if len(due) > STEP_ROWS:
            return SweepStep(due[:STEP_ROWS], more=True)
        return SweepStep(due, checked_at=now)

    def delete(self, step: SweepStep, change: Change) -> None:
        """Do it, inside a transaction."""
        if step.rows:
            self._rows.remove(array_of(step.rows).tolist(), change)
        if step.checked_at is not None:
            self._rows.set_setting(_LOOK, repr(step.checked_at))

    def mark_committed(self, step: SweepStep) -> None:
        """It is committed."""
        if step.checked_at is not None:
            self._look, self._look_here = step.checked_at, time.monotonic()


class ExpirySweeper:
    """A thread that asks the writer for one step after another, while there is anything that expires."""

    def __init__(self, index: Index, submit: Callable[[ExpirySweep], Future[object]]) -> None:
        self._index = index
        self._submit = submit
        self._busy = False
        self._beginning = threading.Lock()
        self._stop = threading.Event()
        self._worker = Workers(name="store sweeper", threads=1, max_queue=1)

    def wake(self) -> None:
        """Begin if something will expire and nobody is at it; returns at once, and never fails."""
        if self._stop.is_set() or not self._index.expired(np.inf) & self._index.view.live:
            return
        with self._beginning:
            if self._busy:
                return
            self._busy = True
        try:
            self._worker.submit(self._run)
        except (OverloadedError, ResourceClosedError):  # no thread to be had, or closing; a later write tries again
            self._busy = False

    def close(self) -> None:
        """Stop after the step that is being taken."""
        self._stop.set()
        self._worker.close()

    def _run(self) -> None:
        try:
            while self._step() and not self._stop.is_set():
                pass
        finally:
            self._busy = False
        self.wake()  # for what a caller added in the moment in which this was about to end

    def _step(self) -> bool:
        """Whether there is more to do, later or at once."""
        try:
            step = self._submit(ExpirySweep()).wait()
        except ResourceClosedError:
            return False  # the store is being closed
        except Exception as exc:  # a full disk, a queue without room: the next interval is soon enough
            _log.warning("store.sweep_failed", extra={"reason": str(exc)[:200]})
            return not self._stop.wait(INTERVAL_S)
        assert isinstance(step, SweepStep)
        return step.waiting and (step.more or not self._stop.wait(INTERVAL_S))
