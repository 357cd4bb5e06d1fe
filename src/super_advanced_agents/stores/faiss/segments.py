"""Vectors in memory: a growing exact tail, and segments sealed from it that never change again.

A view is what a search sees: some segments and the set of live rows, swapped as one by the writer after each commit.
The tail's buffers grow only behind what a view shows, so a search needs no lock.
"""

from __future__ import annotations

import mmap
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import faiss
import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from super_advanced_agents.stores.faiss.attributes import array_of
from super_advanced_agents.types import Matrix, Vector

RowNumbers: TypeAlias = NDArray[np.uint32]

GRAPH_LINKS = 32
GRAPH_BUILD_EFFORT = 80
GRAPH_SEARCH_EFFORT = 96
_EXACT_SHARE = 0.1
"""Below this share of a segment's rows, comparing the candidates one by one beats walking the graph past the others."""

_BUILD_STEP = 256
"""Vectors added between two looks at whether to stop: a close waits for one step, about 0.1 s."""

_NO_SCORE = np.float32(-np.inf)


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """Rows that are searched together.

    Attributes:
        rows: (n,) uint32, ascending: the row number of each vector.
        vectors: (n, dim) float32, scaled to length 1 when the metric is the cosine.
        graph: an HNSW index over `vectors`; None where the comparison is exact.
    """

    rows: RowNumbers
    vectors: Matrix
    graph: faiss.IndexHNSWFlat | None = None

    def live_count(self, live: BitMap) -> int:
        """How many of its rows are live."""
        return live.range_cardinality(int(self.rows[0]), int(self.rows[-1]) + 1) if len(self.rows) else 0

    def positions(self, candidates: BitMap) -> NDArray[np.int64] | None:
        """Where in this segment the candidates lie; None when all of it are candidates."""
        if len(self.rows) == 0:
            return np.empty(0, dtype=np.int64)
        first, stop = int(self.rows[0]), int(self.rows[-1]) + 1
        count = candidates.range_cardinality(first, stop)
        if count == len(self.rows):
            return None
        if count == 0:
            return np.empty(0, dtype=np.int64)
        inside = array_of(candidates & BitMap(range(first, stop)))
        return np.searchsorted(self.rows, inside).astype(np.int64)

    def search(self, queries: Matrix, k: int, candidates: BitMap) -> tuple[Matrix, NDArray[np.int64]]:
        """The best k candidates for each of the (m, dim) queries.

        Returns:
            scores (m, k') and row numbers (m, k'), in the order FAISS gives; -inf and -1 where there are fewer.
        """
        positions = self.positions(candidates)
        count = len(self.rows) if positions is None else len(positions)
        k = min(k, count)
        if k == 0:
            return np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
        if self.graph is None or count < _EXACT_SHARE * len(self.rows) or k > count // 2:
            return self._exact(queries, k, positions)
        scores, found = self._by_graph(queries, k, positions)
        # A filtered walk can end early; k candidates exist, so they are owed.
        short = np.flatnonzero((found < 0).any(axis=1))
        if len(short):
            scores[short], found[short] = self._exact(np.ascontiguousarray(queries[short]), k, positions)
        return scores, found

    def _exact(self, queries: Matrix, k: int, positions: NDArray[np.int64] | None) -> tuple[Matrix, NDArray[np.int64]]:
        scores = np.empty((len(queries), k), dtype=np.float32)
        found = np.empty((len(queries), k), dtype=np.int64)
        faiss.knn_inner_product(
            faiss.swig_ptr(queries), faiss.swig_ptr(self.vectors), self.vectors.shape[1], len(queries), len(self.rows),
            k, faiss.swig_ptr(scores), faiss.swig_ptr(found), None if positions is None else _selector(positions),
        )  # fmt: skip
        return self._numbered(scores, found)

    def _by_graph(
        self, queries: Matrix, k: int, positions: NDArray[np.int64] | None
    ) -> tuple[Matrix, NDArray[np.int64]]:
        assert self.graph is not None
        parameters = faiss.SearchParametersHNSW(efSearch=max(GRAPH_SEARCH_EFFORT, 2 * k))
        if positions is not None:
            bits = np.zeros(len(self.rows), dtype=bool)
            bits[positions] = True
            packed = np.packbits(bits, bitorder="little")
            parameters.sel = faiss.IDSelectorBitmap(packed)
        scores, found = self.graph.search(queries, k, params=parameters)
        return self._numbered(scores, found)

    def _numbered(self, scores: Matrix, found: NDArray[np.int64]) -> tuple[Matrix, NDArray[np.int64]]:
        missing = found < 0
        numbers = self.rows[np.maximum(found, 0)].astype(np.int64)
        numbers[missing] = -1
        scores[missing] = _NO_SCORE
        return scores, numbers


def _selector(positions: NDArray[np.int64]) -> faiss.IDSelectorArray:
    # FAISS compares only the listed rows for this kind of selector, instead of asking it about every row.
    return faiss.IDSelectorArray(positions)


