"""The keyword index of one tenant: BM25 over each text, and over it with its neighbours.

It is derived from the rows, and catches up with them at the start of a search, so that writes never wait. The newest
rows are scored in a buffer. When they are many, they go to an index on disk, which is kept between openings.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from super_advanced_agents._runtime.concurrency.budget import check_budget, unlimited
from super_advanced_agents._runtime.concurrency.futures import in_thread
from super_advanced_agents._runtime.disk.files import raise_if_out_of_descriptors
from super_advanced_agents.errors import DeadlineExceededError
from super_advanced_agents.stores.faiss.keywords.boosts import term_boosts
from super_advanced_agents.stores.faiss.keywords.buffer import KeywordBuffer, buffer_bytes
from super_advanced_agents.stores.faiss.keywords.entry import Entry
from super_advanced_agents.stores.faiss.keywords.flush import Flush
from super_advanced_agents.stores.faiss.keywords.postings import PostingsIndex
from super_advanced_agents.stores.faiss.keywords.snapshot import KeywordSnapshot, SavedIndex, text_checksums
from super_advanced_agents.stores.faiss.keywords.sources import SourceRows
from super_advanced_agents.stores.faiss.keywords.work_folder import WorkFolder
from super_advanced_agents.stores.faiss.metadata.columns import array_of, bitmap
from super_advanced_agents.stores.faiss.metadata.index import _StaleViewError
from super_advanced_agents.stores.faiss.rows.session_neighbours import SessionNeighbourIndex
from super_advanced_agents.stores.faiss.rows.table import RecordTable
from super_advanced_agents.stores.faiss.vectors.view import View
from super_advanced_agents.stores.text.analyzer import NO_TEXT, analyze, query_terms
from super_advanced_agents.stores.text.bm25 import FIELDS, Boosts
from super_advanced_agents.stores.text.languages import ENGLISH
from super_advanced_agents.telemetry import get_logger

_log = get_logger("store")

FLUSH_ROWS = 512
"""A buffer of more rows is flushed to disk in the background."""
_MAX_BUFFER_ROWS = 4 * FLUSH_ROWS
"""With more rows in the buffer, while the disk is slow, searches wait for the flush."""
MAX_BUFFER_BYTES = 16 * 1024 * 1024
"""A larger buffer is flushed at once. A row of long texts takes up to 0.5 MiB."""
_IDLE_FLUSH_BYTES = 192 * 1024
"""A larger buffer is flushed when an idle index is closed, which may soon be searched again."""
_LAST_FLUSH_BYTES = 2 * 1024 * 1024
"""A larger buffer is flushed when the store is closed.

