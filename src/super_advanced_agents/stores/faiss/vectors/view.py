"""A view is what a search sees: some segments and the set of live rows, swapped as one by the writer after each commit.

The tail's buffers grow only behind what a view shows, so a search needs no lock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from super_advanced_agents.stores.faiss.metadata.selections import Selection, Selections
from super_advanced_agents.stores.faiss.vectors.segment import RowNumbers, Segment
from super_advanced_agents.types import Matrix, Vector

_WEIGHED_AGAIN = 2
"""So many times k candidates are weighed again by their own vectors where a segment keeps shortened ones."""
_RANKED_TOGETHER = 2_000


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """What a search sees, swapped as one.

    Attributes:
        segments: sealed ones, full tail buffers, then the growing one.
        live: the rows that exist. Treated as frozen.
        last_row: the newest row number that may be in `live`.
        dim: the length of its vectors.
        fetch: the (n, dim) vectors of rows from the table, scaled; raises when one has gone.
        epoch: how often tables had dropped dead rows; of an older one they no longer tell all.
        selections: what filters were found to select of it.
    """

    segments: tuple[Segment, ...]
    live: BitMap
    last_row: int
    dim: int
    fetch: Callable[[RowNumbers], Matrix]
    epoch: int = 0
    selections: Selections = field(default_factory=Selections)

    def search(self, queries: Matrix, k: int, selection: Selection) -> tuple[Matrix, NDArray[np.int64]]:
        """The best k of the selected (live) rows for each query, best first; equal scores in row order.

        Returns:
            scores (m, k') float32 and row numbers (m, k'); -inf and -1 past the end.
        """
        parts = []
        for segment in self.segments:
            wanted = _WEIGHED_AGAIN * k if segment.lossy else k
            scores, rows = segment.search(queries, wanted, selection.positions(segment))
            if segment.lossy and rows.size:
                self._weigh_again(queries, scores, rows)
            parts.append((scores, rows))
        if not parts:
            return np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
        scores = np.concatenate([part[0] for part in parts], axis=1)
        rows = np.concatenate([part[1] for part in parts], axis=1)
        order = np.lexsort((rows, -scores), axis=1)[:, :k]
        first = np.arange(len(queries))[:, None]
        return scores[first, order], rows[first, order]

    def _weigh_again(self, queries: Matrix, scores: Matrix, rows: NDArray[np.int64]) -> None:
        """Put the scores of the vectors themselves in place of those of their shortened copies."""
        there = rows >= 0
        wanted = np.unique(rows[there]).astype(np.uint32)
        vectors = self.fetch(wanted)
        places = np.searchsorted(wanted, np.maximum(rows, 0))
        places[~there] = 0
        weighed = np.einsum("md,mkd->mk", queries, vectors[places]) if rows.size else scores
        scores[there] = weighed[there]

    def similarities(self, query: Vector, rows: RowNumbers) -> NDArray[np.float32]:
        """The dot product of the (dim,) query with each of these rows, ascending; 0 for rows not in the view."""
        scores = np.zeros(len(rows), dtype=np.float32)
        for segment in self.segments:
            start, stop = np.searchsorted(rows, (segment.rows[0], segment.rows[-1] + 1))
            if start == stop:
                continue
            places = np.searchsorted(segment.rows, rows[start:stop])
            there = segment.rows[places] == rows[start:stop]
            if not segment.lossy:
                scores[start:stop][there] = segment.taken(places[there]) @ query
            else:
                kept = there & np.fromiter((row in self.live for row in rows[start:stop].tolist()), bool, stop - start)
                scores[start:stop][kept] = self.fetch(rows[start:stop][kept]) @ query
        return scores

    def ranking(self, query: Vector, candidates: BitMap) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """All candidates (live rows), best first, for the (dim,) query: scores (n,) and row numbers (n,)."""
        parts = [part for segment in self.segments for part in self._scored(segment, query, candidates)]
        scores = np.concatenate([part[0] for part in parts]) if parts else np.empty(0, np.float32)
        numbers = np.concatenate([part[1] for part in parts]) if parts else np.empty(0, np.int64)
        order = np.lexsort((numbers, -scores))
        return scores[order], numbers[order]

    def _scored(
        self, segment: Segment, query: Vector, candidates: BitMap
    ) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
        positions = segment.positions(candidates)
        rows = segment.rows if positions is None else segment.rows[positions]
        if not segment.lossy:
            yield segment.taken(positions) @ query, rows.astype(np.int64)
            return
        for start in range(0, len(rows), _RANKED_TOGETHER):  # their own vectors are read a page at a time
            page = rows[start : start + _RANKED_TOGETHER]
            yield self.fetch(page) @ query, page.astype(np.int64)
