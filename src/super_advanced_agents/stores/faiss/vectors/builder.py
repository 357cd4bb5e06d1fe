"""Builder of segments, with an HNSW graph, an inverted file or flat codes.

It merges the rows of adjacent segments into one. A graph is built on 8-bit codes and searched on the vectors
themselves: that takes two thirds of the time, and recall is the same (40,000 x 384: 0.990 against 0.986). Its links are
all that a graph adds to memory. When a segment grows, its rows are not linked again: the rows of the other parts are
added to a copy of the largest part's graph.
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
"""A segment with a larger share of dead rows is rebuilt from the live ones."""

_GRAPH_STEP = 256
"""Vectors added to a graph between two checks for a stop; one step takes about 0.1 s."""
_PAGE_ROWS = 4_096
_SAMPLE_RUN_ROWS = 64
_TRAINING_ROWS = 20_000
_TRAINING_ROWS_PER_LIST = 32
_KMEANS_ITERATIONS = 8
_MAX_EQUAL_SHARE = 0.02
"""A segment with a larger share of equal vectors is compared exactly.

A graph search cannot leave a group of equal vectors.
"""


class _StoppedError(Exception):
    """Signal that the caller stopped a build. Only this module catches it."""


class _Parts:
    """Hold the rows of adjacent segments to be merged, as one sequence.

    Attributes:
        positions: of each segment, the offsets of its live rows; None when dead rows stay, because they are few.
    """

    def __init__(self, segments: Sequence[Segment], live: BitMap) -> None:
        total = sum(len(segment.rows) for segment in segments)
        alive = sum(segment.live_count(live) for segment in segments)
        drops_dead = total - alive > DEAD_SHARE * total
        self.segments = segments
        self.positions = [segment.positions(live) if drops_dead else None for segment in segments]
        self.rows: RowNumbers = np.concatenate(
            [s.rows if chosen is None else s.rows[chosen] for s, chosen in zip(segments, self.positions, strict=True)]
        )
        counts = [
            len(s.rows) if chosen is None else len(chosen) for s, chosen in zip(segments, self.positions, strict=True)
        ]
        self._starts = np.concatenate([[0], np.cumsum(counts)])

    def __len__(self) -> int:
        return len(self.rows)

    def vectors(self, start: int, stop: int) -> Matrix:
        """Return the (stop - start, dim) float32 vectors of rows [start, stop)."""
        pieces = []
        for segment, chosen, first, end in zip(
            self.segments, self.positions, self._starts[:-1], self._starts[1:], strict=True
        ):
            begin, until = max(start, int(first)) - int(first), min(stop, int(end)) - int(first)
            if begin < until:
                positions = np.arange(begin, until) if chosen is None else chosen[begin:until]
                pieces.append(segment.vectors_at(positions))
        return np.ascontiguousarray(np.concatenate(pieces))

    def sample(self, n: int) -> Matrix:
        """Return about `n` vectors for training, in runs that are spread evenly over all rows."""
        if n >= len(self):
            return self.vectors(0, len(self))
        step = len(self) * _SAMPLE_RUN_ROWS // n
        starts = range(0, len(self), step)
        return np.concatenate([self.vectors(i, min(i + _SAMPLE_RUN_ROWS, len(self))) for i in starts])


@dataclass(slots=True, eq=False)
class BuiltSegment:
    """Hold a new segment whose FAISS index can still be written to a file.

    Attributes:
        rows: (n,) uint32 row numbers.
        index: the FAISS index that was built; None where the vectors are compared one by one.
        block: the vectors, where searches read them instead of the codes.
        lossy: whether `index` holds quantized vectors only.
        rough: whether `index` is a quickly built inverted file, which is not written to a file.
    """

    rows: RowNumbers
    index: faiss.Index | None
    block: Block | None = None
    lossy: bool = False
    rough: bool = False

    def segment(self) -> Segment:
        """Return the finished segment, for searches.

        A graph over a block frees its codes and reads the vectors of the block from now on.
        """
        if self.index is None or self.block is None or self.rough:
            return Segment(self.rows, self.block, self.index, lossy=self.lossy, rough=self.rough)
        codes, storage = self.index.storage, _flat_index_over(self.block.vectors)
        self.index.storage = storage
        if self.index.own_fields:
            codes.thisown = True  # Python frees the codes, no longer the graph
            self.index.own_fields = False
        return Segment(self.rows, self.block, self.index, storage=storage)


class Builder:
    """Build segments of one index kind and vector format. Not thread-safe."""

    def __init__(self, kind: IndexKind, storage: Storage, memory: VectorMemory) -> None:
        self._dim = memory.dim
        self._kind = kind
        self._storage = storage
        self._memory = memory

    def with_memory(self, memory: VectorMemory) -> Builder:
        """Return a builder with the same settings that allocates vectors in other memory."""
        return Builder(self._kind, self._storage, memory)

    @property
    def keeps_vectors(self) -> bool:
        """True if segments keep float32 vectors in blocks, outside of the FAISS index."""
        return self._storage == "fp32" and self._kind != "ivf"

    def build(self, segments: Sequence[Segment], live: BitMap, should_stop: Callable[[], bool]) -> BuiltSegment | None:
        """Merge the rows of adjacent segments into one segment, on one core.

        Dead rows stay while they are few: graph searches pass through them.

        Args:
            segments: the parts, oldest first.
            live: the rows that exist.
            should_stop: called every 0.1 s or so; True stops the work.

        Returns:
            The segment; None when the work was stopped.
        """
        parts = _Parts(segments, live)
        try:
            match self._kind:
                case "ivf":
                    return self._build_ivf(parts, should_stop)
                case "flat":
                    return self._build_codes(parts, should_stop)
                case _:
                    return self._build_graph(parts, should_stop)
        except _StoppedError:
            return None

    def build_rough(self, segments: Sequence[Segment], live: BitMap) -> BuiltSegment:
        """Merge adjacent segments into one with an inverted file, 10 times faster than a graph.

        Such a segment is called rough.

        Its index is an inverted file of 8-bit codes beside the vectors. 49,000 x 384 take 1 s, and are searched 8 times
        as fast as one by one.
        """
        parts = _Parts(segments, live)
        block = self._merge_blocks(parts)
        lists = max(1, min(len(parts) // 39, int(len(parts) ** 0.5)))
        index = self._empty_ivf(lists, _quantizer_type("sq8"))
        index.cp.niter = _KMEANS_ITERATIONS // 2
        index.train(parts.sample(_TRAINING_ROWS_PER_LIST * lists))
        _add_missing(index, parts, lambda: False)
        return BuiltSegment(parts.rows, index, block, rough=True)

    def restore(self, rows: RowNumbers, index: faiss.Index | None) -> BuiltSegment:
        """Return a segment from row numbers and an index that were read from files.

        Its block, where it has one, holds the decoded codes until the caller sets the vectors from the table; the codes
        stay for rows that have been deleted.
        """
        if not self.keeps_vectors:
            return BuiltSegment(rows, index, lossy=self._storage != "fp32")
        block = self._memory.allocate(len(rows))
        if index is not None:
            for start in range(0, len(rows), _PAGE_ROWS):
                n = min(_PAGE_ROWS, len(rows) - start)
                block.vectors[start : start + n] = index.storage.reconstruct_n(start, n)
        return BuiltSegment(rows, index, block)

    # -- graphs ---------------------------------------------------------------------------------------------------

    def _build_graph(self, parts: _Parts, should_stop: Callable[[], bool]) -> BuiltSegment:
        import faiss

        block = self._merge_blocks(parts) if self.keeps_vectors else None
        if _has_many_equal(parts):
            return self._build_codes(parts, should_stop) if block is None else BuiltSegment(parts.rows, None, block)
        graph = faiss.IndexHNSWSQ(self._dim, _quantizer_type(self._storage), HNSW_M, faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efConstruction = HNSW_EF_CONSTRUCTION
        first = parts.segments[0]
        if isinstance(first.index, faiss.IndexHNSW) and parts.positions[0] is None:
            _copy_graph(graph, first)
        else:
            graph.train(parts.sample(_TRAINING_ROWS))
        _add_missing(graph, parts, should_stop)
        return BuiltSegment(parts.rows, graph, block, lossy=block is None)

    def _merge_blocks(self, parts: _Parts) -> Block:
        """Return the vectors of all parts as one block, copied unless adjacent in memory."""
        blocks = [segment.own_block for segment in parts.segments]
        if all(chosen is None for chosen in parts.positions):
            joined = Block.join([block for block in blocks if block is not None])
            if joined is not None and len(joined.vectors) == len(parts):
                return joined
        block = self._memory.allocate(len(parts))
        for start in range(0, len(parts), _PAGE_ROWS):
            page = parts.vectors(start, min(start + _PAGE_ROWS, len(parts)))
            block.vectors[start : start + len(page)] = page
        return block

    # -- inverted files and codes ---------------------------------------------------------------------------------

    def _build_ivf(self, parts: _Parts, should_stop: Callable[[], bool]) -> BuiltSegment:
        lists = max(1, min(len(parts) // 39, int(2 * len(parts) ** 0.5)))
        index = self._empty_ivf(lists, None if self._storage == "fp32" else _quantizer_type(self._storage))
        index.train(parts.sample(max(_TRAINING_ROWS, _TRAINING_ROWS_PER_LIST * lists)))
        index.make_direct_map(True)
        _add_missing(index, parts, should_stop)
        return BuiltSegment(parts.rows, index, lossy=self._storage != "fp32")

    def _empty_ivf(self, lists: int, quantizer_type: int | None) -> faiss.IndexIVF:
        """Return an untrained IVF index, of float32 vectors if no quantizer type is given."""
        import faiss

        coarse, metric = faiss.IndexFlatIP(self._dim), faiss.METRIC_INNER_PRODUCT
        if quantizer_type is None:
            index = faiss.IndexIVFFlat(coarse, self._dim, lists, metric)
        else:
            index = faiss.IndexIVFScalarQuantizer(coarse, self._dim, lists, quantizer_type, metric, False)
        coarse.this.disown()
        index.own_fields = True
        index.cp.niter, index.cp.seed, index.cp.min_points_per_centroid = _KMEANS_ITERATIONS, 1, 1
        return index

    def _build_codes(self, parts: _Parts, should_stop: Callable[[], bool]) -> BuiltSegment:
        import faiss

        index = faiss.IndexScalarQuantizer(self._dim, _quantizer_type(self._storage), faiss.METRIC_INNER_PRODUCT)
        index.train(parts.sample(_TRAINING_ROWS))
        _add_missing(index, parts, should_stop)
        return BuiltSegment(parts.rows, index, lossy=True)


def _quantizer_type(storage: Storage) -> int:
    """Return FAISS's scalar quantizer type for a storage: fp16, or 8 bits for all others.

    Graphs of float32 vectors are built on 8-bit codes.
    """
    import faiss

    return int(faiss.ScalarQuantizer.QT_fp16 if storage == "fp16" else faiss.ScalarQuantizer.QT_8bit)


def _copy_graph(graph: faiss.IndexHNSWSQ, first: Segment) -> None:
    """Copy the vector codes and HNSW links of a segment into an empty graph."""
    import faiss

    assert first.index is not None
    codes = faiss.downcast_index(graph.storage)
    if first.block is None:
        first_codes = faiss.downcast_index(first.index.storage)
        codes.sq.trained = first_codes.sq.trained
        codes.is_trained = graph.is_trained = True
        codes.add_sa_codes(faiss.vector_to_array(first_codes.codes).reshape(first_codes.ntotal, -1))
    else:
        vectors = first.vectors_at(None)
        graph.train(vectors[:: max(1, len(vectors) // _TRAINING_ROWS)])
        for start in range(0, len(vectors), _PAGE_ROWS):
            codes.add_sa_codes(codes.sa_encode(vectors[start : start + _PAGE_ROWS]))
    graph.hnsw = first.index.hnsw
    graph.hnsw.efConstruction = HNSW_EF_CONSTRUCTION
    graph.ntotal = codes.ntotal


def _add_missing(index: faiss.Index, parts: _Parts, should_stop: Callable[[], bool]) -> None:
    """Add the vectors of the rows that the index does not contain yet.

    Raises:
        _StoppedError: `should_stop` returned True.
    """
    import faiss

    step = _GRAPH_STEP if isinstance(index, faiss.IndexHNSW) else _PAGE_ROWS
    for start in range(index.ntotal, len(parts), step):
        if should_stop():
            raise _StoppedError
        index.add(parts.vectors(start, min(start + step, len(parts))))


def _flat_index_over(vectors: Matrix) -> faiss.IndexFlatIP:
    """Return a flat index over `vectors` without a copy; they must outlive the index."""
    import faiss

    storage = faiss.IndexFlatIP(vectors.shape[1])
    data = faiss.swig_ptr(vectors.reshape(-1).view(np.uint8))
    codes = storage.codes
    codes.is_owned = False
    codes.view_data = codes.c_ptr = data
    codes.view_size = codes.c_size = vectors.nbytes
    storage.ntotal = len(vectors)
    return storage


def _has_many_equal(parts: _Parts) -> bool:
    """Return whether more than 2% of the vectors are duplicates, judged by their hashes."""
    dim = parts.vectors(0, 1).shape[1]
    multipliers = np.random.default_rng(0).integers(1, 2**63, dim, dtype=np.uint64) | np.uint64(1)
    hashes = np.empty(len(parts), dtype=np.uint64)
    for start in range(0, len(parts), _PAGE_ROWS):
        page = parts.vectors(start, min(start + _PAGE_ROWS, len(parts))).view(np.uint32)
        hashes[start : start + len(page)] = page.astype(np.uint64) @ multipliers
    return len(np.unique(hashes)) < (1 - _MAX_EQUAL_SHARE) * len(hashes)
