"""Candidates by vector and by words, with the signals that `stores.fusion` weighs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from super_advanced_agents.stores.faiss.keywords.index import Keywords, Ranking
from super_advanced_agents.stores.faiss.metadata.selections import Selection
from super_advanced_agents.stores.faiss.rows.session_neighbours import SessionNeighbourIndex
from super_advanced_agents.stores.faiss.rows.table import RecordTable
from super_advanced_agents.stores.faiss.vectors.view import View
from super_advanced_agents.stores.faiss.writing.requests import Ranked, Search
from super_advanced_agents.stores.fusion import (
    Candidates,
    SessionNeighbours,
    Standing,
    candidates_wanted,
    fuse,
    needs_standing,
)
from super_advanced_agents.types import Vector, Weights


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the signals of a store's rows come from."""

    rows: RecordTable
    session_neighbours: SessionNeighbourIndex
    keywords: Keywords


def ranked_by_words(
    view: View, searches: Sequence[Search], scope: int | None, selection: Selection, sources: Sources
) -> list[Ranked]:
    """The best `top_k` of the candidates for keyword or hybrid searches, all of one kind.

    Returns:
        For each search its rows, best first; equal scores in row order.
    """
    wanted = max(candidates_wanted(search.weights, search.top_k) for search in searches)
    hybrid = searches[0].kind == "hybrid"
    by_meaning = np.empty((len(searches), 0), np.int64)
    if hybrid:
        _, by_meaning = view.search(np.concatenate([search.queries for search in searches]), wanted, selection)
    by_words = sources.keywords.search(view, [search.text or "" for search in searches], scope, selection.rows, wanted)
    if hybrid:
        return [_fused(view, sources, *found) for found in zip(searches, by_meaning, by_words, strict=True)]
    return [
        Ranked(scores[: search.top_k], rows[: search.top_k].astype(np.int64))
        for search, (rows, scores) in zip(searches, by_words, strict=True)
    ]


def _fused(view: View, sources: Sources, search: Search, by_meaning: NDArray[np.int64], by_words: Ranking) -> Ranked:
    word_rows, word_scores = by_words
    rows = _sorted_once(by_meaning[by_meaning >= 0].astype(np.uint32), word_rows)
    keyword_scores = np.zeros(len(rows), dtype=np.float32)
    keyword_scores[np.searchsorted(rows, word_rows)] = word_scores
    similarities, neighbours = _similarities(view, sources.session_neighbours, search.queries[0], rows, search.weights)
    candidates = Candidates(
        ids=rows,
        similarities=similarities,
        keyword_scores=keyword_scores,
        neighbours=neighbours,
        standing=_standing(sources.rows, rows) if needs_standing(search.weights) else None,
    )
    fused = fuse(candidates, search.weights, search.top_k, now=time.time(), explain=search.explain)
    best = fused.order
    return Ranked(fused.scores, rows[best].astype(np.int64), fused.explanations, similarities[best])


def _similarities(
    view: View, session_neighbours: SessionNeighbourIndex, query: Vector, rows: NDArray[np.uint32], weights: Weights
) -> tuple[NDArray[np.float32], SessionNeighbours | None]:
    """Those of the rows, and those of their neighbours where these count, looked up together."""
    if not session_neighbours or not weights.nearby:
        return view.similarities(query, rows), None
    before, after = session_neighbours.neighbours(rows)
    wanted = _sorted_once(rows, before, after)
    found = view.similarities(query, wanted)
    own, first, last = (found[np.searchsorted(wanted, which)] for which in (rows, before, after))
    count = np.add(before > 0, after > 0, dtype=np.float32)  # row 0 is nobody, and its similarity is 0
    return own, SessionNeighbours(before=first, after=last, count=count)


def _standing(rows: RecordTable, wanted: NDArray[np.uint32]) -> Standing:
    known = rows.standing(wanted.tolist())
    gone = (np.nan, None)
    values = np.array([known.get(row, gone) for row in wanted.tolist()], dtype=np.float64).reshape(-1, 2)
    return Standing(updated_at=values[:, 0], priorities=values[:, 1])


def _sorted_once(*parts: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """All rows, ascending, each once; for so few a quarter of the time of `np.unique`."""
    rows = np.sort(np.concatenate(parts))
    first = np.ones(len(rows), dtype=bool)
    np.not_equal(rows[1:], rows[:-1], out=first[1:])
    return rows[first]
