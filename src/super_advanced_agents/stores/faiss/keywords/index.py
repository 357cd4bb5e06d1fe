"""Words: BM25 over texts and over their windows (a turn with its neighbours).

Derived from rows like everything else in memory: it follows when a search asks, so that a write never waits for it and
a search sees every acknowledged write. The newest rows are weighed in memory; when they have become many, they go into
an index on disk, which is kept between openings of the store.
"""

from __future__ import annotations

import dataclasses
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from super_advanced_agents._runtime.futures import Future, in_thread
from super_advanced_agents.stores.faiss.keywords.analyzer import FIELDS, Entry, unique_terms
from super_advanced_agents.stores.faiss.keywords.buffer import KeywordBuffer, idf
from super_advanced_agents.stores.faiss.keywords.postings import PostingsIndex
from super_advanced_agents.stores.faiss.keywords.snapshot import KeywordSnapshot, SavedIndex, SourceTable, text_checksum
from super_advanced_agents.stores.faiss.metadata.columns import array_of, bitmap
from super_advanced_agents.stores.faiss.metadata.index import _StaleViewError
from super_advanced_agents.stores.faiss.rows.session_neighbours import SessionNeighbourIndex
from super_advanced_agents.stores.faiss.rows.table import RecordTable
from super_advanced_agents.stores.faiss.vectors.view import View
from super_advanced_agents.telemetry import get_logger

_log = get_logger("store")

FLUSH_ROWS = 512
"""So many rows are weighed in memory before they go to disk together, in the background."""
_MAX_BUFFER_ROWS = 4 * FLUSH_ROWS
"""So many while the disk is slow; then searches wait for it."""
_WORTH_A_COMMIT = 64
"""When the store is closed, so many rows in memory cost the next opening less than a commit costs this one."""
_WORTH_KEEPING = 5_000
"""So many rows indexed at once are kept at once, so that a process that is killed later does not lose that work."""
_MAX_WORDS = 48
_FEW = 512
"""Up to this many candidates are named in the query; beyond, hits are looked up among them."""
_SPARE = 16
_PAGE = 1_000
_COMPARED = 5_000
_HOME_PREFIX = "words-"

Ranking = tuple[NDArray[np.uint32], NDArray[np.float32]]
"""Rows (n,) and scores (n,), best first."""

Boosts = dict[tuple[str, str], float]
"""(field, word) -> what it counts."""

_NOTHING: Ranking = (np.empty(0, np.uint32), np.empty(0, np.float32))


@dataclasses.dataclass(slots=True, eq=False)
class _Move:
    """Entries on their way to the index on disk.

    Attributes:
        fresh: the rows to be added.
        stale: the rows to be removed first.
        overtaken: rows that changed again meanwhile, and stay in the tail.
        future: the work in the background; None when it is carried out on the spot.
    """

    index: PostingsIndex
    fresh: BitMap
    stale: BitMap
    entries: Callable[[], Iterator[tuple[int, Entry | None]]]
    overtaken: BitMap = dataclasses.field(default_factory=BitMap)
    future: Future[None] | None = None

    def execute(self) -> None:
        """Write it down; searches see it when it is taken over."""
        self.index.remove(array_of(self.stale).tolist())
        self.index.add(entry for _, entry in self.entries() if entry is not None)
        self.index.commit()


