"""Segments: rows that are searched together, and never change."""

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
"""Where rows lie in a segment, ascending."""

GRAPH_SEARCH_EFFORT = 128
LISTS_PROBED = 0.15
"""The share of an inverted file's lists that a search looks into."""
_WALKED_PAST = 8_000
"""A walk that looks for one row in ten must look at ten times as many. Candidates are compared one by one while their
square is below this many times the rows: 0.06 microseconds a candidate, against 4 for a step of a walk."""

_ROUGHLY = 4
"""So many times k candidates of a rough segment are compared by their own vectors."""

_NO_SCORE = np.float32(-np.inf)


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """Rows that are searched together.

    Attributes:
        rows: (n,) uint32, ascending: the row number of each vector.
        block: the vectors, scaled to length 1 when the metric is the cosine; more than n where a buffer still grows.
            None when `index` alone holds them.
        index: an HNSW graph, an inverted file or a plain list of codes; None where the comparison is exact.
        lossy: whether `index` holds shortened vectors; a search then weighs its best candidates again.
        storage: what `index` reads its vectors from, when that is not its own.
        rough: whether `index` holds shortened vectors beside the block, made in haste.
    """

    rows: RowNumbers
    block: Block | None
    index: faiss.Index | None = None
    lossy: bool = False
    storage: faiss.Index | None = None
    rough: bool = False

    @property
    def own_block(self) -> Block | None:
        """The block, if all of it is this segment's."""
        return self.block if self.block is not None and len(self.block.vectors) == len(self.rows) else None

    def live_count(self, live: BitMap) -> int:
        """How many of its rows are live."""
        return live.range_cardinality(int(self.rows[0]), int(self.rows[-1]) + 1) if len(self.rows) else 0

    def positions(self, candidates: BitMap) -> Positions | None:
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

    def taken(self, positions: Positions | None) -> Matrix:
        """(n, dim) vectors at these positions, all when None; as near as they are kept."""
        import faiss

        if self.block is not None:
            vectors = self.block.vectors[: len(self.rows)]
            return vectors if positions is None else vectors[positions]
        assert self.index is not None
        holder = self.index.storage if isinstance(self.index, faiss.IndexHNSW) else self.index
        if positions is None:
            return np.asarray(holder.reconstruct_n(0, len(self.rows)))
        return np.asarray(holder.reconstruct_batch(positions))

    def search(self, queries: Matrix, k: int, positions: Positions | None) -> tuple[Matrix, NDArray[np.int64]]:
        """The best k at these positions (None for all) for each of the (m, dim) queries.

        Returns:
            scores (m, k') and row numbers (m, k'), in the order FAISS gives; -inf and -1 where there are fewer.
        """
        count = len(self.rows) if positions is None else len(positions)
        k = min(k, count)
        if k == 0:
            return np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
        few = count * count < _WALKED_PAST * len(self.rows)  # also when all are candidates of a small segment
        if self.index is None or few or k > count // 2:
            return self._one_by_one(queries, k, positions)
        wanted = min(_ROUGHLY * k, count) if self.rough else k
        scores, found = self.index.search(queries, wanted, params=self._parameters(k, positions))
        if self.rough:
            assert self.block is not None
            scores = np.einsum("md,mkd->mk", queries, self.block.vectors[found])  # -1 is overwritten below
        # A filtered walk can end early; k candidates exist, so they are owed.
        short = np.flatnonzero((found[:, :k] < 0).any(axis=1))
        scores, rows = self._numbered(scores, found)
        if len(short):
            exact = self._one_by_one(np.ascontiguousarray(queries[short]), wanted, positions)
            scores[short], rows[short] = exact
        return scores, rows

    def _one_by_one(self, queries: Matrix, k: int, positions: Positions | None) -> tuple[Matrix, NDArray[np.int64]]:
        """Compare with every candidate."""
        import faiss

        places = None
        if self.block is not None and (positions is None or len(queries) == 1):
            vectors = self.block.vectors[: len(self.rows)]
        else:  # several queries share what gathering costs
            vectors, places, positions = np.ascontiguousarray(self.taken(positions)), positions, None
        scores = np.empty((len(queries), k), dtype=np.float32)
        found = np.empty((len(queries), k), dtype=np.int64)
        # FAISS compares only the listed rows for this kind of selector, instead of asking it about every row.
        selector = None if positions is None else faiss.IDSelectorArray(positions)
        faiss.knn_inner_product(
            faiss.swig_ptr(queries), faiss.swig_ptr(vectors), vectors.shape[1], len(queries), len(vectors),
            k, faiss.swig_ptr(scores), faiss.swig_ptr(found), selector,
        )  # fmt: skip
        return self._numbered(scores, found if places is None else places[found])

    def _parameters(self, k: int, positions: Positions | None) -> faiss.SearchParameters:
        import faiss

        if isinstance(self.index, faiss.IndexHNSW):
            passed = 1.0 if positions is None else len(positions) / len(self.rows)
            parameters = faiss.SearchParametersHNSW(efSearch=int(max(GRAPH_SEARCH_EFFORT, 2 * k) / passed))
        elif isinstance(self.index, faiss.IndexIVF):
            parameters = faiss.SearchParametersIVF(nprobe=max(8, int(LISTS_PROBED * self.index.nlist)))
        else:
            parameters = faiss.SearchParameters()
        if positions is not None:
            bits = np.zeros(len(self.rows), dtype=bool)
            bits[positions] = True
            parameters.sel = faiss.IDSelectorBitmap(np.packbits(bits, bitorder="little"))
        return parameters

    def _numbered(self, scores: Matrix, found: NDArray[np.int64]) -> tuple[Matrix, NDArray[np.int64]]:
        missing = found < 0
        numbers = self.rows[np.maximum(found, 0)].astype(np.int64)
        numbers[missing] = -1
        scores[missing] = _NO_SCORE
        return scores, numbers
