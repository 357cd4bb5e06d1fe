"""Search by a predicate in stores that cannot ask one themselves, such as those of a server or another engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import numpy as np

from super_advanced_agents._runtime.futures import driven_by_thread, in_thread
from super_advanced_agents.stores.base import VectorStore
from super_advanced_agents.stores.options import Metric
from super_advanced_agents.stores.requests import FilterFn, PredicateSearchRequest
from super_advanced_agents.types import Match, Record, Vector

T = TypeVar("T")

_RANKED_FIRST = 1_000
_PAGE = 500


async def search_by_predicate(store: VectorStore, request: PredicateSearchRequest, metric: Metric) -> list[Match]:
    """Find the most similar records that pass a predicate.

    The predicate sees the best 1,000 first; should fewer than `top_k` of them pass, every record is fetched, page by
    page. It is called in a thread, and what it raises is raised here.

    Args:
        store: searched and scanned.
        request: what is looked for.
        metric: how the store compares vectors; scores are the ones that its own searches give.
    """
    where, namespace = request.where, request.namespace
    best = await store.asearch(
        request.query_vector, _RANKED_FIRST, where=where, namespace=namespace, model_id=request.model_id
    )
    passed = await _in_thread(partial(_passed, best, request.filter_fn))
    if len(passed) >= request.top_k or len(best) < _RANKED_FIRST:
        return passed[: request.top_k]
    query = _scaled(request.query_vector, metric)
    ranked: list[Match] = []
    after: str | None = None
    while page := await store.ascan(where, after=after, limit=_PAGE, namespace=namespace):
        after = page[-1].uid
        ranked += await _in_thread(partial(_scored, page, request.filter_fn, query, metric))
        ranked = sorted(ranked, key=lambda match: -match.score)[: request.top_k]
    return ranked


async def _in_thread(work: Callable[[], T]) -> T:
    """Call what a caller wrote off the event loop; a caller who blocks waits in a thread already."""
    return work() if driven_by_thread() else await in_thread(work, name="predicate")


def _passed(matches: Sequence[Match], predicate: FilterFn) -> list[Match]:
    return [match for match in matches if predicate(match.metadata)]


def _scored(page: Sequence[Record], predicate: FilterFn, query: Vector, metric: Metric) -> list[Match]:
    found = []
    for record in page:
        if predicate(record.metadata):
            score = float(_scaled(record.vector, metric) @ query)
            found.append(
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
    return found


def _scaled(vector: Vector, metric: Metric) -> Vector:
    """Return a vector as the metric compares it; the cosine's have no zero among them."""
    if metric == "dot":
        return vector
    unit: Vector = (vector / np.linalg.norm(vector.astype(np.float64))).astype(np.float32)
    return unit