class Keywords:
    """The words of one store; safe from any thread, used by one at a time."""

    def __init__(self, rows: RecordTable, session_neighbours: SessionNeighbourIndex, folder: Path | None) -> None:
        self._rows = rows
        self._session_neighbours = session_neighbours
        self._folder = folder
        self._kept = None if folder is None else KeywordSnapshot(folder, rows.identity)
        self._on_disk = True
        self._home: tempfile.TemporaryDirectory[str] | None = None
        self._lock = threading.Lock()
        self._forget()

    def _forget(self) -> None:
        self._opened = False
        self._index: PostingsIndex | None = None
        self._buffer = KeywordBuffer()
        self._indexed = BitMap()  # what went to disk, rows without a text too
        self._made_from = np.zeros((3, 0), np.uint32)  # of each of these rows: its neighbours then, its text's stamp
        self._unkept = 0
        self._move: _Move | None = None
        self._followed: View | None = None
        self._gone = BitMap()  # of what that view shows, rows that were deleted before their words were read

    def search(self, view: View, texts: Sequence[str], scope: int | None, candidates: BitMap, k: int) -> list[Ranking]:
        """For each text the k candidates that share the most telling words with it, best first, with BM25 scores.

        Every word counts by itself; nothing in a text is syntax. Fewer than k where fewer share a word.

        Raises:
            _StaleViewError: a candidate was deleted before its words were read.
        """
        if not candidates:
            return [_NOTHING] * len(texts)
        with self._lock:
            try:
                self._follow(view)
                if self._gone.intersect(candidates):
                    raise _StaleViewError
                named = None
                if len(candidates) <= _FEW:
                    named = array_of(candidates - self._buffer.rows).tolist()
                return [self._ranked(text, scope, candidates, named, k) for text in texts]
            except _StaleViewError:  # nothing is wrong with what is here
                raise
            except (ValueError, OSError) as exc:  # how the library tells of a full or failing disk
                if not self._on_disk:
                    raise
                # Reads go on while writes wait for room, so what is derived moves into memory.
                _log.warning("store.words_in_memory", extra={"reason": str(exc)[:200]})
                self._discard()
                self._on_disk, self._kept = False, None
            except BaseException:
                self._discard()  # half of the rows may be in it, and would be added again
                raise
        return self.search(view, texts, scope, candidates, k)

    def close(self) -> None:
        """Keep the index for the next opening, and let go of it."""
        with self._lock:
            try:
                if self._opened and self._followed is not None:
                    self._put_away(self._followed)
            except (ValueError, OSError, sqlite3.Error) as exc:
                _log.warning("store.words_not_kept", extra={"reason": str(exc)[:200]})
            self._discard()

    # -- searching ------------------------------------------------------------------------------------------------

    def _ranked(self, text: str, scope: int | None, candidates: BitMap, named: list[int] | None, k: int) -> Ranking:
        on_disk, in_tail = self._weighed(unique_terms(text))
        found = self._best_on_disk(on_disk, scope, candidates, named, k)
        if in_tail:
            found += self._buffer.scores(in_tail, self._averages(), candidates)
        if not found:
            return _NOTHING
        scores = np.array([score for score, _ in found], dtype=np.float32)
        rows = np.array([row for _, row in found], dtype=np.uint32)
        best = np.lexsort((rows, -scores))[:k]
        return rows[best], scores[best]

    def _weighed(self, asked: Sequence[str]) -> tuple[Boosts, Boosts]:
        """What the BM25 of each word that anybody has is multiplied by on disk, and its rarity counts in the tail.

        How rare a word is, is told of both together; the index on disk knows only of its own, and is corrected.
        """
        index, tail = self._index, self._buffer
        there = {word: 0 if index is None else index.doc_frequency("window", word) for word in asked}
        known = [word for word, count in there.items() if count or tail.doc_frequency("window", word)]
        if len(known) > _MAX_WORDS:
            known = sorted(known, key=lambda word: there[word] + tail.doc_frequency("window", word))[:_MAX_WORDS]
        if index is not None and not tail.rows:
            return {(field, word): weight for word in known for field, weight in FIELDS.items()}, {}
        on_disk, in_tail = {}, {}
        count = 0 if index is None else index.count
        for field, weight in FIELDS.items():
            for word in known:
                before = 0 if index is None else index.doc_frequency(field, word)
                here = tail.doc_frequency(field, word)
                rare = weight * idf(count + tail.count, before + here)
                if before:
                    on_disk[field, word] = rare / idf(count, before)
                if here:
                    in_tail[field, word] = rare
        return on_disk, in_tail

    def _averages(self) -> dict[str, float]:
        """The mean number of words in each field, on disk and in the tail together."""
        tail, index = self._buffer, self._index
        if index is None:
            return {field: tail.lengths[field] / tail.count for field in FIELDS}
        count = tail.count + index.count
        return {field: (tail.lengths[field] + index.average_lengths[field] * index.count) / count for field in FIELDS}

    def _best_on_disk(
        self, boosts: Boosts, scope: int | None, candidates: BitMap, named: list[int] | None, k: int
    ) -> list[tuple[float, int]]:
        if self._index is None or not boosts or named == []:
            return []
        if named is not None:
            return self._index.hits(boosts, k, scope=None, rows=named)
        visible = candidates - self._buffer.rows if self._buffer.rows else candidates
        limit = k + _SPARE
        while True:
            hits = self._index.hits(boosts, limit, scope=scope, rows=None)
            chosen = [hit for hit in hits if hit[1] in visible]
            if len(chosen) >= k or len(hits) < limit:
                return chosen[:k]
            limit *= 4  # most hits were filtered out

    # -- following the rows ---------------------------------------------------------------------------------------

    def _follow(self, view: View) -> None:
        """Bring the words to what the view shows."""
        if self._followed is view:
            return
        self._gone = BitMap()
        touched = self._session_neighbours.take_changed_rows()
        if not self._opened:
            touched = self._open(view)
        changed = ((view.live - self._indexed - self._buffer.rows) | touched) & view.live
        for row in self._buffer.rows - view.live:
            self._buffer.drop(row)
        self._finish(wait=False)
        if len(changed) > FLUSH_ROWS or len(self._buffer.rows | changed) > _MAX_BUFFER_ROWS:
            self._finish(wait=True)
            self._execute(self._planned(view, changed))
        else:
            bare = []
            for row, entry in self._entries(array_of(changed)):
                self._buffer.put(row, entry)
                if entry is None:
                    bare.append(row)
            if bare:
                self._gone = BitMap(bare) - BitMap([row for row, _ in self._rows.uids(bare)])
            if self._move is not None:
                self._move.overtaken |= changed
            elif len(self._buffer.rows) + len(self._indexed - view.live) > FLUSH_ROWS:
                self._move = self._planned(view, BitMap())
                self._move.future = in_thread(self._move.execute, name="store words")
        self._followed = view

    def _open(self, view: View) -> BitMap:
        """Take up what was kept when the store was last closed; returns the rows whose neighbours changed since."""
        self._opened = True
        if self._kept is None or self._folder is None:
            return BitMap()
        for left_over in self._folder.glob(f"{_HOME_PREFIX}*"):
            shutil.rmtree(left_over, ignore_errors=True)  # of a process that was killed
        if not self._kept.exists:
            return BitMap()
        home = self._make_home()
        kept = self._kept.restore(home)
        if kept is None or not self._fits(kept.table, view):
            self._leave_home()
            return BitMap()
        self._index = PostingsIndex(home, kept.average_lengths)
        self._note(kept.table)
        self._indexed = bitmap(kept.table[0])
        rows = array_of(self._indexed & view.live)
        before, after = self._session_neighbours.neighbours(rows)
        return bitmap(rows[(before != self._made_from[0, rows]) | (after != self._made_from[1, rows])])

    def _fits(self, table: SourceTable, view: View) -> bool:
        """Whether these are rows of this store: of another history (an older file put back) some text differs."""
        if not table.size or int(table[0, -1]) > self._rows.last_seq:
            return False
        common = table[:, np.isin(table[0], array_of(view.live))]
        for start in range(0, common.shape[1], _COMPARED):
            rows, told = common[0, start : start + _COMPARED].tolist(), common[3, start : start + _COMPARED].tolist()
            texts = self._rows.texts(rows)
            if any((text_checksum(*texts[row]) if row in texts else 0) != was for row, was in zip(rows, told, strict=True)):
                return False
        return True

    def _planned(self, view: View, changed: BitMap) -> _Move:
        """What is to be done so that the index on disk has the tail and what has changed, and nothing that has gone."""
        if self._index is None:
            # On disk a commit takes 5 to 8 ms; the library's own directory in memory takes 29 to 87 ms.
            self._index = PostingsIndex(self._make_home() if self._on_disk else None)
        fresh = (self._buffer.rows | changed) & view.live
        stale = (self._indexed - view.live) | (self._indexed & fresh)
        return _Move(self._index, fresh, stale, partial(self._entries, array_of(fresh), noted=True))

    def _execute(self, move: _Move) -> None:
        move.execute()
        self._take_over(move)
        if self._unkept >= _WORTH_KEEPING:
            self._keep()

    def _finish(self, *, wait: bool) -> None:
        """Take over what was moved in the background, if it is done or is to be waited for."""
        move = self._move
        if move is None or move.future is None or not (wait or move.future.done()):
            return
        self._move = None
        move.future.wait()
        self._take_over(move)

    def _take_over(self, move: _Move) -> None:
        move.index.refresh()
        for row in move.fresh - move.overtaken:
            self._buffer.drop(row)
        self._indexed = (self._indexed - move.stale) | move.fresh
        self._unkept += len(move.fresh) + len(move.stale)

    def _entries(self, rows: NDArray[np.uint32], *, noted: bool = False) -> Iterator[tuple[int, Entry | None]]:
        """Each of these rows with its words; without, if it has no text or was deleted meanwhile."""
        for start in range(0, len(rows), _PAGE):
            page = rows[start : start + _PAGE]
            before, after = self._session_neighbours.neighbours(page)
            wanted = {*page.tolist(), *before.tolist(), *after.tolist()} - {0}
            texts = {row: (scope, text) for row, (scope, text) in self._rows.texts(sorted(wanted)).items()}
            if noted:
                stamps = [text_checksum(*texts[row]) if row in texts else 0 for row in page.tolist()]
                self._note(np.array([page, before, after, stamps], dtype=np.uint32))
            for row, *beside in zip(page.tolist(), before.tolist(), after.tolist(), strict=True):
                if row not in texts:
                    yield row, None
                    continue
                scope, text = texts[row]
                first, last = (texts[near][1] if near in texts else "" for near in beside)
                yield row, Entry.of(row, scope, text, first, last)

    def _note(self, table: SourceTable) -> None:
        """Remember what rows on disk were made from."""
        width = int(table[0, -1]) + 1
        if width > self._made_from.shape[1]:
            grown = np.zeros((3, 2 * width), np.uint32)
            grown[:, : self._made_from.shape[1]] = self._made_from
            self._made_from = grown
        self._made_from[:, table[0]] = table[1:]

    # -- keeping --------------------------------------------------------------------------------------------------

    def _put_away(self, view: View) -> None:
        if self._kept is None:
            return
        self._finish(wait=True)
        if len(self._buffer.rows) >= _WORTH_A_COMMIT or (self._unkept and self._buffer.rows):
            self._execute(self._planned(view, BitMap()))
        if self._unkept:
            self._keep()

    def _keep(self) -> None:
        if self._kept is None or self._index is None or self._home is None:
            return
        rows = array_of(self._indexed)
        table = np.concatenate([rows[None], self._made_from[:, rows]])
        try:
            self._index.wait_for_merges()
            self._kept.save(Path(self._home.name), SavedIndex(table, self._index.average_lengths))
        except (ValueError, OSError) as exc:
            _log.warning("store.words_not_kept", extra={"reason": str(exc)[:200]})
        self._unkept = 0

    def _make_home(self) -> Path:
        if self._home is None:
            self._home = tempfile.TemporaryDirectory(prefix=_HOME_PREFIX, dir=self._folder, ignore_cleanup_errors=True)
        return Path(self._home.name)

    def _leave_home(self) -> None:
        home, self._home = self._home, None
        if home is not None:
            home.cleanup()

    def _discard(self) -> None:
        try:
            self._finish(wait=True)
        except (ValueError, OSError, sqlite3.Error):
            _log.debug("store.words_move_failed")  # nothing of it is kept
        if self._index is not None:
            self._index.close()
        self._leave_home()
        self._forget()
