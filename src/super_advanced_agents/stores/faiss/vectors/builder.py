"""Building: some segments become one, with a graph, an inverted file or plain codes over all of their rows.

A graph's links are found on 8-bit codes and searched on the vectors themselves: that takes two thirds of the time, and
recall is the same (40,000 x 384: 0.990 against 0.986). Links are all that a graph adds to memory, and rows are not
linked anew when a segment grows: a copy of the largest part's links takes in the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pyroaring import BitMap

from super_advanced_agents.stores.faiss.vectors.arena import Block, VectorMemory
from super_advanced_agents.stores.faiss.vectors.segment import RowNumbers, Segment
from super_advanced_agents.stores.options import IndexKind, Storage
from super_advanced_agents.types import Matrix

if TYPE_CHECKING:
    import faiss

HNSW_M = 32
HNSW_EF_CONSTRUCTION = 80
DEAD_SHARE = 0.25
"""Beyond this share of dead rows a segment is built anew from the live ones."""

_STEP = 256
"""Vectors linked between two looks at whether to stop: a close waits for one step, about 0.1 s."""
_PAGE = 4_096
_RUN = 64
_TRAINED_ON = 20_000
_TRAINED_ON_PER_LIST = 32
_ROUNDS = 8
_SAME_SHARE = 0.02
"""A graph cannot be walked out of many equal vectors; with more of them than this a segment is compared exactly."""


class _StoppedError(Exception):
    """Told to stop; only ever caught in this module."""


class _Parts:
    """Segments, neighbours, on their way to become one: their rows one after the other, without those left out."""

    def __init__(self, segments: Sequence[Segment], live: BitMap) -> None:
        total = sum(len(segment.rows) for segment in segments)
        alive = sum(segment.live_count(live) for segment in segments)
        crowded = total - alive > DEAD_SHARE * total
        self.segments = segments
        self.kept = [segment.positions(live) if crowded else None for segment in segments]
        self.rows: RowNumbers = np.concatenate(
            [s.rows if kept is None else s.rows[kept] for s, kept in zip(segments, self.kept, strict=True)]
        )
        counts = [len(s.rows) if kept is None else len(kept) for s, kept in zip(segments, self.kept, strict=True)]
        self._starts = np.concatenate([[0], np.cumsum(counts)])

    def __len__(self) -> int:
        return len(self.rows)

    def vectors(self, start: int, stop: int) -> Matrix:
        """(stop - start, dim) float32."""
        found = []
        for segment, kept, first, end in zip(
            self.segments, self.kept, self._starts[:-1], self._starts[1:], strict=True
        ):
            begin, until = max(start, int(first)) - int(first), min(stop, int(end)) - int(first)
            if begin < until:
                chosen = np.arange(begin, until) if kept is None else kept[begin:until]
                found.append(segment.vectors_at(chosen))
        return np.ascontiguousarray(np.concatenate(found))

    def sample(self, n: int) -> Matrix:
        """About `n` vectors from all over, in runs."""
        if n >= len(self):
            return self.vectors(0, len(self))
        step = len(self) * _RUN // n
        return np.concatenate([self.vectors(i, min(i + _RUN, len(self))) for i in range(0, len(self), step)])


@dataclass(slots=True, eq=False)
class BuiltSegment:
    """A segment to be; until `segment()` is asked for, `index` holds codes of all its vectors, fit for a file.

    Attributes:
        rows: (n,) the row numbers.
        index: what was built; None where the vectors are compared one by one.
        block: the vectors, where searches are to read them instead of the codes.
        lossy: whether `index` holds shortened vectors only.
        rough: whether it was made in haste; it is not worth a file.
    """

    rows: RowNumbers
    index: faiss.Index | None
    block: Block | None = None
    lossy: bool = False
    rough: bool = False

    def segment(self) -> Segment:
        """Done: a graph over a block lets go of its codes."""
        if self.index is None or self.block is None or self.rough:
            return Segment(self.rows, self.block, self.index, lossy=self.lossy, rough=self.rough)
        codes, storage = self.index.storage, _borrowed(self.block.vectors)
        self.index.storage = storage
        if self.index.own_fields:
            codes.thisown = True  # freed here now, and no longer with the graph
            self.index.own_fields = False
        return Segment(self.rows, self.block, self.index, storage=storage)


class Builder:
    """Makes segments of one kind and storage; used by one thread at a time."""

    def __init__(self, kind: IndexKind, storage: Storage, memory: VectorMemory) -> None:
        self._dim = memory.dim
        self._kind = kind
        self._storage = storage
        self._memory = memory

    def for_memory(self, memory: VectorMemory) -> Builder:
        """The same, for vectors of another length."""
        return Builder(self._kind, self._storage, memory)

    @property
    def keeps_vectors(self) -> bool:
        """Whether segments are searched on the vectors themselves, in blocks."""
        return self._storage == "fp32" and self._kind != "ivf"

    def built(self, segments: Sequence[Segment], live: BitMap, stop: Callable[[], bool]) -> BuiltSegment | None:
        """One segment of the rows of others, neighbours, on one core; None when told to stop meanwhile.

        Rows that have died stay in while they are few: a graph is walked through them.
        """
        parts = _Parts(segments, live)
        try:
            match self._kind:
                case "ivf":
                    return self._inverted(parts, stop)
                case "flat":
                    return self._codes(parts, stop)
                case _:
                    return self._graph(parts, stop)
        except _StoppedError:
            return None

    def roughly(self, segments: Sequence[Segment], live: BitMap) -> BuiltSegment:
        """The same in a tenth of the time: an inverted file of short codes, beside the vectors.

        49,000 x 384 are sealed so in 1 s, and searched 8 times as fast as one by one.
        """
        parts = _Parts(segments, live)
        block = self._block(parts)
        lists = max(1, min(len(parts) // 39, int(len(parts) ** 0.5)))
        index = self._empty_file(lists, _code("sq8"))
        index.cp.niter = _ROUNDS // 2
        index.train(parts.sample(_TRAINED_ON_PER_LIST * lists))
        _add(index, parts, lambda: False)
        return BuiltSegment(parts.rows, index, block, rough=True)

    def restored(self, rows: RowNumbers, index: faiss.Index | None) -> BuiltSegment:
        """What was written to disk. Where vectors are kept, the codes stand in for those that are not set."""
        if not self.keeps_vectors:
            return BuiltSegment(rows, index, lossy=self._storage != "fp32")
        block = self._memory.allocate(len(rows))
        if index is not None:
            for start in range(0, len(rows), _PAGE):
                n = min(_PAGE, len(rows) - start)
                block.vectors[start : start + n] = index.storage.reconstruct_n(start, n)
        return BuiltSegment(rows, index, block)

    # -- graphs ---------------------------------------------------------------------------------------------------

    def _graph(self, parts: _Parts, stop: Callable[[], bool]) -> BuiltSegment:
        import faiss

        block = self._block(parts) if self.keeps_vectors else None
        if _many_equal(parts):
            return self._codes(parts, stop) if block is None else BuiltSegment(parts.rows, None, block)
        graph = faiss.IndexHNSWSQ(self._dim, _code(self._storage), HNSW_M, faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efConstruction = HNSW_EF_CONSTRUCTION
        first = parts.segments[0]
        if isinstance(first.index, faiss.IndexHNSW) and parts.kept[0] is None:
            _take_over(graph, first)
        else:
            graph.train(parts.sample(_TRAINED_ON))
        _add(graph, parts, stop)
        return BuiltSegment(parts.rows, graph, block, lossy=block is None)

    def _block(self, parts: _Parts) -> Block:
        """The vectors of all parts, in place where they lie one behind the other, else copied together."""
        blocks = [segment.own_block for segment in parts.segments]
        if all(kept is None for kept in parts.kept):
            together = Block.joined([block for block in blocks if block is not None])
            if together is not None and len(together.vectors) == len(parts):
                return together
        block = self._memory.allocate(len(parts))
        for start in range(0, len(parts), _PAGE):
            page = parts.vectors(start, min(start + _PAGE, len(parts)))
            block.vectors[start : start + len(page)] = page
        return block

    # -- inverted files and codes ---------------------------------------------------------------------------------

    def _inverted(self, parts: _Parts, stop: Callable[[], bool]) -> BuiltSegment:
        lists = max(1, min(len(parts) // 39, int(2 * len(parts) ** 0.5)))
        index = self._empty_file(lists, None if self._storage == "fp32" else _code(self._storage))
        index.train(parts.sample(max(_TRAINED_ON, _TRAINED_ON_PER_LIST * lists)))
        index.make_direct_map(True)
        _add(index, parts, stop)
        return BuiltSegment(parts.rows, index, lossy=self._storage != "fp32")

    def _empty_file(self, lists: int, code: int | None) -> faiss.IndexIVF:
        """An inverted file to train and fill; of whole vectors when there is no code."""
        import faiss

        around = faiss.IndexFlatIP(self._dim)
        if code is None:
            index = faiss.IndexIVFFlat(around, self._dim, lists, faiss.METRIC_INNER_PRODUCT)
        else:
            index = faiss.IndexIVFScalarQuantizer(around, self._dim, lists, code, faiss.METRIC_INNER_PRODUCT, False)
        around.this.disown()
        index.own_fields = True
        index.cp.niter, index.cp.seed, index.cp.min_points_per_centroid = _ROUNDS, 1, 1
        return index

    def _codes(self, parts: _Parts, stop: Callable[[], bool]) -> BuiltSegment:
        import faiss

        index = faiss.IndexScalarQuantizer(self._dim, _code(self._storage), faiss.METRIC_INNER_PRODUCT)
        index.train(parts.sample(_TRAINED_ON))
        _add(index, parts, stop)
        return BuiltSegment(parts.rows, index, lossy=True)


def _code(storage: Storage) -> int:
    """The kind of numbers that FAISS keeps; for whole vectors, what a graph over them is built on."""
    import faiss

    return int(faiss.ScalarQuantizer.QT_fp16 if storage == "fp16" else faiss.ScalarQuantizer.QT_8bit)


def _take_over(graph: faiss.IndexHNSWSQ, first: Segment) -> None:
    """Begin a graph with the rows and links of a segment."""
    import faiss

    assert first.index is not None
    codes = faiss.downcast_index(graph.storage)
    if first.block is None:
        held = faiss.downcast_index(first.index.storage)
        codes.sq.trained = held.sq.trained
        codes.is_trained = graph.is_trained = True
        codes.add_sa_codes(faiss.vector_to_array(held.codes).reshape(held.ntotal, -1))
    else:
        vectors = first.vectors_at(None)
        graph.train(vectors[:: max(1, len(vectors) // _TRAINED_ON)])
        for start in range(0, len(vectors), _PAGE):
            codes.add_sa_codes(codes.sa_encode(vectors[start : start + _PAGE]))
    graph.hnsw = first.index.hnsw
    graph.hnsw.efConstruction = HNSW_EF_CONSTRUCTION
    graph.ntotal = codes.ntotal


def _add(index: faiss.Index, parts: _Parts, stop: Callable[[], bool]) -> None:
    """Add what is not in yet, stopping soon when told to."""
    import faiss

    step = _STEP if isinstance(index, faiss.IndexHNSW) else _PAGE
    for start in range(index.ntotal, len(parts), step):
        if stop():
            raise _StoppedError
        index.add(parts.vectors(start, min(start + step, len(parts))))


def _borrowed(vectors: Matrix) -> faiss.IndexFlatIP:
    """An index that reads these vectors where they are; they must outlive it."""
    import faiss

    storage = faiss.IndexFlatIP(vectors.shape[1])
    data = faiss.swig_ptr(vectors.reshape(-1).view(np.uint8))
    codes = storage.codes
    codes.is_owned = False
    codes.view_data = codes.c_ptr = data
    codes.view_size = codes.c_size = vectors.nbytes
    storage.ntotal = len(vectors)
    return storage


def _many_equal(parts: _Parts) -> bool:
    """Whether more than a few vectors are there twice."""
    dim = parts.vectors(0, 1).shape[1]
    numbers = np.random.default_rng(0).integers(1, 2**63, dim, dtype=np.uint64) | np.uint64(1)
    sums = np.empty(len(parts), dtype=np.uint64)
    for start in range(0, len(parts), _PAGE):
        page = parts.vectors(start, min(start + _PAGE, len(parts))).view(np.uint32)
        sums[start : start + len(page)] = page.astype(np.uint64) @ numbers
    return len(np.unique(sums)) < (1 - _SAME_SHARE) * len(sums)
