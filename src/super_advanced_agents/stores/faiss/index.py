"""Everything in memory that is derived from rows: what a search sees, and who may see it.

The writer thread alone changes it, after each commit (`apply`) and when segments were built (`replace`); any thread
reads it.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from functools import partial
from itertools import islice

import numpy as np
from pyroaring import BitMap

from super_advanced_agents._runtime.gil import yield_gil
from super_advanced_agents.errors import CorruptStoreError
from super_advanced_agents.stores.faiss.metadata.columns import NumberColumn, array_of, bitmap
from super_advanced_agents.stores.faiss.metadata.index import MetadataIndex, _StaleViewError
from super_advanced_agents.stores.faiss.metadata.selections import Selection
from super_advanced_agents.stores.faiss.rows.batch import Change
from super_advanced_agents.stores.faiss.rows.session_neighbours import SessionNeighbourIndex
from super_advanced_agents.stores.faiss.rows.table import RecordTable
from super_advanced_agents.stores.faiss.rows.versions import Versions
from super_advanced_agents.stores.faiss.vectors.arena import VectorMemory
from super_advanced_agents.stores.faiss.vectors.builder import BuiltSegment
from super_advanced_agents.stores.faiss.vectors.seal_policy import SegmentSize
from super_advanced_agents.stores.faiss.vectors.segment import RowNumbers, Segment
from super_advanced_agents.stores.faiss.vectors.tail import Tail
from super_advanced_agents.stores.faiss.vectors.view import View
from super_advanced_agents.stores.filters import Filter
from super_advanced_agents.stores.validation import unit_rows
from super_advanced_agents.types import Matrix

_LOAD_ROWS = 2_000
_SPARE_ROWS = 1_024
"""Dead rows beyond this, and beyond the number of live ones, are dropped."""
_NO_ROWS = BitMap()


class Index:
    """The view of a store's rows, the rows of each scope, and when rows expire."""

    def __init__(self, rows: RecordTable, memory: VectorMemory, *, unit: bool, buffer_rows: int, seals: bool) -> None:
        self._rows = rows
        self._memory = memory
        self._unit = unit
        self._sealed: list[Segment] = []
        self._buffer_rows = buffer_rows
        self._seals = seals
        self._tail = Tail(memory, buffer_rows)
        self._scopes: dict[int, BitMap] = {}  # dead rows are dropped now and then; the view's live ones decide
        self._expiry = NumberColumn()
        self._expires = False
        self._expiry_lock = threading.Lock()
        self._tracked_count = 0  # rows in these tables
        self._epoch = 0
        self._metadata_index = MetadataIndex(rows.metadata_between, lambda seqs: dict(rows.metadata_of(seqs)))
        self.session_neighbours = SessionNeighbourIndex()
        self.versions = Versions()
        self.view = View((), BitMap(), 0, memory.dim, partial(self._read_vectors, memory.dim, rows.identity))

    # -- opening --------------------------------------------------------------------------------------------------

    def load(self, sealed: Sequence[BuiltSegment] = ()) -> bool:
        """Build the view from the rows and from segments that were sealed of them.

        Returns:
            False, and nothing was built, if the segments do not hold every row up to their last.
        """
        live = BitMap()
        self._scopes, self._expiry, self._tracked_count = {}, NumberColumn(), 0
        for seq, scope, expires_at in self._rows.scopes_since(0):
            self._track(seq, scope, expires_at)
            live.add(seq)
        last_sealed = int(sealed[-1].rows[-1]) if sealed else 0
        covered = BitMap.union(BitMap(), *(bitmap(built.rows) for built in sealed))
        if last_sealed > self._rows.last_seq or not (live & BitMap(range(last_sealed + 1))).issubset(covered):
            return False
        blocks = [built for built in sealed if built.block is not None]
        self._tail = Tail(self._memory, self._buffer_rows)
        waiting = self._rows.vectors_since(0 if blocks else last_sealed)
        while page := list(islice(waiting, _LOAD_ROWS)):
            rows = np.array([seq for seq, _ in page], dtype=np.uint32)
            vectors = self._scaled([vector for _, vector in page], self._memory.dim)
            newer = int(np.searchsorted(rows, last_sealed, side="right"))
            for built in blocks:
                _fill_block(built, rows[:newer], vectors[:newer])
            self._tail.append(rows[newer:], vectors[newer:])
        self._sealed = [built.segment() for built in sealed]
        self.session_neighbours.clear()  # a load that was interrupted is tried again
        for seq, scope, session in self._rows.session_rows():
            self.session_neighbours.append(seq, scope, session)
        self._set_view(live, live.max() if live else last_sealed)
        return True

    def rebuild(self, memory: VectorMemory) -> None:
        """Follow rows that were all given other vectors, perhaps of another length, and some of them deleted.

        Searches go on with the view as it was until the new one is whole.
        """
        tail = Tail(memory, self._buffer_rows)
        live = BitMap()
        waiting = self._rows.vectors_since(0)
        while page := list(islice(waiting, _LOAD_ROWS)):
            rows = np.array([seq for seq, _ in page], dtype=np.uint32)
            tail.append(rows, self._scaled([vector for _, vector in page], memory.dim))
            live.update(rows)
        for seq in self.view.live - live:
            self.session_neighbours.remove(seq)
        self._memory, self._sealed, self._tail = memory, [], tail
        self._set_view(live, self.view.last_row)

    def _scaled(self, stored: Sequence[bytes], dim: int) -> Matrix:
        try:
            vectors = np.frombuffer(b"".join(stored), dtype=np.float32).reshape(len(stored), dim)
            return unit_rows(vectors, field="vectors") if self._unit else vectors
        except ValueError as exc:
            raise CorruptStoreError("a record's vector is damaged", hint="restore a backup") from exc

    def _read_vectors(self, dim: int, identity: str, rows: RowNumbers) -> Matrix:
        """(n, dim) vectors of rows, ascending, as the table has them, scaled as the metric wants.

        Raises:
            _StaleViewError: one of them is gone, or all were given other vectors.
        """
        found = self._rows.vectors(rows.tolist())
        if len(found) < len(rows) or identity != self._rows.identity:
            raise _StaleViewError
        return self._scaled(found, dim) if found else np.empty((0, dim), np.float32)

    # -- following ------------------------------------------------------------------------------------------------

    def apply(self, change: Change, vectors: Sequence[Matrix]) -> None:
        """Follow a committed transaction; `vectors` are those of `change.added`, scaled as the metric wants."""
        start, full = 0, self._tail.full_count
        for block in vectors:
            self._tail.append(change.added[start : start + len(block)], block)
            start += len(block)
        for seq, scope, expires_at in yield_gil(zip(change.added, change.scopes, change.expires_at, strict=True)):
            self._track(seq, scope, expires_at)
        self._update_sessions(change)
        live = self.view.live.copy()
        live.update(change.added)
        live.difference_update(BitMap(change.removed))
        if not self._seals and self._tail.full_count > full:
            self._tail.compact(live)  # else records that are replaced again and again would fill the memory
        crowded = self._tracked_count > 2 * len(live) + _SPARE_ROWS
        self._epoch += crowded  # first: who looks at an older view looks again
        self._set_view(live, max(self.view.last_row, change.added[-1] if change.added else 0))
        if crowded:
            self._drop_dead(live)

    def _drop_dead(self, live: BitMap) -> None:
        with self._expiry_lock:
            self._expiry.retain(live)
            expiring = self._expiry.rows_in_range("$lte", np.inf)
        rows = array_of(expiring)
        scope_of = np.zeros(len(rows), dtype=np.uint32)
        for scope, members in yield_gil(self._scopes.items()):
            members.intersection_update(live)
            if here := members & expiring:
                scope_of[np.searchsorted(rows, array_of(here))] = scope
        self.versions.replace_expiries(self._expiry.with_renumbered_rows(lambda expires: scope_of[np.searchsorted(rows, expires)]))
        self._tracked_count = len(live)

    def _update_sessions(self, change: Change) -> None:
        for seq, scope, session, old in zip(change.added, change.scopes, change.sessions, change.replaces, strict=True):
            if session is not None and old is not None:
                self.session_neighbours.replace(old, seq, scope, session)
            elif session is not None:
                self.session_neighbours.append(seq, scope, session)
        for seq in change.removed:
            self.session_neighbours.remove(seq)  # a replaced one has left already

    def replace(self, parts: Sequence[Segment], new: Segment | None) -> None:
        """Show `new` in place of the segments and the oldest full buffers of the tail that it was built from.

        Nothing happens when one of them is no longer shown: the index was rebuilt meanwhile.
        """
        gone, full = set(parts), self._tail.full
        chunks = sum(segment in gone for segment in full)
        kept = [segment for segment in self._sealed if segment not in gone]
        if len(self._sealed) - len(kept) + chunks < len(gone):
            return
        if new is not None:
            kept.append(new)
        self._sealed = sorted(kept, key=lambda segment: int(segment.rows[0]))
        self._tail.drop(chunks)
        self._set_view(self.view.live, self.view.last_row)

    # -- selecting ------------------------------------------------------------------------------------------------

    def selection(self, view: View, scope: int | None, tree: Filter | None, now: float) -> Selection:
        """The rows of a view that a caller may see, kept for equal searches of the same view."""
        found = view.selections.get(scope, tree, now)
        if found is None:
            until = self._next_expiry(now) if self._expires else np.inf
            rows = self.candidates(view, scope, tree, now)
            found = view.selections.add(scope, tree, rows, since=now, until=until)
        return found

    def candidates(self, view: View, scope: int | None, tree: Filter | None, now: float) -> BitMap:
        """The rows of a view that a caller may see: in its scope, not expired at `now`, matching the filter.

        Raises:
            _StaleViewError: some of the view's rows have gone since, and are not known any more.
        """
        rows = view.live if scope is None else view.live & self._scopes.get(scope, _NO_ROWS)
        if self._expires:
            rows = rows - self.expired(now)  # in place would change the view
        if view.epoch != self._epoch:
            raise _StaleViewError
        if tree is not None:
            rows = self._metadata_index.evaluate(tree, rows, view.last_row)
        return rows

    def is_slow(self, tree: Filter) -> bool:
        """Whether a filter may take longer than other searches and writes should wait for; told at once."""
        return self._metadata_index.is_slow(tree, self.view.live, max(self._rows.last_seq, self.view.last_row))

    def keep_progress(self, tree: Filter) -> AbstractContextManager[None]:
        """Inside, evaluating this filter again looks only at rows that were not looked at before."""
        return self._metadata_index.keep_progress(tree)

    def prepare(self, scope: int | None, tree: Filter) -> None:
        """Do what is slow of a filter; inside `keep_progress`, `candidates` has little left to do then."""
        view = self.view
        with suppress(_StaleViewError):  # what is new since is left to the next look
            self.candidates(view, scope, tree, -np.inf)
        self._metadata_index.drop_dead(view.live, view.last_row)

    def expired(self, now: float) -> BitMap:
        """The rows, live or not, whose time was up at `now`."""
        with self._expiry_lock:
            return self._expiry.rows_in_range("$lte", now)

    def _next_expiry(self, now: float) -> float:
        with self._expiry_lock:
            return self._expiry.next_above(now)

    @property
    def tail(self) -> Tail:
        """The newest rows, not sealed yet."""
        return self._tail

    @property
    def sealed(self) -> list[Segment]:
        """The sealed segments, oldest first."""
        return list(self._sealed)

    def sizes(self) -> list[SegmentSize]:
        """How large the sealed segments are, oldest first."""
        live = self.view.live
        return [SegmentSize(len(segment.rows), segment.live_count(live), segment.rough) for segment in self.sealed]

    def scopes_of(self, rows: BitMap) -> list[int]:
        """The scopes that these rows, live or not, belong to."""
        return [scope for scope, members in self._scopes.items() if members.intersect(rows)]

    def scope_count(self) -> int:
        """How many scopes were ever written to."""
        return len(self._scopes)

    def _track(self, seq: int, scope: int, expires_at: float | None) -> None:
        self._scopes.setdefault(scope, BitMap()).add(seq)
        self._tracked_count += 1
        if expires_at is not None:
            with self._expiry_lock:
                self._expiry.add(expires_at, seq)
            self._expires = True
            self.versions.add_expiry(scope, expires_at)

    def _set_view(self, live: BitMap, last_row: int) -> None:
        dim = self._memory.dim
        fetch = partial(self._read_vectors, dim, self._rows.identity)
        self.view = View((*self._sealed, *self._tail.segments()), live, last_row, dim, fetch, self._epoch)


def _fill_block(built: BuiltSegment, rows: RowNumbers, vectors: Matrix) -> None:
    """Set those of these vectors that belong to the segment."""
    assert built.block is not None
    if not len(rows) or not len(built.rows) or rows[-1] < built.rows[0] or rows[0] > built.rows[-1]:
        return
    places = np.minimum(np.searchsorted(built.rows, rows), len(built.rows) - 1)
    there = built.rows[places] == rows
    built.block.vectors[places[there]] = vectors[there]
