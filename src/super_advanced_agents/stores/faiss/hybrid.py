"""Ranking of keyword searches, and of hybrid searches by vector and keywords together.

This module collects the signals of each candidate; `stores.fusion` weighs them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from super_advanced_agents._runtime.concurrency.budget import check_budget
from super_advanced_agents.stores.faiss.keywords.index import Ranking
from super_advanced_agents.stores.faiss.keywords.tenants import KeywordIndexes
from super_advanced_agents.stores.faiss.metadata.selections import Selection
from super_advanced_agents.stores.faiss.rows.session_neighbours import SessionNeighbourIndex
from super_advanced_agents.stores.faiss.rows.table import RecordTable
from super_advanced_agents.stores.faiss.search import Ranked, Search
from super_advanced_agents.stores.faiss.vectors.view import View
from super_advanced_agents.stores.fusion import (
    Candidates,
    SessionNeighbours,
    StaticSignals,
    candidate_count,
    fuse,
    needs_static_signals,
)
from super_advanced_agents.types import Vector


@dataclass(frozen=True, slots=True)
class SignalSources:
    """Hold the table and indexes from which the ranking of hybrid searches reads its signals.

    The signals are keyword scores, session neighbours, times of the last write and priorities.
    """

    rows: RecordTable
    session_neighbours: SessionNeighbourIndex
    keywords: KeywordIndexes


def rank_by_keywords(
    view: View,
    searches: Sequence[Search],
    nearest: NDArray[np.int64],
    *,
    scope: int | None,
    selection: Selection,
    sources: SignalSources,
) -> list[Ranked]:
    """Rank rows for several keyword searches, or for several hybrid (vector and keyword) ones.

    Args:
        view: the view to search.
        searches: the searches, with at most one query vector each.
        nearest: (m, k) rows that are nearest by vector, -1 past the end; (0, k) for keyword searches.
        scope: the number of the scope to search; None for the whole store.
        selection: the rows that the filter selects.
        sources: the table and indexes that hold the signals.

    Returns:
        For each search its `top_k` rows, best first; equal scores in row order.
    """
    depth = max(candidate_count(search.weights, search.top_k) for search in searches)
    texts = [search.text or "" for search in searches]
    by_keywords = sources.keywords.search(view, texts, scope, selection.rows, depth)
    if searches[0].kind == "hybrid":
        with_sessions = sources.session_neighbours.has_sessions(scope)  # not by what other tenants have
        return [
            _fuse_signals(view, sources, search, rows, ranking, with_sessions=with_sessions)
            for search, rows, ranking in zip(searches, nearest, by_keywords, strict=True)
        ]
    return [_rank_keywords(view, search, ranking) for search, ranking in zip(searches, by_keywords, strict=True)]


def _rank_keywords(view: View, search: Search, ranking: Ranking) -> Ranked:
    rows, scores = ranking
    if not len(search.queries):
        return Ranked(scores[: search.top_k], rows[: search.top_k].astype(np.int64))
    order = np.argsort(rows)
    similarities = np.empty(len(rows), np.float32)
    similarities[order] = view.similarities(search.queries[0], rows[order])
    ranked = Ranked(scores, rows.astype(np.int64), None, similarities)
    return ranked.best(search.top_k, min_similarity=search.min_similarity)


def _fuse_signals(
    view: View,
    sources: SignalSources,
    search: Search,
    nearest: NDArray[np.int64],
    by_keywords: Ranking,
    *,
    with_sessions: bool,
) -> Ranked:
    check_budget()
    keyword_rows, scores = by_keywords
    rows = _sorted_unique(nearest[nearest >= 0].astype(np.uint32), keyword_rows)
    keyword_scores = np.zeros(len(rows), dtype=np.float32)
    keyword_scores[np.searchsorted(rows, keyword_rows)] = scores
    session_neighbours = sources.session_neighbours if with_sessions and search.weights.nearby else None
    similarities, neighbours = _similarities(view, session_neighbours, search.queries[0], rows)
    candidates = Candidates(
        ids=rows,
        similarities=similarities,
        keyword_scores=keyword_scores,
        neighbours=neighbours,
        static_signals=_static_signals(sources.rows, rows) if needs_static_signals(search.weights) else None,
    )
    # Too little similarity leaves candidates out after all are scored, so that the scores of others stay.
    top_k = search.top_k if search.min_similarity is None else len(rows)
    fused = fuse(candidates, search.weights, top_k, now=time.time(), explain=search.explain)
    best = fused.order
    ranked = Ranked(fused.scores, rows[best].astype(np.int64), fused.explanations, similarities[best])
    return ranked.best(search.top_k, min_similarity=search.min_similarity)


def _similarities(
    view: View, session_neighbours: SessionNeighbourIndex | None, query: Vector, rows: NDArray[np.uint32]
) -> tuple[NDArray[np.float32], SessionNeighbours | None]:
    if session_neighbours is None:
        return view.similarities(query, rows), None
    before, after = session_neighbours.neighbours(rows)
    needed = _sorted_unique(rows, before, after)  # one look-up for all of them
    similarities = view.similarities(query, needed)
    own, previous, following = (similarities[np.searchsorted(needed, part)] for part in (rows, before, after))
    count = np.add(before > 0, after > 0, dtype=np.float32)  # no record has row 0, so its similarity is 0
    return own, SessionNeighbours(before=previous, after=following, count=count)


def _static_signals(table: RecordTable, rows: NDArray[np.uint32]) -> StaticSignals:
    stored = table.static_signals(rows.tolist())
    deleted = (np.nan, None)
    values = np.array([stored.get(row, deleted) for row in rows.tolist()], dtype=np.float64).reshape(-1, 2)
    return StaticSignals(updated_at=values[:, 0], priorities=values[:, 1])


def _sorted_unique(*parts: NDArray[np.uint32]) -> NDArray[np.uint32]:
    # Takes a quarter of the time of `np.unique` for a few hundred rows.
    rows = np.sort(np.concatenate(parts))
    first = np.ones(len(rows), dtype=bool)
    np.not_equal(rows[1:], rows[:-1], out=first[1:])
    return rows[first]
