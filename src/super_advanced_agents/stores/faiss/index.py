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

from super_advanced_agents.stores.faiss.attributes import Attributes, NumberColumn
from super_advanced_agents.stores.faiss.rows import Change, Rows
from super_advanced_agents.stores.faiss.segments import Segment, Tail, View
from super_advanced_agents.stores.filters import Filter
from super_advanced_agents.types import Matrix

_LOAD_ROWS = 2_000
_NOBODY = BitMap()


class Index:
    """The view of a store's rows, the rows of each scope, and when rows expire."""

    def __init__(self, rows: Rows, dim: int, *, unit: bool) -> None:
        self._rows = rows
        self._dim = dim
        self._unit = unit
        self._sealed: list[Segment] = []
        self._tail = Tail(dim)
        self._scopes: dict[int, BitMap] = {}  # rows are only ever added here; the view's live rows decide what counts
        self._expiry = NumberColumn()
        self._expires = False
        self._expiry_lock = threading.Lock()
        self._attributes = Attributes(
            rows.metadata_between, lambda seqs: {seq: hit.metadata() for seq, hit in rows.hits(seqs).items()}
        )
        self.view = View((), BitMap(), 0)

    def load(self, sealed: Sequence[Segment] = (), last_sealed: int = 0) -> None:
        """Build the view from the rows and the segments that were sealed from rows up to `last_sealed`."""
        live = BitMap()
        for seq, scope, expires_at in self._rows.scopes_since(0):
            self._note(seq, scope, expires_at)
            live.add(seq)
        self._sealed = list(sealed)
        waiting = self._rows.vectors_since(last_sealed)
        while page := list(islice(waiting, _LOAD_ROWS)):
            vectors = np.frombuffer(b"".join(vector for _, vector in page), dtype=np.float32)
            vectors = vectors.reshape(len(page), self._dim)
            if self._unit:
                norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
                vectors = (vectors / norms[:, None]).astype(np.float32, copy=False)
            self._tail.append([seq for seq, _ in page], vectors)
        self._show(live, live.max() if live else last_sealed)

    def apply(self, change: Change, vectors: Sequence[Matrix]) -> None:
        """Follow a committed transaction; `vectors` are those of `change.added`, scaled as the metric wants."""
        start = 0
        for block in vectors:
            self._tail.append(change.added[start : start + len(block)], block)
            start += len(block)
        for seq, scope, expires_at in zip(change.added, change.scopes, change.expires_at, strict=True):
            self._note(seq, scope, expires_at)
        live = self.view.live.copy()
        live.update(change.added)
        live.difference_update(BitMap(change.removed))
        self._show(live, max(self.view.last_row, change.added[-1] if change.added else 0))

    def replace(self, chunks: int, segment: Segment) -> None:
        """Show `segment` in place of the oldest `chunks` full buffers of the tail, which it was sealed from."""
        self._sealed.append(segment)
        self._tail.drop(chunks)
        self._show(self.view.live, self.view.last_row)

    def candidates(self, view: View, scope: int | None, tree: Filter | None, now: float) -> BitMap:
        """The rows of a view that a caller may see: in its scope, not expired at `now`, matching the filter."""
        rows = view.live if scope is None else view.live & self._scopes.get(scope, _NOBODY)
        if self._expires:
            with self._expiry_lock:
                rows = rows - self._expiry.range("$lte", now)  # in place would change the view
        if tree is not None:
            rows = self._attributes.evaluate(tree, rows, view.last_row)
        return rows

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
