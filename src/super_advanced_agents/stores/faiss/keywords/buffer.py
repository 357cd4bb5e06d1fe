"""In-memory postings of recent rows that are not in the keyword index on disk yet."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping

from pyroaring import BitMap

from super_advanced_agents.stores.faiss.keywords.analyzer import FIELDS, Entry, tokenize

_K1 = 1.2
_B = 0.75

_LENGTHS = [*range(24), *(24 + (i if i < 8 else (i & 7 | 8) << (i >> 3) - 1) for i in range(232))]
"""The field lengths that the index on disk can tell apart: it stores each in one byte."""


class KeywordBuffer:
    """Index the texts of recent rows in memory, and score them by BM25.

    The scores equal those that the index on disk would give; the rows are flushed into it later.

    Attributes:
        rows: the buffered rows, with those that have no text.
        total_lengths: field -> the number of tokens of all rows together.
    """

    def __init__(self) -> None:
        self.rows = BitMap()
        self._counts: dict[tuple[str, str], dict[int, int]] = {}
        self._terms: dict[int, list[tuple[str, str]]] = {}
        self._lengths: dict[int, dict[str, int]] = {}
        self.total_lengths = dict.fromkeys(FIELDS, 0)

    @property
    def count(self) -> int:
        """The number of buffered rows that have a text."""
        return len(self._lengths)

    def put(self, row: int, entry: Entry | None) -> None:
        """Add or replace the texts of a row; `entry` is None for a row without a text.

        Such a row is in `rows` but has no terms.
        """
        self.drop(row)
        self.rows.add(row)
        if entry is None:
            return
        keys: list[tuple[str, str]] = []
        lengths = self._lengths[row] = {}
        for field in FIELDS:
            counts = Counter(tokenize(getattr(entry, field)))
            lengths[field] = counts.total()
            self.total_lengths[field] += lengths[field]
            for term, count in counts.items():
                self._counts.setdefault((field, term), {})[row] = count
                keys.append((field, term))
        self._terms[row] = keys

    def drop(self, row: int) -> None:
        """Remove a row from the buffer, if it is there."""
        self.rows.discard(row)
        for key in self._terms.pop(row, ()):
            counts = self._counts[key]
            del counts[row]
            if not counts:
                del self._counts[key]
        for field, length in self._lengths.pop(row, {}).items():
            self.total_lengths[field] -= length

    def doc_frequency(self, field: str, term: str) -> int:
        """Count the buffered rows that contain a term in a field (`text` or `window`)."""
        return len(self._counts.get((field, term), ()))

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
        scores: dict[int, float] = {}
        for (field, term), boost in boosts.items():
            for row, count in self._counts.get((field, term), {}).items():
                if row in candidates:
                    length = _LENGTHS[bisect_right(_LENGTHS, self._lengths[row][field]) - 1]
                    norm = _K1 * (1 - _B + _B * length / average_lengths[field])
                    scores[row] = scores.get(row, 0.0) + boost * (_K1 + 1) * count / (count + norm)
        return [(score, row) for row, score in scores.items()]


def idf(count: int, doc_frequency: int) -> float:
    """Return BM25's inverse document frequency of a term.

    Args:
        count: the number of entries.
        doc_frequency: the number of entries that have the term.
    """
    return math.log1p((max(count, doc_frequency) - doc_frequency + 0.5) / (doc_frequency + 0.5))
