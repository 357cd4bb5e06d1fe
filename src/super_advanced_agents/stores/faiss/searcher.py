"""Batched searches: queries of many requests are answered in one pass over the index."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from super_advanced_agents._runtime.concurrency.budget import check_budget, spending
from super_advanced_agents.config import Limits
from super_advanced_agents.errors import DimensionMismatchError, InvalidInputError
from super_advanced_agents.stores.faiss.hybrid import SignalSources, rank_by_keywords
from super_advanced_agents.stores.faiss.metadata.index import _StaleViewError
from super_advanced_agents.stores.faiss.metadata.selections import Selection
from super_advanced_agents.stores.faiss.rows.row_cache import Hit
from super_advanced_agents.stores.faiss.search import Ranked, Search
from super_advanced_agents.stores.faiss.state import State, stale_index_error
from super_advanced_agents.stores.faiss.vectors.view import View
from super_advanced_agents.stores.filters import Filter
from super_advanced_agents.stores.fusion import candidate_count
from super_advanced_agents.stores.records.answer_sizes import (
    EXPLANATION_BYTES,
    AnswerNeedsReservationError,
    largest_match_bytes,
    matches_too_large,
)
from super_advanced_agents.stores.records.scope import Scope
from super_advanced_agents.stores.requests import FilterFn
from super_advanced_agents.telemetry import stage
from super_advanced_agents.types import ExplainedMatch, Match, Matrix

_PREDICATE_PAGE = 256
_COUNTED_PAGE = 32
"""The number of rows that are read before their bytes are counted: 2.5 MiB of the largest."""
_TRIES = 3


class Searcher:
    """Answer search requests. The methods block, so only worker threads call them.

    Methods raise errors of the package only.

    Args:
        state: the shared state of the store.
        limits: the limits of an answer.
        unit: True when vectors have length 1, so that similarities are in [-1, 1].
    """

    def __init__(self, state: State, limits: Limits, *, unit: bool) -> None:
        self._state = state
        self._limits = limits
        self._match_bytes = largest_match_bytes(limits)
        self._unit = unit
        self._sources = SignalSources(state.rows, state.index.session_neighbours, state.keywords)

    def search(self, searches: list[Search]) -> list[list[list[Match]] | BaseException]:
        """Answer many searches; those of equal kind, namespace and filter share one pass.

        Returns:
            For each search its matches (one list per query) or its error.
        """
        results: list[list[list[Match]] | BaseException] = [[] for _ in searches]
        with _single_faiss_thread():
            for members in _group_searches(searches):
                group = [searches[i] for i in members]
                matches: Sequence[list[list[Match]] | BaseException] = ()
                try:
                    budgets = [group_search.budget for group_search in group]
                    with stage("engine"), spending(budgets), self._state.views() as views:
                        for view in views:
                            with suppress(_StaleViewError):
                                selection = self._state.selection(view, group[0].scope, group[0].tree)
                                nearest = view.search(_join_queries(group, view), _rows_per_query(group), selection)
                                matches, complete = self._load_matches(
                                    group, self._rank(group, view, nearest, selection)
                                )
                                if complete:
                                    break
                    if not matches:
                        raise stale_index_error()
                except Exception as exc:
                    matches = [exc] * len(members)
                for i, result in zip(members, matches, strict=True):
                    results[i] = result
        return results

    def _rank(
        self, group: list[Search], view: View, nearest: tuple[Matrix, NDArray[np.int64]], selection: Selection
    ) -> list[Ranked]:
        if group[0].kind == "vector":
            least = [search.min_similarity for search in group for _ in search.queries]
            return [
                Ranked(scores, rows).best(len(rows), min_similarity=each)
                for scores, rows, each in zip(*nearest, least, strict=True)
            ]
        scope = self._state.scope_id(group[0].scope)
        return rank_by_keywords(view, group, nearest[1], scope=scope, selection=selection, sources=self._sources)

    def _load_matches(
        self, group: list[Search], ranked: list[Ranked]
    ) -> tuple[list[list[list[Match]] | BaseException], bool]:
        parts: list[list[Ranked]] = []
        start = 0
        for search in group:
            stop = start + (len(search.queries) or 1)
            parts.append(ranked[start:stop])
            start = stop
        rows = {
            row
            for search, rankings in zip(group, parts, strict=True)
            if not self._is_counted(search)
            for ranking in rankings
            for row in ranking.rows[: search.top_k].tolist()
            if row >= 0
        }
        hits = self._state.rows.hits(list(rows))
        complete = len(hits) == len(rows)
        matches: list[list[list[Match]] | BaseException] = []
        for search, rankings in zip(group, parts, strict=True):
            try:
                if self._is_counted(search) and not self._load_counted(rankings, hits, search):
                    complete = False
            except (InvalidInputError, AnswerNeedsReservationError) as exc:
                matches.append(exc)
            else:
                matches.append([self._build_matches(ranking, hits, search) for ranking in rankings])
        return matches, complete

    def _is_counted(self, search: Search) -> bool:
        most = (len(search.queries) or 1) * search.top_k * self._match_bytes
        return most > self._allowance(search)

    def _allowance(self, search: Search) -> int:
        most, own = self._limits.answer_bytes, search.budget.answer_bytes
        return most if own is None else min(most, own)

    def _load_counted(self, rankings: list[Ranked], hits: dict[int, Hit], search: Search) -> bool:
        # Adds the rows of one search to `hits`; an answer that is too large is refused before all of it is read.
        times = Counter(row for ranking in rankings for row in ranking.rows[: search.top_k].tolist() if row >= 0)
        size = count = 0
        rows, read = list(times), []
        for start in range(0, len(rows), _COUNTED_PAGE):
            check_budget()
            page = rows[start : start + _COUNTED_PAGE]
            missing = [row for row in page if row not in hits]
            hits.update(self._state.rows.hits(missing))
            read += missing
            extra = EXPLANATION_BYTES * search.explain
            size += sum(times[row] * (hits[row].answer_bytes + extra) for row in page if row in hits)
            count += sum(times[row] for row in page)
            if size > self._allowance(search):
                for row in read:  # else they would last as long as the other searches of the group
                    hits.pop(row, None)
                if self._allowance(search) < self._limits.answer_bytes:
                    raise AnswerNeedsReservationError
                raise matches_too_large(self._limits, size / count, top_k=search.top_k, queries=len(rankings))
        return all(row in hits for row in rows)

    def _build_matches(self, ranked: Ranked, hits: dict[int, Hit], search: Search) -> list[Match]:
        scores, rows, explanations, similarities = ranked
        highest = 1.0 if self._unit else np.inf  # rounding may leave 1.0000001
        best = np.inf if search.kind == "keyword" else highest
        matches = []
        for i, (score, row) in enumerate(
            zip(scores[: search.top_k].tolist(), rows[: search.top_k].tolist(), strict=True)
        ):
            hit = hits.get(row)
            if hit is not None:
                bounded = max(-best, min(best, score))
                similarity = bounded if search.kind == "vector" else None
                if similarities is not None:
                    similarity = max(-highest, min(highest, float(similarities[i])))
                match = hit.match(bounded if search.return_scores else 0.0, similarity)
                matches.append(match if explanations is None else ExplainedMatch.of(match, explanations[i]))
        return matches

    def search_with_predicate(self, search: Search, predicate: FilterFn) -> list[Match]:
        """Return the `top_k` most similar records whose metadata a predicate accepts.

        The predicate is called with pages of candidates, best first, until enough have passed. A record that is
        replaced again and again while it runs may be missing.
        """
        with _single_faiss_thread():
            passed, complete = self._filter_pages(search, predicate)
            for _ in range(_TRIES):
                if complete:
                    break
                passed, complete = self._filter_pages(search, predicate)
        return passed

    def _filter_pages(self, search: Search, predicate: FilterFn) -> tuple[list[Match], bool]:
        scores, rows = self._state.read_consistently(partial(self._rank_candidates, search))
        scores, rows, *_ = Ranked(scores, rows).best(len(rows), min_similarity=search.min_similarity)
        passed: list[Match] = []
        complete = True
        page_search = replace(search, top_k=_PREDICATE_PAGE)
        for start in range(0, len(rows), _PREDICATE_PAGE):
            page = slice(start, start + _PREDICATE_PAGE)
            with self._state.ready():
                hits = self._state.rows.hits(rows[page].tolist())
            complete = complete and len(hits) == len(rows[page])
            for match in self._build_matches(Ranked(scores[page], rows[page]), hits, page_search):
                if predicate(match.metadata):
                    passed.append(match)
                    if len(passed) == search.top_k:
                        return passed, complete
        return passed, complete

    def _rank_candidates(self, search: Search, view: View) -> tuple[tuple[Matrix, NDArray[np.int64]], bool]:
        candidates = self._state.candidates(view, search.scope, search.tree)
        return view.ranking(_join_queries([search], view)[0], candidates), True


def _group_searches(searches: list[Search]) -> Iterable[list[int]]:
    # By dimension too: a re-embedding may have changed it between two searches, and only one of them can be answered.
    groups: dict[tuple[str, Scope | None, Filter | None, int], list[int]] = {}
    for i, search in enumerate(searches):
        groups.setdefault((search.kind, search.scope, search.tree, search.queries.shape[1]), []).append(i)
    return groups.values()


def _join_queries(group: list[Search], view: View) -> Matrix:
    queries = np.concatenate([search.queries for search in group])
    # They were validated before they were queued; a re-embedding may have changed the dimension since.
    if len(queries) and queries.shape[1] != view.dim:
        raise DimensionMismatchError(
            f"the query has {queries.shape[1]} numbers, the store holds {view.dim}", field="query"
        )
    return queries[:0] if group[0].kind == "keyword" else queries  # whose vectors only measure similarity


def _rows_per_query(group: list[Search]) -> int:
    if group[0].kind == "vector":
        return max(search.top_k for search in group)
    return max(candidate_count(search.weights, search.top_k) for search in group)


@contextmanager
def _single_faiss_thread() -> Iterator[None]:
    # OpenMP's barriers cost 8 ms when other threads want the cores. The setting is the thread's, maybe a caller's.
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
