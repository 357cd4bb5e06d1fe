"""Background merging of full buffers and small segments into larger FAISS segments."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from super_advanced_agents._runtime.queues.batcher import Workers
from super_advanced_agents.errors import OverloadedError, ResourceClosedError, StoreError
from super_advanced_agents.stores.faiss.index import Index
from super_advanced_agents.stores.faiss.vectors.arena import VectorMemory
from super_advanced_agents.stores.faiss.vectors.builder import Builder, BuiltSegment
from super_advanced_agents.stores.faiss.vectors.seal_policy import SealPolicy, SealTask
from super_advanced_agents.stores.faiss.vectors.segment import Segment
from super_advanced_agents.stores.faiss.vectors.snapshot import Snapshots
from super_advanced_agents.stores.faiss.writing.requests import ViewUpdate
from super_advanced_agents.telemetry import get_logger, histogram, timed

_log = get_logger("store")
_SEALS = histogram("store_seal_seconds")
_IDLE_S = 1.0
_AFTER_LOAD_S = 30.0
"""The seconds after which an opened store makes segments of the rows that it opened with.

A command that searches or asks ends before, and would have paid for a part of a graph in vain: 0.3 s of a processor and
more while a language model waits for it.
"""


class Sealer:
    """Merge new rows and small segments into larger FAISS segments, in a background thread.

    It also saves the segments in the store's folder, and loads them from there.
    """

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
        self._start_lock = threading.Lock()
        self._stop = threading.Event()
        self._after_load: threading.Timer | None = None
        self._worker = Workers(name="store sealer", threads=1, max_queue=1)

    @property
    def busy(self) -> bool:
        """True while the background thread merges segments or looks for the next merge."""
        return self._busy

    def load(self) -> None:
        """Load the FAISS indexes that are saved on disk, if valid, and add the rows they lack."""
        if self._snapshots is None:
            self._index.load()
        else:
            loaded = self._snapshots.load()
            built = [self._builder.restore(rows, index) for rows, index in loaded]
            if self._index.load(built):
                self._snapshots.adopt(self._index.sealed)
            else:
                _log.warning("store.snapshot_ignored", extra={"reason": "it belongs to other rows"})
                with suppress(OSError):
                    self._snapshots.discard()
                self._index.load()
        if self._is_due() and self._after_load is None:
            self._after_load = threading.Timer(_AFTER_LOAD_S, self.wake)
            self._after_load.daemon = True
            self._after_load.start()

    def wake(self) -> None:
        """Start the background thread if a merge is due and the thread is not running.

        Returns at once; never fails.
        """
        if self._stop.is_set() or not self._is_due():
            return
        with self._start_lock:
            if self._busy:
                return
            self._busy = True
        try:
            self._worker.submit(self._work)
        except (OverloadedError, ResourceClosedError):  # no thread to be had, or closing; a later write tries again
            self._busy = False

    def rebuild(self, dim: int) -> None:
        """Rebuild the vector index after all vectors were replaced by vectors of length `dim`.

        The writer thread calls it. A segment that is being built is dropped.
        """
        memory = VectorMemory(dim)
        self._builder = self._builder.with_memory(memory)
        if self._snapshots is not None:
            self._snapshots.reshape(dim)
        self._index.rebuild(memory)
        self.wake()

    def close(self) -> None:
        """Stop the background thread; an unfinished merge is dropped without losing rows."""
        self._stop.set()
        if self._after_load is not None:
            self._after_load.cancel()
            self._after_load.join()
        self._worker.close()

    def _is_due(self) -> bool:
        return self._policy.min_buffers is not None and self._next_task() is not None

    def _next_task(self, *, idle: bool = False) -> SealTask | None:
        return self._policy.next_task(self._index.sizes(), len(self._index.full_buffers), idle=idle)

    def _work(self) -> None:
        import faiss

        faiss.omp_set_num_threads(1)  # for this thread only: the other core is for searches
        try:
            while not self._stop.is_set():
                task = self._next_task() or self._next_idle_task() or self._next_task_or_end()
                if task is None:
                    return
                with timed("seal", _SEALS):
                    self._execute(task)
            self._busy = False
        except (OverloadedError, ResourceClosedError, StoreError) as exc:
            _log.debug("store.seal_stopped", extra={"reason": type(exc).__name__})  # closed, or it refuses writes
            self._busy = False
        except Exception:
            _log.exception("store.seal_failed")  # the rows stay in the tail, exact; a later write tries again
            self._busy = False

    def _next_idle_task(self) -> SealTask | None:
        if self._next_task(idle=True) is None:
            return None
        before = self._index.view
        if self._stop.wait(_IDLE_S) or self._index.view is not before:
            return self._next_task()
        return self._next_task(idle=True)

    def _next_task_or_end(self) -> SealTask | None:
        # The last check and the end are one step under the lock: `wake` after a later write starts the worker again.
        with self._start_lock:
            task = self._next_task()
            self._busy = task is not None
        return task

    def _execute(self, task: SealTask) -> None:
        parts = [*self._index.sealed[task.first : task.stop], *self._index.full_buffers[: task.buffers]]
        live = self._index.view.live
        if not any(part.live_count(live) for part in parts):
            self._publish(ViewUpdate(partial(self._index.replace, parts, None)))
            return
        if task.rough:
            built: BuiltSegment | None = self._builder.build_rough(parts, live)
        else:
            built = self._builder.build(parts, live, self._should_stop_building)
        if built is None:
            return
        entry = None if self._snapshots is None or built.rough else self._snapshots.write_segment(built)
        segment = built.segment()
        self._publish(ViewUpdate(partial(self._index.replace, parts, segment)))
        _log.info("store.sealed", extra={"rows": len(segment.rows), "parts": len(parts), "rough": task.rough})
        if self._snapshots is not None and entry is not None:
            self._save(self._snapshots, segment, entry)

    def _should_stop_building(self) -> bool:
        # While buffers pile up, sealing them roughly helps searches more than the graph does.
        return self._stop.is_set() or self._policy.is_behind(self._index.tail.full_count)

    def _save(self, snapshots: Snapshots, segment: Segment, entry: dict[str, str | None]) -> None:
        try:
            token = snapshots.save(self._index.sealed, segment, entry)
            self._publish(ViewUpdate(partial(snapshots.confirm, token)))
        except OSError as exc:
            _log.warning("store.snapshot_failed", extra={"reason": exc.strerror or str(exc)})
