"""Two ways of being alike, made one score: by meaning (a turn and its neighbours) and by words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from super_advanced_agents.stores.faiss.keywords import Keywords
from super_advanced_agents.stores.faiss.links import Links
from super_advanced_agents.stores.faiss.requests import Search
from super_advanced_agents.stores.faiss.segments import View
from super_advanced_agents.types import Vector, Weights

CANDIDATES = 50
"""How many of each way are weighed: with 20, LoCoMo recall@10 is 0.731, with 50 or 100 it is 0.732."""

_LEAST = 0.05
"""Below this the best signal is noise, and is not blown up to 1."""


def ranked_by_words(
    view: View, searches: Sequence[Search], scope: int | None, candidates: BitMap, *, links: Links, keywords: Keywords
) -> list[tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """The best `top_k` of the candidates for keyword or hybrid searches, all of one kind.

    Returns:
        For each search scores (n,) and rows (n,), best first.
    """
    enough = max(CANDIDATES, *(search.top_k for search in searches))
    by_meaning = np.empty((len(searches), 0), np.int64)
    if searches[0].kind == "hybrid":
        _, by_meaning = view.search(np.concatenate([search.queries for search in searches]), enough, candidates)
    ranked = []
    for search, alike in zip(searches, by_meaning, strict=True):
        assert search.text is not None
        rows, scores = keywords.search(view, search.text, scope, candidates, enough)
        if search.kind == "hybrid":
            rows, scores = fused(
                view,
                links,
                search.queries[0],
                by_meaning=alike[alike >= 0].astype(np.uint32),
                by_words=rows,
                word_scores=scores,
                weights=search.weights,
            )
        ranked.append((scores[: search.top_k], rows[: search.top_k].astype(np.int64)))
    return ranked


def fused(
    view: View,
    links: Links,
    query: Vector,
    *,
    by_meaning: NDArray[np.uint32],
    by_words: NDArray[np.uint32],
    word_scores: NDArray[np.float32],
    weights: Weights,
) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    """Weigh the candidates of both ways together.

    Each signal is divided by its best candidate's, so that the two are on one scale whatever BM25's happens to be; a
    candidate that the words did not find has none of theirs. (Score fusion beat fusion of ranks by 0.12 of recall.)

    Args:
        view: where the vectors are.
        links: who stands beside whom in a session.
        query: (dim,) unit vector.
        by_meaning: rows found by vector.
        by_words: rows found by words, with `word_scores` beside them.
        weights: what each signal counts.

    Returns:
        Rows (n,) and scores (n,) in at most [-1, 1], best first; equal scores in row order.
    """
    rows = np.unique(np.concatenate([by_meaning, by_words]))
    if len(rows) == 0:
        return rows, np.empty(0, np.float32)
    meaning = _meaning(view, links, query, rows, weights.nearby)
    words = np.zeros(len(rows), dtype=np.float32)
    words[np.searchsorted(rows, by_words)] = word_scores
    total = weights.vector + weights.keyword
    scores = (weights.vector * _scaled(meaning) + weights.keyword * _scaled(words)) / total
    order = np.lexsort((rows, -scores))
    return rows[order], scores[order].astype(np.float32)


def _meaning(view: View, links: Links, query: Vector, rows: NDArray[np.uint32], nearby: float) -> NDArray[np.float32]:
    """Each row's likeness to the query, plus `nearby` times the mean of its own and its neighbours'."""
    if not links or not nearby:
        return view.likeness(query, rows) * np.float32(1 + nearby)
    before, after = links.neighbours(rows)
    wanted = np.unique(np.concatenate([rows, before, after]))
    likeness = view.likeness(query, wanted)
    own, first, last = (likeness[np.searchsorted(wanted, which)] for which in (rows, before, after))
    count = np.add(before > 0, after > 0, dtype=np.float32) + 1  # row 0 is nobody, and likens to nothing
    blended: NDArray[np.float32] = own + nearby * (own + first + last) / count
    return blended


def _scaled(signal: NDArray[np.float32]) -> NDArray[np.float32]:
    return signal / np.float32(max(float(signal.max()), _LEAST))
