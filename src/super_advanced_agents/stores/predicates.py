"""Search with a Python predicate, for stores that cannot run one, such as remote stores."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import numpy as np

from super_advanced_agents._runtime.concurrency.futures import driven_by_thread, in_thread
from super_advanced_agents.stores.base import VectorStore
from super_advanced_agents.stores.options import Metric
from super_advanced_agents.stores.requests import FilterFn, PredicateSearchRequest
from super_advanced_agents.types import Match, Record, Vector

T = TypeVar("T")

_RANKED_FIRST = 1_000
_PAGE = 500


async def search_by_predicate(store: VectorStore, request: PredicateSearchRequest, metric: Metric) -> list[Match]:
    """Return the most similar records for which `request.filter_fn(metadata)` is true.

    The predicate is called for the 1,000 most similar records first; if fewer than `top_k` of them pass, all records
    are read page by page. It is called in a thread, and an exception that it raises is raised here.

    Args:
        store: the store to search and scan.
        request: the query, the predicate and the filter.
        metric: the store's metric; scores equal those of the store's own searches.
    """
    where, namespace = request.where, request.namespace
    candidates = await store.asearch(
        request.query_vector,
        _RANKED_FIRST,
        where=where,
        namespace=namespace,
        model_id=request.model_id,
        min_similarity=request.min_similarity,
    )
    passed = await _in_thread(partial(_filter_matches, candidates, request.filter_fn))
    if len(passed) >= request.top_k or len(candidates) < _RANKED_FIRST:
        return passed[: request.top_k]
    query = _normalize(request.query_vector, metric)
    ranked: list[Match] = []
    after: str | None = None
    while page := await store.ascan(where, after=after, limit=_PAGE, namespace=namespace):
        after = page[-1].uid
        ranked += await _in_thread(partial(_score_page, page, request, query, metric))
        ranked = sorted(ranked, key=lambda match: -match.score)[: request.top_k]
    return ranked


async def _in_thread(work: Callable[[], T]) -> T:
    # A predicate may block, so it must not run on the event loop; a blocking caller is in a thread already.
    return work() if driven_by_thread() else await in_thread(work, name="predicate")


def _filter_matches(matches: Sequence[Match], predicate: FilterFn) -> list[Match]:
    return [match for match in matches if predicate(match.metadata)]


def _score_page(page: Sequence[Record], request: PredicateSearchRequest, query: Vector, metric: Metric) -> list[Match]:
    matches = []
    least = -math.inf if request.min_similarity is None else request.min_similarity
    for record in page:
        if request.filter_fn(record.metadata):
            score = float(_normalize(record.vector, metric) @ query)
            if score < least:
                continue
            matches.append(
                Match(
                    record.metadata,
                    score,
                    record.uid,
                    similarity=score,
                    source=record.source,
                    session=record.session,
                    created_at=record.created_at,
                    updated_at=record.updated_at,
                )
            )
    return matches


def _normalize(vector: Vector, metric: Metric) -> Vector:
    if metric == "dot":
        return vector
    # A store with the cosine metric holds no zero vector.
    unit: Vector = (vector / np.linalg.norm(vector.astype(np.float64))).astype(np.float32)
    return unit
