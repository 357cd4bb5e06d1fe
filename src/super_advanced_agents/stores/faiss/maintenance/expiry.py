"""Deletion of expired rows, a few hundred at a time between the writes of callers.

Every read hides an expired record at once. It is deleted when two readings of the clock, at least `GRACE_S` apart, both
say that it had expired at the first: a clock that was wrong for less, ahead or behind, deletes nothing. The last
reading is stored with the rows, so programs that open a store for short times only also delete expired rows.

Reads go by a clock that never goes back (`ForwardClock`), so that an expired record does not come back when the clock
is set back. Its time is stored when a record has expired by it, for the next opening.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
from pyroaring import BitMap

from super_advanced_agents._runtime.concurrency.futures import Future
from super_advanced_agents._runtime.queues.batcher import Workers
from super_advanced_agents.errors import OverloadedError, ResourceClosedError, SuperAdvancedAgentsError
from super_advanced_agents.stores.faiss.index import Index
from super_advanced_agents.stores.faiss.metadata.columns import array_of
from super_advanced_agents.stores.faiss.rows.batch import Change
from super_advanced_agents.stores.faiss.rows.schema import ERASED_SETTING
from super_advanced_agents.stores.faiss.rows.table import RecordTable
from super_advanced_agents.stores.faiss.writing.requests import ExpirySweep
from super_advanced_agents.telemetry import get_logger

_log = get_logger("store")

GRACE_S = 60.0
INTERVAL_S = 30.0
STEP_ROWS = 500
"""Rows deleted in one transaction, which takes about 10 ms; other writes wait for it."""
CHECK_SETTING = "clock_seen"
"""The setting with the last reading of the clock, in seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class SweepStep:
    """Hold the plan of one transaction that deletes expired rows.

    Attributes:
        rows: the rows to delete.
        checked_at: the reading of the clock to store, in seconds since the epoch; None to store none.
        seen: the time to store by which a record has expired since one was stored; None to store none.
        more: whether further rows can be deleted at once.
        waiting: whether a row may be left that has expired or will expire.
    """

    rows: BitMap
    checked_at: float | None = None
    seen: float | None = None
    more: bool = False
    waiting: bool = True


class ExpiredRows:
    """Find and delete expired rows. Only the writer thread uses it."""

    def __init__(self, rows: RecordTable, index: Index) -> None:
        self._rows = rows
        self._index = index
        self._checked_at: float | None = None
        self._checked_monotonic: float | None = None  # None when another process read the clock

    def next_step(self) -> SweepStep:
        """Choose the expired rows to delete in the next transaction."""
        step, seen = self._choose_rows(), self._rows.clock.now()
        expired = self._index.expired(seen) - self._index.expired(self._rows.clock_saved_at)
        return replace(step, seen=seen) if expired & self._index.view.live else step

    def _choose_rows(self) -> SweepStep:
        now, live = time.time(), self._index.view.live
        if not self._index.expired(now) & live:
            return SweepStep(BitMap(), waiting=bool(self._index.expired(np.inf) & live))
        if self._checked_at is None:
            stored = self._rows.setting(CHECK_SETTING)
            self._checked_at = None if stored is None else float(stored)
        if self._checked_at is None or now < self._checked_at:  # one of the two readings was wrong
            return SweepStep(BitMap(), checked_at=now)
        elapsed = np.inf if self._checked_monotonic is None else time.monotonic() - self._checked_monotonic
        if min(now - self._checked_at, elapsed) < GRACE_S:
            return SweepStep(BitMap())
        due = self._index.expired(self._checked_at) & live
        if len(due) > STEP_ROWS:
            return SweepStep(due[:STEP_ROWS], more=True)
        return SweepStep(due, checked_at=now)

    def delete(self, step: SweepStep, change: Change) -> None:
        """Delete the rows that `next_step` chose, and store the time at which the clock was read.

        Requires an open transaction.
        """
        if step.rows:
            self._rows.remove(array_of(step.rows).tolist(), change)
            self._rows.set_setting(ERASED_SETTING, repr(time.time()))
        if step.checked_at is not None:
            self._rows.set_setting(CHECK_SETTING, repr(step.checked_at))
        if step.seen is not None:
            self._rows.save_clock(step.seen)

    def mark_committed(self, step: SweepStep) -> None:
        """Remember when the clock was read, after the deletion of expired rows was committed.

        A row is deleted only if it had expired at a reading of the clock at least `GRACE_S` ago.
        """
        if step.seen is not None:
            self._rows.clock_saved_at = step.seen
        if step.checked_at is not None:
            self._checked_at, self._checked_monotonic = step.checked_at, time.monotonic()


class ExpirySweeper:
    """Delete expired rows in the background, a few at a time, through the writer's queue."""

    def __init__(self, index: Index, submit: Callable[[ExpirySweep], Future[object]]) -> None:
        self._index = index
        self._submit = submit
        self._busy = self._woken = False
        self._start_lock = threading.Lock()
        self._stop = threading.Event()
        self._worker = Workers(name="store sweeper", threads=1, max_queue=1)

    def wake(self) -> None:
        """Start the background thread, unless it is running or no row has an expiry time.

        Returns at once; never fails.
        """
        if self._stop.is_set() or not self._index.expired(np.inf) & self._index.view.live:
            return
        with self._start_lock:
            if self._busy:
                return
            self._busy = self._woken = True
        try:
            self._worker.submit(self._run)
        except (OverloadedError, ResourceClosedError):  # no thread to be had, or closing; a later write tries again
            self._busy = False

    def close(self) -> None:
        """Stop the background thread after its current transaction.

        The time by which records have expired is stored for the next opening.
        """
        self._stop.set()
        self._worker.close()
        if self._woken:
            with suppress(SuperAdvancedAgentsError):  # a full disk, or a store that lost its files
                self._submit(ExpirySweep()).wait()

    def _run(self) -> None:
        try:
            while self._step() and not self._stop.is_set():
                pass
        finally:
            self._busy = False
        self.wake()  # for rows that were added after the last step, before `_busy` was reset

    def _step(self) -> bool:
        try:
            step = self._submit(ExpirySweep()).wait()
        except ResourceClosedError:
            return False  # the store is being closed
        except Exception as exc:  # a full disk, a queue without room: the next interval is soon enough
            _log.warning("store.sweep_failed", extra={"reason": str(exc)[:200]})
            return not self._stop.wait(INTERVAL_S)
        assert isinstance(step, SweepStep)
        return step.waiting and (step.more or not self._stop.wait(INTERVAL_S))
