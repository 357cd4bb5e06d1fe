"""Sealing: full buffers of the tail become graph segments, in the background, while searches and writes go on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import faiss

from super_advanced_agents._runtime.batcher import Workers
from super_advanced_agents.errors import OverloadedError, ResourceClosedError
from super_advanced_agents.stores.faiss.index import Index
from super_advanced_agents.stores.faiss.requests import Publication
from super_advanced_agents.stores.faiss.segments import sealed
from super_advanced_agents.stores.faiss.snapshot import Snapshots
from super_advanced_agents.telemetry import get_logger

_log = get_logger("store")
_EXACT_ROWS = 16_384  # an exact pass over 16,384 x 384 takes about 1 ms, as long as walking such a graph five times


@dataclass(frozen=True, slots=True)
class SealPolicy:
    """When to seal.

    Attributes:
        begin: full buffers of the tail at which sealing begins; None for never.
        most: buffers that become one segment, at most.
    """

    begin: int | None
    most: int = 4

    @classmethod
    def of(cls, index: str, buffer_rows: int) -> SealPolicy:
        """The policy of a store's `index` argument."""
        if index == "flat":
            return cls(None)
        return cls(1 if index == "hnsw" else max(1, _EXACT_ROWS // buffer_rows))


class Sealer:
    """Turns the oldest full buffers into segments, one at a time; keeps them on disk if the store is."""

    def __init__(
        self,
        index: Index,
        policy: SealPolicy,
        folder: Path | None,
        *,
        dim: int,
        identity: str,
        publish: Callable[[Publication], None],
    ) -> None:
        self._index = index
        self._policy = policy
        self._dim = dim
        self._snapshots = None if folder is None else Snapshots(folder, dim, identity)
        self._publish = publish
        self._last_sealed = 0
        self._busy = False
        self._beginning = threading.Lock()
        self._stop = threading.Event()
        self._worker = Workers(name="store sealer", threads=1, max_queue=1)

    def load(self) -> None:
        """Build the index from the newest whole snapshot and the rows behind it, or from the rows alone."""
        if self._snapshots is not None and self._policy.begin is not None:
            segments, self._last_sealed = self._snapshots.load()
            if not self._index.load(segments, self._last_sealed):
                _log.warning("store.snapshot_ignored", extra={"reason": "it is not of these rows"})
                with suppress(OSError):
                    self._snapshots.discard()
                self._last_sealed = 0
                self._index.load()
        else:
            self._index.load()
        self.wake()

    def wake(self) -> None:
        """Begin sealing if there is enough to seal and none is going on; returns at once, and never fails."""
        begin = self._policy.begin
        if begin is None or self._stop.is_set() or self._index.tail.full_count < begin:
            return
        with self._beginning:
            if self._busy:
                return
            self._busy = True
        try:
            self._worker.submit(self._seal)
        except (OverloadedError, ResourceClosedError):  # no thread to be had, or closing; a later write tries again
            self._busy = False

    def close(self) -> None:
        """Stop: a segment half built is given up, its rows are still in the tail and in the table."""
        self._stop.set()
        self._worker.close()

    def _seal(self) -> None:
        faiss.omp_set_num_threads(1)  # this thread's: the other core is for searches
        try:
            while not self._stop.is_set():
                chunks = self._index.tail.full[: self._policy.most]
                if len(chunks) < (self._policy.begin or 1):
                    return
                segment = sealed(chunks, self._dim, self._index.view.live, self._stop)
                if segment is None:
                    return
                last_row = int(chunks[-1].rows[-1])
                self._publish(Publication(partial(self._index.replace, len(chunks), segment)))
                self._last_sealed = last_row
                _log.info("store.sealed", extra={"rows": len(segment.rows)})
                self._save()
        except ResourceClosedError:
            return  # the store was closed meanwhile
        except Exception:
            _log.exception("store.seal_failed")  # the rows stay in the tail, exact; a later write tries again
        finally:
            self._busy = False

    def _save(self) -> None:
        if self._snapshots is None:
            return
        try:
            self._snapshots.save(self._index.sealed, self._last_sealed)
        except OSError as exc:
            _log.warning("store.snapshot_failed", extra={"reason": exc.strerror or str(exc)})
