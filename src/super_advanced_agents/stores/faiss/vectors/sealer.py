"""Sealing: full buffers of the tail become segments, and small segments large ones, in the background."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from super_advanced_agents._runtime.batcher import Workers
from super_advanced_agents.errors import OverloadedError, ResourceClosedError, StoreError
from super_advanced_agents.stores.faiss.index import Index
from super_advanced_agents.stores.faiss.vectors.arena import Memory
from super_advanced_agents.stores.faiss.vectors.builder import Builder
from super_advanced_agents.stores.faiss.vectors.seal_policy import SealPolicy, Task
from super_advanced_agents.stores.faiss.vectors.segment import Segment
from super_advanced_agents.stores.faiss.vectors.snapshot import Snapshots
from super_advanced_agents.stores.faiss.writing.requests import ViewUpdate
from super_advanced_agents.telemetry import get_logger

_log = get_logger("store")
_IDLE_S = 1.0


class Sealer:
    """Carries out what the policy finds due, one task at a time; keeps segments on disk if the store is."""

    def __init__(
        self,
        index: Index,
        policy: SealPolicy,
        builder: Builder,
        snapshots: Snapshots | None,
        *,
        publish: Callable[[ViewUpdate], None],
    ) -> None:
        self._index = index
        self._policy = policy
        self._builder = builder
        self._snapshots = snapshots
        self._publish = publish
        self._busy = False
        self._beginning = threading.Lock()
        self._stop = threading.Event()
        self._worker = Workers(name="store sealer", threads=1, max_queue=1)

    @property
    def busy(self) -> bool:
        """Whether something is being built, or may be soon."""
        return self._busy

    def load(self) -> None:
        """Build the index from the newest whole snapshot and the rows behind it, or from the rows alone."""
        if self._snapshots is None:
            self._index.load()
        else:
            found = self._snapshots.load()
            built = [self._builder.restored(rows, index) for rows, index in found]
            if self._index.load(built):
                self._snapshots.adopt(self._index.sealed)
            else:
                _log.warning("store.snapshot_ignored", extra={"reason": "it is not of these rows"})
                with suppress(OSError):
                    self._snapshots.discard()
                self._index.load()
        self.wake()

    def wake(self) -> None:
        """Begin if there is something to do and nothing is going on; returns at once, and never fails."""
        if self._policy.begin is None or self._stop.is_set() or self._due() is None:
            return
        with self._beginning:
            if self._busy:
                return
            self._busy = True
        try:
            self._worker.submit(self._work)
        except (OverloadedError, ResourceClosedError):  # no thread to be had, or closing; a later write tries again
            self._busy = False

    def rebuild(self, dim: int) -> None:
        """Begin anew with rows whose vectors were replaced; in the writer thread. What is being built is dropped."""
        memory = Memory(dim)
        self._builder = self._builder.for_memory(memory)
        if self._snapshots is not None:
            self._snapshots.reshape(dim)
        self._index.rebuild(memory)
        self.wake()

    def close(self) -> None:
        """Stop: a segment half built is given up, its rows are still in the tail and in the table."""
        self._stop.set()
        self._worker.close()

    def _due(self, *, idle: bool = False) -> Task | None:
        return self._policy.due(self._index.sizes(), self._index.tail.full_count, idle=idle)

    def _work(self) -> None:
        import faiss

        faiss.omp_set_num_threads(1)  # this thread's: the other core is for searches
        try:
            while not self._stop.is_set():
                task = self._due() or self._due_when_idle() or self._due_at_the_end()
                if task is None:
                    return
                self._execute(task)
            self._busy = False
        except (ResourceClosedError, StoreError) as exc:
            _log.debug("store.seal_stopped", extra={"reason": type(exc).__name__})  # closed, or it takes no writes
            self._busy = False
        except Exception:
            _log.exception("store.seal_failed")  # the rows stay in the tail, exact; a later write tries again
            self._busy = False

    def _due_when_idle(self) -> Task | None:
        """What is worth doing if nothing is written for a moment."""
        if self._due(idle=True) is None:
            return None
        seen = self._index.view
        if self._stop.wait(_IDLE_S) or self._index.view is not seen:
            return self._due()
        return self._due(idle=True)

    def _due_at_the_end(self) -> Task | None:
        """The last look and the end are one step: a write that comes later finds nobody at it, and begins anew."""
        with self._beginning:
            task = self._due()
            self._busy = task is not None
        return task

    def _execute(self, task: Task) -> None:
        parts = [*self._index.sealed[task.first : task.stop], *self._index.tail.full[: task.chunks]]
        live = self._index.view.live
        if not any(part.live_count(live) for part in parts):
            self._publish(ViewUpdate(partial(self._index.replace, parts, None)))
            return
        built = self._builder.roughly(parts, live) if task.rough else self._builder.built(parts, live, self._break_off)
        if built is None:
            return
        entry = None if self._snapshots is None or built.rough else self._snapshots.written(built)
        segment = built.segment()
        self._publish(ViewUpdate(partial(self._index.replace, parts, segment)))
        _log.info("store.sealed", extra={"rows": len(segment.rows), "parts": len(parts), "rough": task.rough})
        if self._snapshots is not None and entry is not None:
            self._save(self._snapshots, segment, entry)

    def _break_off(self) -> bool:
        """Whether to give a graph up: the store closes, or so many buffers wait that searches feel them."""
        return self._stop.is_set() or self._policy.in_haste(self._index.tail.full_count)

    def _save(self, snapshots: Snapshots, segment: Segment, entry: dict[str, str | None]) -> None:
        try:
            token = snapshots.save(self._index.sealed, segment, entry)
            self._publish(ViewUpdate(partial(snapshots.confirm, token)))
        except OSError as exc:
            _log.warning("store.snapshot_failed", extra={"reason": exc.strerror or str(exc)})