500 texts of 30 words take 0.9 MiB: 85 ms of a processor to save and restore, 37 ms to read again; of 120, 178 and 108.
"""
_SAVE_AFTER_ROWS = 5_000
"""A flush of this many rows saves a snapshot, because the process may be killed later."""
_MAX_LISTED = 512
"""Up to this many candidates are listed in the query; else hits are filtered afterwards."""
_EXTRA_HITS = 16
_PAGE_ROWS = 1_000
_OPEN_BYTES = 4 * 1024
_POSTINGS_BYTES = 256 * 1024
"""The memory of an index on disk: 96 KiB, and a thread that looks at its files at times."""

Ranking = tuple[NDArray[np.uint32], NDArray[np.float32]]
"""Rows (n,) and scores (n,), best first."""

EMPTY: Ranking = (np.empty(0, np.uint32), np.empty(0, np.float32))


class Keywords:
    """Search the texts of one tenant by BM25. Thread-safe; a lock admits one thread at a time.

    Args:
        rows: the table of records.
        session_neighbours: the neighbours of rows in their sessions.
        folder: the folder of the snapshot; None keeps all in memory.
        tenant_rows: returns the tenant's rows; deleted ones may be among them.
        tenant: the tenant's name, to recognize the snapshot of another.
    """

    def __init__(
        self,
        rows: RecordTable,
        session_neighbours: SessionNeighbourIndex,
        folder: Path | None,
        tenant_rows: Callable[[], BitMap],
        *,
        tenant: str = "",
    ) -> None:
        self._rows = rows
        self._session_neighbours = session_neighbours
        self._tenant_rows = tenant_rows
        self._snapshot = None if folder is None else KeywordSnapshot(folder, f"{rows.identity}/{tenant}")
        self._on_disk = True
        self._work_folder = WorkFolder(folder)
        self._lock = threading.Lock()
        self._reset()

    def _reset(self) -> None:
        self._opened = False
        self._index: PostingsIndex | None = None
        self._buffer = KeywordBuffer()
        self._indexed = BitMap()  # the rows on disk, also those without a text
        self._sources = SourceRows()
        self._languages: dict[str, None] = {}  # of the indexed texts other than English; grows only
        self._live = BitMap()  # the tenant's rows in the indexed view
        self._unsaved_rows = 0
        self._flush: Flush | None = None
        self._indexed_view: View | None = None
        self._changes_seen = 0  # of session neighbours
        self._deleted_unread = BitMap()  # rows of that view that were deleted before their texts were read

    @property
    def size_bytes(self) -> int:
        """The memory that the index takes while it is open, by estimate; 0 when it is closed.

        The sources of its rows do not count: they are small beside the rows' vectors.
        """
        on_disk = 0 if self._index is None else _POSTINGS_BYTES
        return _OPEN_BYTES + self._buffer.size_bytes + on_disk if self._opened else 0

    @property
    def unsaved_bytes(self) -> float:
        """The bytes, in a buffer and by estimate, of texts that no snapshot has."""
        lengths = {} if self._index is None else self._index.average_lengths
        return self._buffer.size_bytes + self._unsaved_rows * buffer_bytes(sum(lengths.values()))

    @property
    def in_use(self) -> bool:
        """True while a thread searches, saves or closes it."""
        return self._lock.locked()

    def search(self, view: View, texts: Sequence[str], scope: int | None, candidates: BitMap, k: int) -> list[Ranking]:
        """Find the k candidate rows with the best BM25 scores for each query text, best first.

        Each term of a text counts by itself; a text has no query syntax. `scope` is the number of the scope (one
        namespace of the tenant) that holds all candidates; None for all of them.

        Returns:
            For each text at most k rows, all of which share a term with it.

        Raises:
            _StaleViewError: a candidate was deleted before its text was read.
        """
        if not candidates:
            return [EMPTY] * len(texts)
        with self._lock:
            try:
                with unlimited():
                    self._catch_up(view)
                if self._deleted_unread.intersect(candidates) or not candidates.issubset(self._live):
                    raise _StaleViewError
                listed = None
                if len(candidates) <= _MAX_LISTED:
                    listed = array_of(candidates - self._buffer.rows).tolist()
                return [self._rank(text, scope, candidates, listed, k) for text in texts]
            except (_StaleViewError, DeadlineExceededError):  # the index itself is intact
                raise
            except (ValueError, OSError) as exc:  # tantivy raises these when a disk is full or fails
                if not self._on_disk:
                    raise
                self._discard()
                raise_if_out_of_descriptors(exc)  # the next search opens it again
                _log.warning("store.words_in_memory", extra={"reason": str(exc)[:200]})  # a full disk ends no search
                self._on_disk, self._snapshot = False, None
            except BaseException:
                self._discard()  # a part of the rows may be in it, and would be added again
                raise
        return self.search(view, texts, scope, candidates, k)

    def close(self, *, save: bool = True) -> None:
        """Close the keyword index, and save a snapshot of what costs more to index again.

        The next search opens it from its last snapshot, and reads the rows that are not in that.
        """
        with self._lock:
            self._close(_LAST_FLUSH_BYTES, save=save)

    def close_if_idle(self) -> None:
        """Save the keyword index and close it, unless another thread is searching it."""
        if self._lock.acquire(blocking=False):
            try:
                self._close(_IDLE_FLUSH_BYTES)
            finally:
                self._lock.release()

    def _close(self, min_flush_bytes: int, *, save: bool = True) -> None:
        try:
            if save and self._opened and self._indexed_view is not None:
                self._save_on_close(min_flush_bytes)
        except (ValueError, OSError, sqlite3.Error) as exc:
            _log.warning("store.words_not_kept", extra={"reason": str(exc)[:200]})
        finally:
            self._discard()

    # -- searching ------------------------------------------------------------------------------------------------

    def _rank(self, text: str, scope: int | None, candidates: BitMap, listed: list[int] | None, k: int) -> Ranking:
        on_disk, in_buffer = term_boosts(query_terms(text, list(self._languages)), self._index, self._buffer)
        hits = self._search_index(on_disk, scope, candidates, listed, k)
        if in_buffer:
            hits += self._buffer.scores(in_buffer, self._average_lengths(), candidates)
        if not hits:
            return EMPTY
        scores = np.array([score for score, _ in hits], dtype=np.float32)
        rows = np.array([row for _, row in hits], dtype=np.uint32)
        best = np.lexsort((rows, -scores))[:k]
        return rows[best], scores[best]

    def _average_lengths(self) -> dict[str, float]:
        totals, index = self._buffer.total_lengths, self._index
        if index is None:
            return {field: totals[field] / self._buffer.count for field in FIELDS}
        count = self._buffer.count + index.count
        return {field: (totals[field] + index.average_lengths[field] * index.count) / count for field in FIELDS}

    def _search_index(
        self, boosts: Boosts, scope: int | None, candidates: BitMap, listed: list[int] | None, k: int
    ) -> list[tuple[float, int]]:
        if self._index is None or not boosts or listed == []:
            return []
        if listed is not None:
            return self._index.hits(boosts, k, scope=None, rows=listed)
        visible = candidates - self._buffer.rows if self._buffer.rows else candidates
        limit = k + _EXTRA_HITS
        while True:
            check_budget()
            hits = self._index.hits(boosts, limit, scope=scope, rows=None)
            visible_hits = [hit for hit in hits if hit[1] in visible]
            if len(visible_hits) >= k or len(hits) < limit:
                return visible_hits[:k]
            limit *= 4  # most hits were filtered out

    # -- catching up ----------------------------------------------------------------------------------------------

    def _catch_up(self, view: View) -> None:
        if self._indexed_view is view:
            return
        self._deleted_unread = BitMap()
        changes_seen = self._session_neighbours.change_count  # before any neighbour is read
        live = self._live = view.live & self._tenant_rows()
        if self._opened:
            other_neighbours = self._session_neighbours.changed_since(self._changes_seen)
        else:
            self._open()
            other_neighbours = None
        if other_neighbours is None:
            self._join_flush(wait=True)  # which adds to the sources
            on_disk = array_of(self._indexed & live)
            other_neighbours = self._sources.moved(on_disk, *self._session_neighbours.neighbours(on_disk))
            other_neighbours |= self._buffer.rows
        changed = ((live - self._indexed - self._buffer.rows) | other_neighbours) & live
        self._buffer.drop(self._buffer.rows - live)
        self._join_flush(wait=False)
        if (
            len(changed) > FLUSH_ROWS
            or len(self._buffer.rows | changed) > _MAX_BUFFER_ROWS
            or not self._put_in_buffer(changed)
        ):
            self._join_flush(wait=True)
            self._flush_now(self._plan_flush(changed))
        elif self._flush is not None:
            self._flush.changed_meanwhile |= changed
        elif len(self._buffer.rows) + len(self._indexed - live) > FLUSH_ROWS:
            self._flush = self._plan_flush(BitMap())
            self._flush.future = in_thread(self._flush.execute, name="store words")
        self._indexed_view, self._changes_seen = view, changes_seen

    def _put_in_buffer(self, changed: BitMap) -> bool:
        # False if the buffer has become too large; a part of the rows is in it then.
        without_text = []
        for row, entry in self._entries(array_of(changed)):
            self._buffer.put(row, entry)
            if self._buffer.size_bytes > MAX_BUFFER_BYTES:
                return False
            if entry is None:
                without_text.append(row)
        if without_text:
            existing = BitMap([row for row, _ in self._rows.uids(without_text)])
            self._deleted_unread = BitMap(without_text) - existing
        return True

    def _open(self) -> None:
        self._opened = True
        if self._snapshot is None:
            return
        self._work_folder.remove_left_over()
        if not self._snapshot.exists:
            return
        folder = self._work_folder.make()
        saved = self._snapshot.restore(folder, self._rows, self._live)
        if saved is None:
            self._work_folder.remove()
            return
        self._index = PostingsIndex(folder, saved.average_lengths)
        self._sources.add(saved.table)
        self._languages = dict.fromkeys(saved.languages)
        self._indexed = bitmap(saved.table[0])

    def _plan_flush(self, changed: BitMap) -> Flush:
        if self._index is None:
            self._index = PostingsIndex(self._work_folder.make() if self._on_disk else None)
        added = (self._buffer.rows | changed) & self._live
        removed = (self._indexed - self._live) | (self._indexed & added)
        return Flush(self._index, added, removed, partial(self._entries, array_of(added), record_sources=True))

    def _flush_now(self, flush: Flush) -> None:
        flush.execute()
        self._end_flush(flush)
        if self._unsaved_rows >= _SAVE_AFTER_ROWS:
            self._save()

    def _join_flush(self, *, wait: bool) -> None:
        flush = self._flush
        if flush is None or flush.future is None or not (wait or flush.future.done()):
            return
        self._flush = None
        flush.future.wait()
        self._end_flush(flush)

    def _end_flush(self, flush: Flush) -> None:
        flush.index.refresh()
        self._buffer.drop(flush.added - flush.changed_meanwhile)
        self._indexed = (self._indexed - flush.removed) | flush.added
        self._unsaved_rows += len(flush.added) + len(flush.removed)

    def _entries(self, rows: NDArray[np.uint32], *, record_sources: bool = False) -> Iterator[tuple[int, Entry | None]]:
        for start in range(0, len(rows), _PAGE_ROWS):
            page = rows[start : start + _PAGE_ROWS]
            before, after = self._session_neighbours.neighbours(page)
            rows_and_neighbours = {*page.tolist(), *before.tolist(), *after.tolist()} - {0}
            texts = self._rows.texts(sorted(rows_and_neighbours))
            analyses = {row: analyze(text) for row, (_, text) in texts.items()}
            self._languages.update(dict.fromkeys({one.language for one in analyses.values()} - {ENGLISH}))
            if record_sources:
                checksums = text_checksums(page.tolist(), texts)
                self._sources.add(np.array([page, before, after, checksums], dtype=np.uint32))
            for row, *neighbours in zip(page.tolist(), before.tolist(), after.tolist(), strict=True):
                if row not in texts:
                    yield row, None
                    continue
                first, last = (analyses.get(neighbour, NO_TEXT).terms for neighbour in neighbours)
                yield row, Entry.of(row, texts[row][0], analyses[row].terms, first, last)

    # -- saving ---------------------------------------------------------------------------------------------------

    def _save_on_close(self, min_flush_bytes: int) -> None:
        if self._snapshot is None:
            return
        self._join_flush(wait=True)
        if self._buffer.size_bytes > min_flush_bytes:
            self._flush_now(self._plan_flush(BitMap()))
        if self._unsaved_rows:
            self._save()

    def _save(self) -> None:
        folder = self._work_folder.path
        if self._snapshot is None or self._index is None or folder is None:
            return
        table = self._sources.of(array_of(self._indexed))
        try:
            self._index.wait_for_merges()
            self._snapshot.save(folder, SavedIndex(table, self._index.average_lengths, list(self._languages)))
        except (ValueError, OSError) as exc:
            _log.warning("store.words_not_kept", extra={"reason": str(exc)[:200]})
        self._unsaved_rows = 0

    def _discard(self) -> None:
        try:
            self._join_flush(wait=True)
        except (ValueError, OSError, sqlite3.Error):
            _log.debug("store.words_move_failed")  # the index is discarded anyway
        try:
            if self._index is not None:
                self._index.close()
            self._work_folder.remove()
        finally:
            self._reset()
