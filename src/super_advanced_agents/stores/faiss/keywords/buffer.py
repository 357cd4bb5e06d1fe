"""In-memory postings of recent rows that are not in the keyword index on disk yet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from super_advanced_agents.stores.faiss.keywords.entry import Entry
from super_advanced_agents.stores.faiss.metadata.columns import array_of
from super_advanced_agents.stores.text.analyzer import term_counts
from super_advanced_agents.stores.text.bm25 import FIELDS, length_code, lengths_of, saturated

_ROW_BYTES = 600
"""The memory that a row takes beside its postings: its length in each field, and a bit."""
_POSTING_BYTES = 17
_MAX_FOUND = 256
"""The number of terms whose postings are remembered until the next write."""


class KeywordBuffer:
    """Index the texts of recent rows in memory, and score them by BM25.

    The scores equal those that the index on disk would give; the rows are flushed into it later.

    Attributes:
        rows: the buffered rows, with those that have no text.
        total_lengths: field -> the number of tokens of all rows together.
    """

    def __init__(self) -> None:
        self.rows = BitMap()
        self._postings = {field: _Postings() for field in FIELDS}
        self._lengths: dict[int, tuple[int, ...]] = {}  # by row, of each field
        self.total_lengths = dict.fromkeys(FIELDS, 0)

    @property
    def count(self) -> int:
        """The number of buffered rows that have a text."""
        return len(self._lengths)

    @property
    def size_bytes(self) -> int:
        """The memory that the buffer takes, by estimate."""
        return _ROW_BYTES * len(self._lengths) + sum(postings.size_bytes for postings in self._postings.values())

    def put(self, row: int, entry: Entry | None) -> None:
        """Add or replace the texts of a row; `entry` is None for a row without a text.

        Such a row is in `rows` but has no terms.
        """
        if row in self.rows:
            self.drop(BitMap([row]))
        self.rows.add(row)
        if entry is None:
            return
        lengths = []
        for field, postings in self._postings.items():
            counts = term_counts(getattr(entry, field))
            lengths.append(counts.total())
            self.total_lengths[field] += lengths[-1]
            postings.add(row, lengths[-1], counts)
        self._lengths[row] = tuple(lengths)

    def drop(self, rows: BitMap) -> None:
        """Remove those of the rows from the buffer that are in it."""
        dropped = self.rows & rows
        if not dropped:
            return
        self.rows -= dropped
        for row in dropped:
            for field, length in zip(FIELDS, self._lengths.pop(row, ()), strict=False):
                self.total_lengths[field] -= length
        for postings in self._postings.values():
            postings.drop(array_of(dropped))

    def doc_frequency(self, field: str, term: str) -> int:
        """Count the buffered rows that contain a term in a field (`text` or `window`)."""
        return len(self._postings[field].find(term))

    def scores(
        self, boosts: Mapping[tuple[str, str], float], average_lengths: Mapping[str, float], candidates: BitMap
    ) -> list[tuple[float, int]]:
        """Return the BM25 scores of the candidate rows in the buffer that contain any of the terms.

        Args:
            boosts: (field, term) -> its idf times the field's weight.
            average_lengths: field -> the mean number of tokens.
            candidates: the rows that may be returned.

        Returns:
            (score, row) of each, in no order.
        """
        rows = array_of(self.rows & candidates)
        if not len(rows):
            return []
        scores = np.zeros(len(rows) + 1)  # the last is of all rows that are no candidates
        for (field, term), boost in boosts.items():
            found, counts, lengths = self._postings[field].read(term)
            places = np.minimum(np.searchsorted(rows, found), len(rows) - 1)
            places[rows[places] != found] = len(rows)
            scores[places] += boost * saturated(counts, lengths, average_lengths[field])  # a row has a term once
        hits = np.flatnonzero(scores[:-1])
        return list(zip(scores[hits].tolist(), rows[hits].tolist(), strict=True))


class _Postings:
    # The postings of one field, 17 bytes each; dicts of terms and rows took 100. A term is its 64-bit hash, which
    # Python seeds anew in each process, so that nobody can make two collide.

    def __init__(self) -> None:
        self._count = 0
        self._terms: NDArray[np.int64] = np.empty(0, np.int64)
        self._rows: NDArray[np.uint32] = np.empty(0, np.uint32)
        self._counts: NDArray[np.uint32] = np.empty(0, np.uint32)
        self._lengths: NDArray[np.uint8] = np.empty(0, np.uint8)
        self._found: dict[str, NDArray[np.intp]] = {}

    @property
    def size_bytes(self) -> int:
        return sum(column.nbytes for column in (self._terms, self._rows, self._counts, self._lengths))

    def add(self, row: int, length: int, counts: Mapping[str, int]) -> None:
        self._found.clear()
        start, self._count = self._count, self._count + len(counts)
        if self._count > len(self._terms):
            self._terms, self._rows = self._grown(self._terms, start), self._grown(self._rows, start)
            self._counts, self._lengths = self._grown(self._counts, start), self._grown(self._lengths, start)
        new = slice(start, self._count)
        self._terms[new] = np.fromiter(map(hash, counts), np.int64, len(counts))
        self._rows[new] = row
        self._counts[new] = np.fromiter(counts.values(), np.uint32, len(counts))
        self._lengths[new] = length_code(length)

    def drop(self, rows: NDArray[np.uint32]) -> None:
        self._found.clear()
        kept = np.flatnonzero(~np.isin(self._rows[: self._count], rows))
        self._count = len(kept)
        self._terms, self._rows = self._terms[kept], self._rows[kept]
        self._counts, self._lengths = self._counts[kept], self._lengths[kept]

    def find(self, term: str) -> NDArray[np.intp]:
        found = self._found.get(term)
        if found is None:
            if len(self._found) > _MAX_FOUND:
                self._found.clear()
            found = self._found[term] = np.flatnonzero(self._terms[: self._count] == hash(term))
        return found

    def read(self, term: str) -> tuple[NDArray[np.uint32], NDArray[np.float64], NDArray[np.float64]]:
        # The rows that contain the term, how often each does, and their lengths.
        found = self.find(term)
        return self._rows[found], self._counts[found].astype(np.float64), lengths_of(self._lengths[found])

    def _grown(self, column: NDArray[Any], count: int) -> NDArray[Any]:
        grown = np.empty(self._count + self._count // 4, column.dtype)
        grown[:count] = column[:count]
        return grown


def buffer_bytes(terms: float) -> float:
    """Return the memory that a row takes in a buffer with a number of terms, by estimate."""
    return _ROW_BYTES + _POSTING_BYTES * terms