def sealed(segments: Sequence[Segment], dim: int, live: BitMap, stop: threading.Event) -> Segment | None:
    """Build one graph segment of the live rows of others, on one core; None when `stop` was set meanwhile."""
    graph = faiss.IndexHNSWFlat(dim, GRAPH_LINKS, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = GRAPH_BUILD_EFFORT
    alive = array_of(live)
    kept = [np.flatnonzero(np.isin(segment.rows, alive)) for segment in segments]
    codes = faiss.downcast_index(graph.storage).codes
    codes.resize(sum(map(len, kept)) * dim * 4)  # room for all at once: growing by doubling took up to three times that
    codes.resize(0)
    for segment, positions in zip(segments, kept, strict=True):
        for start in range(0, len(positions), _BUILD_STEP):
            if stop.is_set():
                return None
            graph.add(segment.vectors[positions[start : start + _BUILD_STEP]])
    rows = np.concatenate([segment.rows[positions] for segment, positions in zip(segments, kept, strict=True)])
    return graph_segment(rows, graph)


def graph_segment(rows: RowNumbers, graph: faiss.IndexHNSWFlat) -> Segment:
    """A segment whose vectors are the graph's own storage, so that memory holds them once."""
    if graph.ntotal == 0:
        return Segment(rows, np.empty((0, graph.d), dtype=np.float32), graph)
    storage = faiss.downcast_index(graph.storage)
    vectors = faiss.rev_swig_ptr(storage.get_xb(), graph.ntotal * graph.d).reshape(graph.ntotal, graph.d)
    return Segment(rows, vectors, graph)


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """What a search sees, swapped as one.

    Attributes:
        segments: sealed ones, full tail buffers, then the growing one.
        live: the rows that exist. Treated as frozen.
        last_row: the newest row number that may be in `live`.
    """

    segments: tuple[Segment, ...]
    live: BitMap
    last_row: int

    def search(self, queries: Matrix, k: int, candidates: BitMap) -> tuple[Matrix, NDArray[np.int64]]:
        """The best k of `candidates` (live rows) for each query, best first; equal scores in row order.

        Returns:
            scores (m, k') float32 and row numbers (m, k'); -inf and -1 past the end.
        """
        parts = [segment.search(queries, k, candidates) for segment in self.segments]
        if not parts:
            return np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
        scores = np.concatenate([part[0] for part in parts], axis=1)
        rows = np.concatenate([part[1] for part in parts], axis=1)
        order = np.lexsort((rows, -scores), axis=1)[:, :k]
        return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)

    def likeness(self, query: Vector, rows: RowNumbers) -> NDArray[np.float32]:
        """The dot product of the (dim,) query with each of these rows, ascending; 0 for rows not in the view."""
        scores = np.zeros(len(rows), dtype=np.float32)
        for segment in self.segments:
            start, stop = np.searchsorted(rows, (segment.rows[0], segment.rows[-1] + 1))
            if start < stop:
                places = np.searchsorted(segment.rows, rows[start:stop])
                there = segment.rows[places] == rows[start:stop]
                scores[start:stop][there] = segment.vectors[places[there]] @ query
        return scores

    def ranking(self, queries: Matrix, candidates: BitMap) -> tuple[Matrix, NDArray[np.int64]]:
        """All candidates, best first, for the one query in (1, dim): scores (n,) and row numbers (n,)."""
        parts = []
        for segment in self.segments:
            positions = segment.positions(candidates)
            vectors = segment.vectors if positions is None else segment.vectors[positions]
            rows = segment.rows if positions is None else segment.rows[positions]
            parts.append((vectors @ queries[0], rows.astype(np.int64)))
        scores = np.concatenate([part[0] for part in parts]) if parts else np.empty(0, np.float32)
        numbers = np.concatenate([part[1] for part in parts]) if parts else np.empty(0, np.int64)
        order = np.lexsort((numbers, -scores))
        return scores[order], numbers[order]


class Tail:
    """The newest rows, exact, in buffers that are filled once and never copied; grown by the writer thread alone."""

    def __init__(self, dim: int, buffer_rows: int) -> None:
        self._dim = dim
        self._buffer_rows = buffer_rows
        self._full: list[Segment] = []
        self._new_chunk()

    def __len__(self) -> int:
        return sum(len(segment.rows) for segment in self._full) + self._size

    def _new_chunk(self) -> None:
        self._rows = np.empty(self._buffer_rows, dtype=np.uint32)
        # Mapped, so that it goes back to the system when a graph has taken its place; malloc keeps blocks of this size.
        memory = mmap.mmap(-1, self._buffer_rows * self._dim * 4, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._vectors = np.frombuffer(memory, dtype=np.float32).reshape(self._buffer_rows, self._dim)
        self._size = 0

    def append(self, rows: Sequence[int] | RowNumbers, vectors: Matrix) -> None:
        """Add vectors behind what any view shows; `rows` ascend beyond every row here."""
        start = 0
        while start < len(rows):
            step = min(self._buffer_rows - self._size, len(rows) - start)
            self._rows[self._size : self._size + step] = rows[start : start + step]
            self._vectors[self._size : self._size + step] = vectors[start : start + step]
            self._size += step
            start += step
            if self._size == self._buffer_rows:
                self._full.append(Segment(self._rows, self._vectors))
                self._new_chunk()

    @property
    def full(self) -> list[Segment]:
        """The filled buffers, oldest first: what can be sealed."""
        return list(self._full)

    @property
    def full_count(self) -> int:
        """How many buffers are filled."""
        return len(self._full)

    def shed(self, live: BitMap) -> None:
        """Give up full buffers of which less than half is live; what is live in them moves into smaller ones."""
        full: list[Segment] = []
        for segment in self._full:
            count = segment.live_count(live)
            if 2 * count > len(segment.rows):
                full.append(segment)
            elif count:
                kept = segment.positions(live)
                rows, vectors = segment.rows[kept], segment.vectors[kept]
                if full and len(full[-1].rows) + count <= self._buffer_rows:
                    before = full.pop()
                    rows = np.concatenate([before.rows, rows])
                    vectors = np.concatenate([before.vectors, vectors])
                full.append(Segment(rows, vectors))
        self._full = full

    def drop(self, count: int) -> None:
        """Forget the oldest `count` filled buffers; a segment has them now."""
        del self._full[:count]

    def segments(self) -> list[Segment]:
        """Everything here, as segments for a view."""
        growing = Segment(self._rows[: self._size], self._vectors[: self._size])
        return [*self._full, growing] if self._size else list(self._full)
