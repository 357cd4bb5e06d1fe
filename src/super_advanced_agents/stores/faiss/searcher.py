"""The searching side of a store: groups of searches in one pass over one view."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from super_advanced_agents.errors import DimensionMismatchError
from super_advanced_agents.stores.faiss.hybrid import Sources, ranked_by_words
from super_advanced_agents.stores.faiss.rows.batch import Scope
from super_advanced_agents.stores.faiss.rows.row_cache import Hit
from super_advanced_agents.stores.faiss.state import State
from super_advanced_agents.stores.faiss.writing.requests import Ranked, Search
from super_advanced_agents.stores.filters import Filter
from super_advanced_agents.stores.requests import FilterFn
from super_advanced_agents.types import ExplainedMatch, Match, Matrix

_PREDICATE_PAGE = 256
_TRIES = 3


class Searcher:
    """Used by worker threads only. Raises errors of the tree."""

    def __init__(self, state: State, *, unit: bool) -> None:
        self._state = state
        self._unit = unit

    def search(self, searches: list[Search]) -> list[list[list[Match]] | BaseException]:
        """Carry out many callers' searches: those of equal scope and filter in one pass."""
        results: list[list[list[Match]] | BaseException] = [[] for _ in searches]
        groups: dict[tuple[str, Scope | None, Filter | None], list[int]] = {}
        for i, search in enumerate(searches):
            groups.setdefault((search.kind, search.scope, search.tree), []).append(i)
        with _one_core():
            for members in groups.values():
                try:
                    with self._state.ready():
                        found = self._search_together([searches[i] for i in members])
                except Exception as exc:
                    for i in members:
                        results[i] = exc
                    continue
                for i, result in zip(members, found, strict=True):
                    results[i] = result
        return results

    def _search_together(self, searches: list[Search]) -> Sequence[list[list[Match]]]:
        ranked, hits = self._state.whole(partial(self._look, searches))
        found: list[list[list[Match]]] = []
        start = 0
        for search in searches:
            stop = start + (len(search.queries) or 1)
            found.append([self._matches(each, hits, search) for each in ranked[start:stop]])
            start = stop
        return found

    def _look(self, searches: list[Search]) -> tuple[tuple[list[Ranked], dict[int, Hit]], bool]:
        """The best rows of the present view for each query, what they hold, and whether all were still there."""
        view = self._state.index.view
        if len(searches[0].queries):
            _check_length(searches[0].queries, view.dim)
        scope = self._state.scope_id(searches[0].scope)
        selection = self._state.selection(view, searches[0].scope, searches[0].tree)
        if searches[0].kind == "vector":
            queries = np.concatenate([search.queries for search in searches])
            scores, rows = view.search(queries, max(search.top_k for search in searches), selection)
            ranked = [Ranked(*each) for each in zip(scores, rows, strict=True)]
        else:
            sources = Sources(self._state.rows, self._state.index.session_neighbours, self._state.keywords)
            ranked = ranked_by_words(view, searches, scope, selection, sources)
        wanted = {row for each in ranked for row in each.rows.tolist() if row >= 0}
        hits = self._state.rows.hits(list(wanted))
        return (ranked, hits), len(hits) == len(wanted)

    def _matches(self, ranked: Ranked, hits: dict[int, Hit], search: Search) -> list[Match]:
        scores, rows, reasons, similarities = ranked
        highest = 1.0 if self._unit and search.kind != "keyword" else np.inf  # rounding may leave 1.0000001
        matches = []
        for i, (score, row) in enumerate(
            zip(scores[: search.top_k].tolist(), rows[: search.top_k].tolist(), strict=True)
        ):
            hit = hits.get(row)
            if hit is not None:
                bounded = max(-highest, min(highest, score))
                similarity = bounded if search.kind == "vector" else None
                if similarities is not None:
                    similarity = max(-highest, min(highest, float(similarities[i])))
                match = hit.match(bounded if search.return_scores else 0.0, similarity)
                matches.append(match if reasons is None else ExplainedMatch.of(match, reasons[i]))
        return matches

    def search_with_predicate(self, search: Search, predicate: FilterFn) -> list[Match]:
        """Rank every candidate, then show them to the predicate a page at a time until enough have passed."""
        with _one_core():
            passed, whole = self._look_with_predicate(search, predicate)
            for _ in range(_TRIES):
                if whole:
                    break
                passed, whole = self._look_with_predicate(search, predicate)
        return passed  # what was replaced again and again while the predicate ran may be missing

    def _look_with_predicate(self, search: Search, predicate: FilterFn) -> tuple[list[Match], bool]:
        with self._state.ready():
            scores, rows = self._state.whole(partial(self._rank, search))
        passed: list[Match] = []
        whole = True
        for start in range(0, len(rows), _PREDICATE_PAGE):
            page = slice(start, start + _PREDICATE_PAGE)
            with self._state.ready():
                hits = self._state.rows.hits(rows[page].tolist())
            whole = whole and len(hits) == len(rows[page])
            every = replace(search, top_k=_PREDICATE_PAGE)
            for match in self._matches(Ranked(scores[page], rows[page]), hits, every):
                if predicate(match.metadata):
                    passed.append(match)
                    if len(passed) == search.top_k:
                        return passed, whole
        return passed, whole

    def _rank(self, search: Search) -> tuple[tuple[Matrix, NDArray[np.int64]], bool]:
        view = self._state.index.view
        _check_length(search.queries, view.dim)
        return view.ranking(search.queries[0], self._state.candidates(view, search.scope, search.tree)), True


def _check_length(queries: Matrix, dim: int) -> None:
    """A query checked before the store's vectors were replaced by some of another length cannot be answered."""
    if queries.shape[1] != dim:
        raise DimensionMismatchError(f"the query has {queries.shape[1]} numbers, the store holds {dim}", field="query")


@contextmanager
def _one_core() -> Iterator[None]:
    """OpenMP's barriers cost 8 ms when other threads want the cores. The setting is the thread's, maybe a caller's."""
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
