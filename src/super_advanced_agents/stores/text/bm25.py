"""BM25, by which all engines weigh the terms of texts: parameters, fields and idf."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

TEXT_WEIGHT = 0.5
WINDOW_WEIGHT = 1.0
"""The fields' weights, by LoCoMo evidence recall@10.

A turn's own text reaches 0.61, its window 0.66, both with these weights, and with vectors, 0.73.
"""

FIELDS = {"text": TEXT_WEIGHT, "window": WINDOW_WEIGHT}

K1 = 1.2
B = 0.75

Boosts = dict[tuple[str, str], float]
"""(field, term) -> the factor of its BM25 score: its idf times the field's weight."""

_MAX_WORDS = 48

_LENGTHS = [*range(24), *(24 + (i if i < 8 else (i & 7 | 8) << (i >> 3) - 1) for i in range(232))]
_LENGTH_OF = np.array(_LENGTHS, dtype=np.float64)


def length_code(length: int) -> int:
    """Return the code of a field's length: one byte, as tantivy stores it (a field norm).

    Lengths of up to 40 terms have a code each; longer ones share one with the lengths up to 12% above it.
    """
    return bisect_right(_LENGTHS, length) - 1


def lengths_of(codes: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the lengths that these codes stand for, by which a field is scored."""
    return _LENGTH_OF[codes]


def idf(count: int, doc_frequency: int) -> float:
    """Return BM25's inverse document frequency of a term.

    Args:
        count: the number of texts.
        doc_frequency: the number of texts that have the term.
    """
    return math.log1p((max(count, doc_frequency) - doc_frequency + 0.5) / (doc_frequency + 0.5))


def saturated(counts: NDArray[np.float64], lengths: NDArray[np.float64], average_length: float) -> NDArray[np.float64]:
    """Return the BM25 scores of a term in fields, without its boost.

    Args:
        counts: how often each field has the term, (n,).
        lengths: the number of terms of each field, (n,), as `lengths_of` returns them.
        average_length: the mean number of terms of all fields.
    """
    norms = K1 * (1 - B + B * lengths / average_length)
    return (K1 + 1) * counts / (counts + norms)


def indexed_words(words: Iterable[tuple[str, ...]], frequency: Callable[[str, str], int]) -> list[list[str]]:
    """Return the indexed terms of a query's words; of many words only the rarest.

    Args:
        words: the terms of each word, as `query_terms` returns them.
        frequency: returns the number of texts whose field (`text` or `window`) has a term.
    """
    counts = {term: frequency("window", term) for word in words for term in word}
    known = [found for word in words if (found := [term for term in word if counts[term]])]
    if len(known) > _MAX_WORDS:
        known = sorted(known, key=lambda word: sum(counts[term] for term in word))[:_MAX_WORDS]
    return known


def word_boosts(words: Sequence[Sequence[str]], frequency: Callable[[str, str], int], count: int) -> Boosts:
    """Return the boosts of a query's terms.

    The terms of one word, one for each language, are as rare as all of them together. Else the only text in a language
    would be the best for each name in it.

    Args:
        words: the terms of each word, as `indexed_words` returns them.
        frequency: returns the number of texts whose field (`text` or `window`) has a term.
        count: the number of texts.
    """
    boosts = {}
    for field, weight in FIELDS.items():
        for word in words:
            boost = weight * idf(count, sum(frequency(field, term) for term in word))
            boosts.update({(field, term): boost for term in word})
    return boosts
