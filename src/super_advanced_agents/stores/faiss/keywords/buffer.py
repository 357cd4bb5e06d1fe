"""The words of the newest rows, in memory, so that a search after a write need not wait for a commit."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping

from pyroaring import BitMap

from super_advanced_agents.stores.faiss.keywords.analyzer import FIELDS, Entry, tokenize

_SATURATION = 1.2
_LENGTH_SHARE = 0.75

_LENGTHS = [*range(24), *(24 + (i if i < 8 else (i & 7 | 8) << (i >> 3) - 1) for i in range(232))]
"""The lengths the index on disk can tell apart: it keeps each in one byte."""


class KeywordBuffer:
    """Rows with the counts of their words; scored as the index on disk scores its own.

    Attributes:
        rows: those that are here, also the ones that have no words.
        lengths: field -> the number of words of all rows together.
    """

    def __init__(self) -> None:
        self.rows = BitMap()
        self._counts: dict[tuple[str, str], dict[int, int]] = {}
        self._words: dict[int, list[tuple[str, str]]] = {}
        self._lengths: dict[int, dict[str, int]] = {}
        self.lengths = dict.fromkeys(FIELDS, 0)

    @property
    def count(self) -> int:
        """How many rows have words."""
        return len(self._lengths)

    def put(self, row: int, entry: Entry | None) -> None:
        """Add or replace a row; one without an entry has no words, and stands here for that."""
        self.drop(row)
        self.rows.add(row)
        if entry is None:
            return
        keys: list[tuple[str, str]] = []
        lengths = self._lengths[row] = {}
        for field in FIELDS:
            counts = Counter(tokenize(getattr(entry, field)))
            lengths[field] = counts.total()
            self.lengths[field] += lengths[field]
            for word, count in counts.items():
                self._counts.setdefault((field, word), {})[row] = count
                keys.append((field, word))
        self._words[row] = keys

    def drop(self, row: int) -> None:
        """Forget a row."""
        self.rows.discard(row)
        for key in self._words.pop(row, ()):
            counts = self._counts[key]
            del counts[row]
            if not counts:
                del self._counts[key]
        for field, length in self._lengths.pop(row, {}).items():
            self.lengths[field] -= length

    def doc_frequency(self, field: str, word: str) -> int:
        """How many rows have this word."""
        return len(self._counts.get((field, word), ()))

    def scores(
        self, boosts: Mapping[tuple[str, str], float], average_lengths: Mapping[str, float], candidates: BitMap
    ) -> list[tuple[float, int]]:
        """(score, row) of the candidates here that have one of some words.

        Args:
            boosts: (field, word) -> its rarity times what it counts.
            averages: field -> the mean number of words.
            candidates: the rows that may be found.
        """
        scores: dict[int, float] = {}
        for (field, word), boost in boosts.items():
            for row, count in self._counts.get((field, word), {}).items():
                if row in candidates:
                    length = _LENGTHS[bisect_right(_LENGTHS, self._lengths[row][field]) - 1]
                    norm = _SATURATION * (1 - _LENGTH_SHARE + _LENGTH_SHARE * length / average_lengths[field])
                    scores[row] = scores.get(row, 0.0) + boost * (_SATURATION + 1) * count / (count + norm)
        return [(score, row) for row, score in scores.items()]


def idf(count: int, doc_frequency: int) -> float:
    """BM25's measure of how telling a word is that `doc_frequency` of `count` entries have."""
    return math.log1p((max(count, doc_frequency) - doc_frequency + 0.5) / (doc_frequency + 0.5))
