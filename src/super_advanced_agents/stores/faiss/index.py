"""Everything in memory that is derived from rows: what a search sees, and who may see it.

The writer thread alone changes it, after each commit (`apply`) and when a segment was sealed (`replace`); any thread
reads it.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from itertools import islice

import numpy as np
from pyroaring import BitMap

from super_advanced_agents.errors import CorruptStoreError
from super_advanced_agents.stores.faiss.attributes import Attributes, NumberColumn, bitmap
from super_advanced_agents.stores.faiss.links import Links
from super_advanced_agents.stores.faiss.rows import Change, Rows
from super_advanced_agents.stores.faiss.segments import Segment, Tail, View
from super_advanced_agents.stores.filters import Filter
from super_advanced_agents.stores.validation import unit_rows
from super_advanced_agents.types import Matrix

_LOAD_ROWS = 2_000
_NOBODY = BitMap()


class Index:
    """The view of a store's rows, the rows of each scope, and when rows expire."""

    def __init__(self, rows: Rows, dim: int, *, unit: bool, buffer_rows: int, seals: bool) -> None:
        self._rows = rows
        self._dim = dim
        self._unit = unit
        self._sealed: list[Segment] = []
        self._buffer_rows = buffer_rows
        self._seals = seals
        self._tail = Tail(dim, buffer_rows)
        self._scopes: dict[int, BitMap] = {}  # rows are only ever added here; the view's live rows decide what counts
        self._expiry = NumberColumn()
        self._expires = False
        self._expiry_lock = threading.Lock()
        self._attributes = Attributes(
            rows.metadata_between, lambda seqs: {seq: hit.metadata() for seq, hit in rows.hits(seqs).items()}
        )
        self.links = Links()
        self.view = View((), BitMap(), 0)

    def load(self, sealed: Sequence[Segment] = (), last_sealed: int = 0) -> bool:
        """Build the view from the rows and the segments that were sealed from rows up to `last_sealed`.

        Returns:
            False, and nothing was built, if the segments cannot have been sealed from these rows.
        """
        live = BitMap()
        for seq, scope, expires_at in self._rows.scopes_since(0):
            self._note(seq, scope, expires_at)
            live.add(seq)
        if not self._fits(sealed, last_sealed, live):
            return False
        self._sealed, self._tail = list(sealed), Tail(self._dim, self._buffer_rows)
        waiting = self._rows.vectors_since(last_sealed)
        while page := list(islice(waiting, _LOAD_ROWS)):
            self._tail.append([seq for seq, _ in page], self._scaled([vector for _, vector in page]))
        for seq, scope, session in list(self._rows.in_sessions()):  # all or none: a load that failed is tried again
            self.links.append(seq, scope, session)
        self._show(live, live.max() if live else last_sealed)
        return True

    def _fits(self, sealed: Sequence[Segment], last_sealed: int, live: BitMap) -> bool:
        """Whether segments cover every live row up to `last_sealed`, with the vectors that the table has.

        A backup of the table put back under newer segments, or an `index` folder of another day, does not: their
        histories part at some row, from which on every vector differs, so the newest one tells.
        """
        if not sealed:
            return last_sealed == 0
        covered = BitMap.union(BitMap(), *(bitmap(segment.rows) for segment in sealed))
        below = live & BitMap(range(last_sealed + 1))
        if last_sealed > self._rows.last_seq or not below.issubset(covered):
            return False
        if not below:
            return True
        newest = below.max()
        _, stored = next(self._rows.vectors_since(newest - 1))
        return any(
            np.allclose(segment.vectors[segment.rows == newest], self._scaled([stored]), atol=1e-6)
            for segment in sealed
            if newest in segment.rows
        )

    def _scaled(self, stored: Sequence[bytes]) -> Matrix:
        try:
            vectors = np.frombuffer(b"".join(stored), dtype=np.float32).reshape(len(stored), self._dim)
            return unit_rows(vectors, field="vectors") if self._unit else vectors
        except ValueError as exc:
            raise CorruptStoreError("a record's vector is damaged", hint="restore a backup") from exc

    def apply(self, change: Change, vectors: Sequence[Matrix]) -> None:
        """Follow a committed transaction; `vectors` are those of `change.added`, scaled as the metric wants."""
        start, full = 0, self._tail.full_count
        for block in vectors:
            self._tail.append(change.added[start : start + len(block)], block)
            start += len(block)
        for seq, scope, expires_at in zip(change.added, change.scopes, change.expires_at, strict=True):
            self._note(seq, scope, expires_at)
        self._link(change)
        live = self.view.live.copy()
        live.update(change.added)
        live.difference_update(BitMap(change.removed))
        if not self._seals and self._tail.full_count > full:
            self._tail.shed(live)  # else records that are replaced again and again would fill the memory
        self._show(live, max(self.view.last_row, change.added[-1] if change.added else 0))

    def _link(self, change: Change) -> None:
        for seq, scope, session, old in zip(change.added, change.scopes, change.sessions, change.replaces, strict=True):
            if session is not None and old is not None:
                self.links.replace(old, seq, scope, session)
            elif session is not None:
                self.links.append(seq, scope, session)
        for seq in change.removed:
            self.links.remove(seq)  # a replaced one has left already

    def replace(self, chunks: int, segment: Segment) -> None:
        """Show `segment` in place of the oldest `chunks` full buffers of the tail, which it was sealed from."""
        self._sealed = [old for old in self._sealed if old.live_count(self.view.live)] + [segment]
        self._tail.drop(chunks)
        self._show(self.view.live, self.view.last_row)

    def candidates(self, view: View, scope: int | None, tree: Filter | None, now: float) -> BitMap:
        """The rows of a view that a caller may see: in its scope, not expired at `now`, matching the filter."""
        rows = view.live if scope is None else view.live & self._scopes.get(scope, _NOBODY)
        if self._expires:
            rows = rows - self.expired(now)  # in place would change the view
        if tree is not None:
            rows = self._attributes.evaluate(tree, rows, view.last_row)
        return rows

    def expired(self, now: float) -> BitMap:
        """The rows, live or not, whose time was up at `now`."""
        with self._expiry_lock:
            return self._expiry.range("$lte", now)

    @property
    def tail(self) -> Tail:
        """The newest rows, not sealed yet."""
        return self._tail

    @property
    def sealed(self) -> list[Segment]:
        """The sealed segments, oldest first."""
        return list(self._sealed)

    def scope_count(self) -> int:
        """How many scopes were ever written to."""
        return len(self._scopes)

    def _note(self, seq: int, scope: int, expires_at: float | None) -> None:
        self._scopes.setdefault(scope, BitMap()).add(seq)
        if expires_at is not None:
            with self._expiry_lock:
                self._expiry.add(expires_at, seq)
            self._expires = True

    def _show(self, live: BitMap, last_row: int) -> None:
        self.view = View((*self._sealed, *self._tail.segments()), live, last_row)
