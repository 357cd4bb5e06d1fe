"""The view: the segments and the undeleted rows that a search sees from start to end.

The writer thread replaces it after each commit. The tail's buffers grow only after the rows that a view shows, so a
search needs no lock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from super_advanced_agents._runtime.concurrency.budget import check_budget
from super_advanced_agents.stores.faiss.metadata.selections import Selection, Selections
from super_advanced_agents.stores.faiss.vectors.segment import RowNumbers, Segment
from super_advanced_agents.types import Matrix, Vector

_RESCORE_FACTOR = 2
"""This many times k candidates of quantized vectors are rescored by the stored vectors."""
_PAGE_ROWS = 2_000


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """Hold an immutable state of the vector index, which a search uses from start to end.

    Attributes:
        segments: sealed ones, full tail buffers, then the growing buffer.
        live: the rows that exist. Treated as frozen.
        last_row: the newest row number that may be in `live`.
        dim: the length of its vectors.
        fetch: returns the (n, dim) vectors of rows from the table, scaled; raises when a row was deleted.
        epoch: how often the index's tables had dropped dead rows; they lack rows of a view of an older epoch.
        selections: the cached results of filters over this view.
    """

    segments: tuple[Segment, ...]
    live: BitMap
    last_row: int
    dim: int
    fetch: Callable[[RowNumbers], Matrix]
    epoch: int = 0
    selections: Selections = field(default_factory=Selections)

    def search(self, queries: Matrix, k: int, selection: Selection) -> tuple[Matrix, NDArray[np.int64]]:
        """Find the k most similar of the selected rows for each query vector, best first.

        Rows of equal scores are in row order.

        Args:
            queries: (m, dim) float32.
            k: rows to find for each query.
            selection: the live rows to search.

        Returns:
            scores (m, k') float32 and row numbers (m, k') int64; -inf and -1 past the end.
        """
        parts = []
        for segment in self.segments if len(queries) else ():
            check_budget()
            depth = _RESCORE_FACTOR * k if segment.lossy else k
            positions = selection.positions(segment)
            search = segment.search_exact if segment.is_exact(depth, positions) else segment.search_index
            scores, rows = search(queries, depth, positions)
            if segment.lossy and rows.size:
                self._rescore(queries, scores, rows)
            parts.append((scores, rows))
        if not parts:
            return np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
        scores = np.concatenate([part[0] for part in parts], axis=1)
        rows = np.concatenate([part[1] for part in parts], axis=1)
        order = np.lexsort((rows, -scores), axis=1)[:, :k]
        first = np.arange(len(queries))[:, None]
        return scores[first, order], rows[first, order]

    def _rescore(self, queries: Matrix, scores: Matrix, rows: NDArray[np.int64]) -> None:
        present = rows >= 0
        unique_rows = np.unique(rows[present]).astype(np.uint32)
        vectors = self.fetch(unique_rows)
        positions = np.searchsorted(unique_rows, np.maximum(rows, 0))
        positions[~present] = 0
        exact = np.einsum("md,mkd->mk", queries, vectors[positions]) if rows.size else scores
        scores[present] = exact[present]

    def similarities(self, query: Vector, rows: RowNumbers) -> NDArray[np.float32]:
        """Return the dot product of the (dim,) query with each of these rows.

        Args:
            query: (dim,) float32.
            rows: (n,) row numbers, ascending.

        Returns:
            (n,) float32; 0 for rows that are not in the view.
        """
        scores = np.zeros(len(rows), dtype=np.float32)
        for segment in self.segments:
            start, stop = np.searchsorted(rows, (segment.rows[0], segment.rows[-1] + 1))
            if start == stop:
                continue
            positions = np.searchsorted(segment.rows, rows[start:stop])
            present = segment.rows[positions] == rows[start:stop]
            if not segment.lossy:
                scores[start:stop][present] = _dot(segment.vectors_at(positions[present]), query)
            else:
                live = present & np.fromiter(
                    (row in self.live for row in rows[start:stop].tolist()), bool, stop - start
                )
                scores[start:stop][live] = _dot(self.fetch(rows[start:stop][live]), query)
        return scores

    def ranking(self, query: Vector, candidates: BitMap) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Rank all candidate rows by similarity to the (dim,) query, best first.

        Returns:
            scores (n,) float32 and row numbers (n,) int64.
        """
        parts = [part for segment in self.segments for part in self._score(segment, query, candidates)]
        scores = np.concatenate([part[0] for part in parts]) if parts else np.empty(0, np.float32)
        numbers = np.concatenate([part[1] for part in parts]) if parts else np.empty(0, np.int64)
        order = np.lexsort((numbers, -scores))
        return scores[order], numbers[order]

    def _score(
        self, segment: Segment, query: Vector, candidates: BitMap
    ) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
        positions = segment.positions(candidates)
        rows = segment.rows if positions is None else segment.rows[positions]
        if not segment.lossy:
            yield _dot(segment.vectors_at(positions), query), rows.astype(np.int64)
            return
        for start in range(0, len(rows), _PAGE_ROWS):  # the table's vectors are read a page at a time
            page = rows[start : start + _PAGE_ROWS]
            yield _dot(self.fetch(page), query), page.astype(np.int64)


def _dot(vectors: Matrix, query: Vector) -> NDArray[np.float32]:
    # A BLAS product rounds a row by its position among the others, which would show how many records others have.
    return np.asarray(np.einsum("nd,d->n", vectors, query), dtype=np.float32)
