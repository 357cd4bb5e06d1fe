"""Segments: immutable sets of rows that are searched together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from super_advanced_agents.stores.faiss.metadata.columns import array_of
from super_advanced_agents.stores.faiss.vectors.arena import Block
from super_advanced_agents.types import Matrix

if TYPE_CHECKING:
    import faiss

RowNumbers: TypeAlias = NDArray[np.uint32]
Positions: TypeAlias = NDArray[np.int64]
"""Offsets of rows in a segment, ascending."""

HNSW_EF_SEARCH = 128
IVF_NPROBE_SHARE = 0.15
"""The share of an inverted file's lists that a search probes."""
_EXACT_FACTOR = 8_000
"""Candidates are compared exactly while their square is below this many times the rows.

A graph search for one row in ten must visit ten times as many. A comparison takes 0.06 microseconds, a step of a graph
search 4.
"""

_ROUGH_RESCORE_FACTOR = 4
"""A rough segment rescores this many times k candidates by their own vectors."""

_NO_SCORE = np.float32(-np.inf)


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """Hold a set of rows with their vectors and, unless it is searched exactly, a FAISS index.

    Attributes:
        rows: (n,) uint32, ascending: the row number of each vector.
        block: the vectors, scaled to length 1 when the metric is the cosine; more than n where a buffer still grows.
            None when `index` alone holds them.
        index: an HNSW graph, an inverted file or a flat list of codes; None where the comparison is exact.
        lossy: whether `index` holds quantized vectors only; a search then rescores its best candidates.
        storage: the FAISS index that `index` reads its vectors from, when it does not own them.
        rough: whether `index` is a quickly built inverted file of quantized vectors beside the block, to be replaced by
            a graph later.
    """

    rows: RowNumbers
    block: Block | None
    index: faiss.Index | None = None
    lossy: bool = False
    storage: faiss.Index | None = None
    rough: bool = False

    @property
    def own_block(self) -> Block | None:
        """The memory block of the vectors, if it holds those of this segment only; else None."""
        return self.block if self.block is not None and len(self.block.vectors) == len(self.rows) else None

    def live_count(self, live: BitMap) -> int:
        """Count the rows of this segment that are not deleted."""
        return live.range_cardinality(int(self.rows[0]), int(self.rows[-1]) + 1) if len(self.rows) else 0

    def positions(self, candidates: BitMap) -> Positions | None:
        """Return the offsets of candidate rows in this segment; None if every row is a candidate."""
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

    def vectors_at(self, positions: Positions | None) -> Matrix:
        """Return the (n, dim) float32 vectors of the rows at these offsets; of all rows for None.

        Quantized vectors are decoded, so they differ a little from those that were stored.
        """
        import faiss

        if self.block is not None:
            vectors = self.block.vectors[: len(self.rows)]
            return vectors if positions is None else vectors[positions]
        assert self.index is not None
        storage = self.index.storage if isinstance(self.index, faiss.IndexHNSW) else self.index
        if positions is None:
            return np.asarray(storage.reconstruct_n(0, len(self.rows)))
        return np.asarray(storage.reconstruct_batch(positions))

    def is_exact(self, k: int, positions: Positions | None) -> bool:
        """Return True if comparing a query with each candidate is faster than the FAISS index.

        `positions` are the offsets of the candidates; None for all rows.
        """
        count = len(self.rows) if positions is None else len(positions)
        few = count * count < _EXACT_FACTOR * len(self.rows)  # also when all are candidates of a small segment
        return self.index is None or few or min(k, count) > count // 2

    def search_index(self, queries: Matrix, k: int, positions: Positions | None) -> tuple[Matrix, NDArray[np.int64]]:
        """Search the FAISS index for the k candidate rows that are most similar to each query.

        Args:
            queries: (m, dim) float32.
            k: rows to find for each query.
            positions: the rows to search; None for all.

        Returns:
            scores (m, k') and row numbers (m, k'), in the order FAISS gives; -inf and -1 where there are fewer.
        """
        assert self.index is not None
        count = len(self.rows) if positions is None else len(positions)
        k = min(k, count)
        depth = min(_ROUGH_RESCORE_FACTOR * k, count) if self.rough else k
        scores, offsets = self.index.search(queries, depth, params=self._search_parameters(k, positions))
        if self.rough:
            assert self.block is not None
            scores = np.einsum("md,mkd->mk", queries, self.block.vectors[offsets])  # -1 is overwritten below
        # A filtered graph search can end early; k candidates exist, so k must be found.
        short = np.flatnonzero((offsets[:, :k] < 0).any(axis=1))
        scores, rows = self._to_row_numbers(scores, offsets)
        if len(short):
            exact = self.search_exact(np.ascontiguousarray(queries[short]), depth, positions)
            scores[short], rows[short] = exact
        return scores, rows

    def search_exact(self, queries: Matrix, k: int, positions: Positions | None) -> tuple[Matrix, NDArray[np.int64]]:
        """Compare each query with every candidate row, and return the k most similar rows.

        Args:
            queries: (m, dim) float32.
            k: rows to find for each query.
            positions: the rows to search; None for all.

        Returns:
            scores (m, k') and row numbers (m, k'), best first, where k' is k or the number of positions.
        """
        import faiss

        k = min(k, len(self.rows) if positions is None else len(positions))
        if k == 0:
            return np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
        gathered = None
        if self.block is not None and (positions is None or len(queries) == 1):
            vectors = self.block.vectors[: len(self.rows)]
        else:  # gathering pays off for several queries
            vectors, gathered, positions = np.ascontiguousarray(self.vectors_at(positions)), positions, None
        scores = np.empty((len(queries), k), dtype=np.float32)
        offsets = np.empty((len(queries), k), dtype=np.int64)
        # FAISS compares only the listed rows for this kind of selector, instead of asking it about every row.
        selector = None if positions is None else faiss.IDSelectorArray(positions)
        faiss.knn_inner_product(
            faiss.swig_ptr(queries), faiss.swig_ptr(vectors), vectors.shape[1], len(queries), len(vectors),
            k, faiss.swig_ptr(scores), faiss.swig_ptr(offsets), selector,
        )  # fmt: skip
        return self._to_row_numbers(scores, offsets if gathered is None else gathered[offsets])

    def _search_parameters(self, k: int, positions: Positions | None) -> faiss.SearchParameters:
        import faiss

        if isinstance(self.index, faiss.IndexHNSW):
            selected_share = 1.0 if positions is None else len(positions) / len(self.rows)
            parameters = faiss.SearchParametersHNSW(efSearch=int(max(HNSW_EF_SEARCH, 2 * k) / selected_share))
        elif isinstance(self.index, faiss.IndexIVF):
            parameters = faiss.SearchParametersIVF(nprobe=max(8, int(IVF_NPROBE_SHARE * self.index.nlist)))
        else:
            parameters = faiss.SearchParameters()
        if positions is not None:
            bits = np.zeros(len(self.rows), dtype=bool)
            bits[positions] = True
            parameters.sel = faiss.IDSelectorBitmap(np.packbits(bits, bitorder="little"))
        return parameters

    def _to_row_numbers(self, scores: Matrix, offsets: NDArray[np.int64]) -> tuple[Matrix, NDArray[np.int64]]:
        missing = offsets < 0
        numbers = self.rows[np.maximum(offsets, 0)].astype(np.int64)
        numbers[missing] = -1
        scores[missing] = _NO_SCORE
        return scores, numbers
