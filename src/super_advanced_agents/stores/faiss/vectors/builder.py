"""Builder of segments: sets of rows with an HNSW graph, an inverted file or flat codes.

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
    """Signal that the caller stopped the build of a FAISS index. Only this module catches it."""


class _Parts:
    def __init__(self, segments: Sequence[Segment], live: BitMap) -> None:
        total = sum(len(segment.rows) for segment in segments)
        alive = sum(segment.live_count(live) for segment in segments)
        drops_dead = total - alive > DEAD_SHARE * total
        self.segments = segments
        # Of each segment the offsets of its live rows; None when dead rows stay, because they are few.
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
        # In runs that are spread evenly over all rows.
        if n >= len(self):
            return self.vectors(0, len(self))
        step = len(self) * _SAMPLE_RUN_ROWS // n
        starts = range(0, len(self), step)
        return np.concatenate([self.vectors(i, min(i + _SAMPLE_RUN_ROWS, len(self))) for i in starts])


@dataclass(slots=True, eq=False)
class BuiltSegment:
    """Hold a newly built set of rows with its FAISS index, before searches use it.

    The index can be written to a file until `segment` is called.

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

    def decode_vectors(self, rows: RowNumbers) -> None:
        """Set the vectors of some rows to those that the index has as 8-bit codes."""
        if len(rows) and self.block is not None and self.index is not None:
            positions = np.searchsorted(self.rows, rows)
            self.block.vectors[positions] = self.index.storage.reconstruct_batch(positions)

    def segment(self) -> Segment:
        """Return the rows and their FAISS index as the segment that searches use.

        A graph over a block of float32 vectors frees its 8-bit codes, and reads those vectors from now on.
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
    """Build segments, which are sets of rows with one FAISS index each. Not thread-safe.

    All have the same index kind and vector format.
    """

    def __init__(self, kind: IndexKind, storage: Storage, memory: VectorMemory) -> None:
        self._dim = memory.dim
        self._kind = kind
        self._storage = storage
        self._memory = memory

    def with_memory(self, memory: VectorMemory) -> Builder:
        """Return a builder with the same settings that allocates its vectors in `memory`."""
        return Builder(self._kind, self._storage, memory)

    @property
    def keeps_vectors(self) -> bool:
        """True if segments keep float32 vectors in memory blocks, outside of the FAISS index."""
        return self._storage == "fp32" and self._kind != "ivf"

    def build(self, segments: Sequence[Segment], live: BitMap, should_stop: Callable[[], bool]) -> BuiltSegment | None:
        """Merge adjacent segments into one, with a new FAISS index over their rows.

        It takes one core. Dead (deleted) rows stay while they are few: graph searches pass through them.

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
        """Merge adjacent segments into one with an inverted file, 10 times faster than with HNSW.

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
        """Rebuild a segment from row numbers and a FAISS index that were read from files.

        If it keeps float32 vectors in a block, the caller sets them to those of the table, and decodes those of rows
        that have been deleted.
        """
        if not self.keeps_vectors:
            return BuiltSegment(rows, index, lossy=self._storage != "fp32")
        return BuiltSegment(rows, index, self._memory.allocate(len(rows)))

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
    # 8 bits for float32 too: such graphs are built on 8-bit codes.
    import faiss

    return int(faiss.ScalarQuantizer.QT_fp16 if storage == "fp16" else faiss.ScalarQuantizer.QT_8bit)


def _copy_graph(graph: faiss.IndexHNSWSQ, first: Segment) -> None:
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
    import faiss

    step = _GRAPH_STEP if isinstance(index, faiss.IndexHNSW) else _PAGE_ROWS
    for start in range(index.ntotal, len(parts), step):
        if should_stop():
            raise _StoppedError
        index.add(parts.vectors(start, min(start + step, len(parts))))


def _flat_index_over(vectors: Matrix) -> faiss.IndexFlatIP:
    # Without a copy, so the vectors must outlive the index.
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
    # Judged by hashes of the vectors.
    dim = parts.vectors(0, 1).shape[1]
    multipliers = np.random.default_rng(0).integers(1, 2**63, dim, dtype=np.uint64) | np.uint64(1)
    hashes = np.empty(len(parts), dtype=np.uint64)
    for start in range(0, len(parts), _PAGE_ROWS):
        page = parts.vectors(start, min(start + _PAGE_ROWS, len(parts))).view(np.uint32)
        hashes[start : start + len(page)] = page.astype(np.uint64) @ multipliers
    return len(np.unique(hashes)) < (1 - _MAX_EQUAL_SHARE) * len(hashes)
