"""Searches by vector, by keywords and by both, of the rows of one tenant."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from super_advanced_agents._runtime.concurrency.budget import answer_allowance, check_budget
from super_advanced_agents.config import Limits
from super_advanced_agents.stores.fusion import (
    Candidates,
    SessionNeighbours,
    StaticSignals,
    candidate_count,
    fuse,
    needs_static_signals,
)
from super_advanced_agents.stores.milvus.expressions import condition_of, every
from super_advanced_agents.stores.milvus.keywords import Hit, KeywordSearcher
from super_advanced_agents.stores.milvus.rows import (
    MATCH_COLUMNS,
    MAX_ROWS,
    SIGNAL_COLUMNS,
    Columns,
    metadata_of,
    priority_of,
    text_of,
)
from super_advanced_agents.stores.milvus.table import Table, verifier
from super_advanced_agents.stores.options import IndexKind, Metric
from super_advanced_agents.stores.records.answer_sizes import (
    EXPLANATION_BYTES,
    ITEM_BYTES,
    AnswerNeedsReservationError,
    matches_too_large,
    text_bytes,
)
from super_advanced_agents.stores.requests import (
    HybridSearchRequest,
    KeywordSearchRequest,
    PredicateSearchRequest,
    QueryRequest,
    SearchRequest,
)
from super_advanced_agents.stores.validation import bounded_rows, unit_rows
from super_advanced_agents.types import ExplainedMatch, Explanation, Match, Matrix, Vector, Weights

_LEAST_EF = 64
_FIRST_CANDIDATES = 1_000
"""The nearest rows that a predicate sees first; if too few of them pass, it sees all rows."""
_UNVERIFIED = 4
"""The rows asked for, as a multiple of `top_k`, where Milvus cannot evaluate the filter."""


@dataclass(slots=True)
class _Found:
    row: Columns
    score: float
    similarity: float | None


class Searcher:
    """Answer search requests. Its methods block, so only worker threads call them.

    Args:
        table: the rows.
        metric: the similarity of two vectors.
        index: the kind of the vector index.
        limits: the limits of an answer.
    """

    def __init__(self, table: Table, *, metric: Metric, index: IndexKind, limits: Limits) -> None:
        self._table = table
        self._keywords = KeywordSearcher(table)
        self._unit = metric == "cosine"
        self._scaled = unit_rows if metric == "cosine" else bounded_rows
        self._exact_index = index == "flat"
        self._limits = limits

    def search(self, request: SearchRequest) -> list[list[Match]]:
        """Return the records that are most similar to each query vector."""
        queries = self._scaled(request.query_vectors, field="query_vectors")
        found = self._nearest(request, queries, request.top_k)
        kept = [self._similar(each, request.min_similarity)[: request.top_k] for each in found]
        self._check_size(kept, request)
        return [
            [self._match(one, 0.0 if not request.return_scores else one.score, one.score) for one in each]
            for each in kept
        ]

    def search_with_predicate(self, request: PredicateSearchRequest) -> list[Match]:
        """Return the most similar records whose metadata a predicate accepts, best first."""
        queries = self._scaled(request.query_vector[np.newaxis], field="query_vector")
        [found] = self._nearest(request, queries, _FIRST_CANDIDATES)
        passed: list[Match] = []
        for one in self._similar(found, request.min_similarity):
            match = self._match(one, one.score, one.score)
            if request.filter_fn(match.metadata):
                passed.append(match)
                if len(passed) == request.top_k:
                    return passed
        if len(found) < _FIRST_CANDIDATES:
            return passed
        verify = verifier(request.tree)
        [found] = self._exhaustive(
            request.tenant,
            every(self._table.live(request.tenant, request.namespace), condition_of(request.tree).candidates),
            queries,
            request.top_k,
            columns=MATCH_COLUMNS,
            verify=lambda row: verify(row) and request.filter_fn(metadata_of(row)),
        )
        return [self._match(one, one.score, one.score) for one in self._similar(found, request.min_similarity)]

    def search_keywords(self, request: KeywordSearchRequest) -> list[Match]:
        """Return the records that best match the words of the query."""
        depth = candidate_count(Weights(), request.top_k)
        hits = self._by_keywords(request, request.query_text, depth)
        rows = self._table.by_key(request.tenant, [hit.pk for hit in hits], MATCH_COLUMNS)
        found = [_Found(rows[hit.pk], hit.score, None) for hit in hits if hit.pk in rows]
        if request.query_vector is not None and found:
            [query] = self._scaled(request.query_vector[np.newaxis], field="query_vector")
            similarities = self._measured(request.tenant, query, [one.row["pk"] for one in found])
            for one in found:
                one.similarity = similarities.get(one.row["pk"])
        found = self._similar(found, request.min_similarity)[: request.top_k]
        self._check_size([found], request)
        return [self._match(one, one.score, one.similarity) for one in found]

    def search_hybrid(self, request: HybridSearchRequest) -> list[Match]:
        """Return the records with the best scores by vector, keywords and the other signals."""
        weights = request.weights or Weights()
        depth = candidate_count(weights, request.top_k)
        queries = self._scaled(request.query_vector[np.newaxis], field="query_vector")
        nearest = self._nearest(request, queries, depth, SIGNAL_COLUMNS)[0]
        rows = {one.row["pk"]: one.row for one in nearest}
        hits = {hit.pk: hit.score for hit in self._by_keywords(request, request.query_text, depth)}
        rows |= self._table.by_key(request.tenant, [pk for pk in hits if pk not in rows], SIGNAL_COLUMNS)
        known = {one.row["pk"]: one.score for one in nearest}
        beside = {row[side] for row in rows.values() for side in ("before", "after")} if weights.nearby else set()
        unknown = (rows.keys() | beside) - known.keys() - {""}
        known |= self._measured(request.tenant, queries[0], sorted(unknown))
        listed = sorted((row for row in rows.values() if row["pk"] in known), key=lambda row: row["seq"])
        if not listed:
            return []
        similarities = np.array([known[row["pk"]] for row in listed], dtype=np.float32)
        candidates = Candidates(
            ids=np.array([row["seq"] for row in listed], dtype=np.int64),
            similarities=similarities,
            keyword_scores=np.array([hits.get(row["pk"], 0.0) for row in listed], dtype=np.float32),
            neighbours=_neighbours(listed, known) if weights.nearby else None,
            static_signals=_static_signals(listed) if needs_static_signals(weights) else None,
        )
        # Too little similarity leaves candidates out after all are scored, so that the scores of others stay.
        top_k = request.top_k if request.min_similarity is None else len(listed)
        fused = fuse(candidates, weights, top_k, now=time.time(), explain=request.explain)
        explanations: Sequence[Explanation | None] = fused.explanations or [None] * len(fused.order)
        ranked = [
            (_Found(listed[at], float(score), float(similarities[at])), why)
            for at, score, why in zip(fused.order.tolist(), fused.scores, explanations, strict=True)
        ]
        least = -math.inf if request.min_similarity is None else request.min_similarity
        ranked = [each for each in ranked if each[0].similarity is None or each[0].similarity >= least]
        ranked = ranked[: request.top_k]
        self._check_size([[one for one, _ in ranked]], request, explain=request.explain)
        matches: list[Match] = []
        for one, why in ranked:
            match = self._match(one, max(-1.0, min(1.0, one.score)), one.similarity)
            matches.append(match if why is None else ExplainedMatch.of(match, why))
        return matches

    # -- candidates -----------------------------------------------------------------------------------------------

    def _nearest(
        self,
        request: QueryRequest[Any],
        queries: Matrix,
        k: int,
        columns: Sequence[str] = MATCH_COLUMNS,
    ) -> list[list[_Found]]:
        # The k nearest rows of each query, best first.
        if not len(queries):
            return []
        expression = every(self._table.live(request.tenant, request.namespace), condition_of(request.tree).candidates)
        verify = verifier(request.tree)
        limit = min(MAX_ROWS, k if condition_of(request.tree).exact else max(_LEAST_EF, _UNVERIFIED * k))
        found = self._search(request.tenant, expression, queries, columns, limit)
        verified = [[row for row in rows if verify(row)] for rows in found]
        if min(map(len, verified)) >= k or self._has_all(request.tenant, expression, min(map(len, found)), limit):
            return [self._ranked(rows)[:k] for rows in verified]
        return self._exhaustive(request.tenant, expression, queries, k, columns=columns, verify=verify)

    def _has_all(self, tenant: str, expression: str, count: int, limit: int) -> bool:
        # A graph may return fewer rows than there are behind a filter, so they are counted.
        return count < limit and (self._exact_index or count >= self._table.count(tenant, expression))

    def _search(
        self, tenant: str, expression: str, queries: Matrix, columns: Sequence[str], limit: int
    ) -> list[list[dict[str, Any]]]:
        params: dict[str, Any] = {} if self._exact_index else {"params": {"ef": max(_LEAST_EF, limit), "nprobe": 64}}
        return self._table.connection.search(
            tenant,
            expression,
            queries,
            columns,
            partitions=[self._table.partition(tenant)],
            limit=limit,
            params=params,
        )

    def _exhaustive(
        self,
        tenant: str,
        expression: str,
        queries: Matrix,
        k: int,
        *,
        columns: Sequence[str],
        verify: Callable[[Columns], bool],
    ) -> list[list[_Found]]:
        # Rare: of a filter that Milvus cannot evaluate few rows match, or an index returned too few.
        best: list[list[_Found]] = [[] for _ in queries]
        page: list[dict[str, Any]] = []

        def take_page() -> None:
            check_budget()
            for at, query in enumerate(queries):
                similarities = self._similarities(query, page).tolist()
                rows = [row | {"distance": one} for row, one in zip(page, similarities, strict=True)]
                best[at] = sorted(best[at] + self._ranked(rows), key=_by_score)[:k]
            page.clear()

        for row in self._table.rows(tenant, expression, [*columns, "vector"]):
            if verify(row):
                page.append(row)
            if len(page) >= 1_000:
                take_page()
        take_page()
        return best

    def _by_keywords(self, request: QueryRequest[Any], text: str, depth: int) -> list[Hit]:
        condition = condition_of(request.tree)
        live = self._table.live(request.tenant, request.namespace)
        columns = [] if request.tree is None else _VERIFIED
        return self._keywords.search(
            request.tenant,
            text,
            depth,
            candidates=every(live, condition.candidates),
            columns=columns,
            verify=verifier(request.tree),
        )

    # -- scores ---------------------------------------------------------------------------------------------------

    def _ranked(self, rows: Sequence[Columns]) -> list[_Found]:
        found = []
        for row in rows:
            score = float(np.float32(row["distance"]))
            score = max(-1.0, min(1.0, score)) if self._unit else score
            found.append(_Found(row, score, score))
        return sorted(found, key=_by_score)

    def _measured(self, tenant: str, query: Vector, keys: Sequence[str]) -> dict[str, float]:
        # The similarities of rows that a search by vector did not return.
        rows = list(self._table.by_key(tenant, keys, ["pk", "vector"]).values()) if keys else []
        return dict(zip([row["pk"] for row in rows], self._similarities(query, rows).tolist(), strict=True))

    def _similarities(self, query: Vector, rows: Sequence[Columns]) -> NDArray[np.float32]:
        if not rows:
            return np.empty(0, np.float32)
        vectors = np.array([row["vector"] for row in rows], dtype=np.float32)
        products: NDArray[np.float64] = np.einsum(
            "ij,j->i", self._scaled(vectors, field="vectors"), query, dtype=np.float64
        )
        return (np.clip(products, -1, 1) if self._unit else products).astype(np.float32)

    @staticmethod
    def _similar(found: list[_Found], least: float | None) -> list[_Found]:
        return [one for one in found if least is None or one.similarity is None or one.similarity >= least]

    # -- answers --------------------------------------------------------------------------------------------------

    def _check_size(
        self, found: Sequence[Sequence[_Found]], request: QueryRequest[Any], *, explain: bool = False
    ) -> None:
        allowance, most = answer_allowance(), self._limits.answer_bytes
        extra = ITEM_BYTES + EXPLANATION_BYTES * explain
        size = sum(
            extra + text_bytes(one.row["text"], one.row["text_rest"], one.row["metadata"], one.row["source"])
            for each in found
            for one in each
        )
        if size > min(most, most if allowance is None else allowance):
            if size <= most:
                raise AnswerNeedsReservationError
            count = sum(map(len, found))
            raise matches_too_large(self._limits, size / count, top_k=request.top_k, queries=len(found))

    @staticmethod
    def _match(one: _Found, score: float, similarity: float | None) -> Match:
        row: Mapping[str, Any] = one.row
        return Match.of_stored(
            text_of(row),
            row["metadata"],
            score=score,
            uid=row["uid"],
            similarity=similarity,
            source=row["source"] or None,
            session=row["session"] or None,
            created_at=row["created_at"],
            updated_at=row["updated_at"],
        )


_VERIFIED = ["text", "text_rest", "metadata", "complete", "uid", "source", "session", "created_at", "updated_at"]
"""The columns by which a filter is evaluated here."""


def _by_score(one: _Found) -> tuple[float, int]:
    return -one.score, one.row["seq"]


def _static_signals(rows: Sequence[Columns]) -> StaticSignals:
    priorities = [priority_of(row) for row in rows]
    return StaticSignals(
        updated_at=np.array([row["updated_at"] for row in rows], dtype=np.float64),
        priorities=np.array([np.nan if each is None else each for each in priorities], dtype=np.float64),
    )


def _neighbours(rows: Sequence[Columns], similarities: Mapping[str, float]) -> SessionNeighbours | None:
    if not any(row["session"] for row in rows):
        return None
    return SessionNeighbours(
        before=np.array([similarities.get(row["before"], 0.0) for row in rows], dtype=np.float32),
        after=np.array([similarities.get(row["after"], 0.0) for row in rows], dtype=np.float32),
        count=np.array([(row["before"] in similarities) + (row["after"] in similarities) for row in rows], np.float32),
    )
