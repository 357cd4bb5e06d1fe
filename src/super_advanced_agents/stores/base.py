"""The public operations of every vector store, each written once, over one abstract method.

One behaviour suite (`testing.store_suite`) holds all stores to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from numpy.typing import ArrayLike

from super_advanced_agents._runtime.sync_bridge import blocking
from super_advanced_agents.stores.requests import (
    CountRequest,
    FilterFn,
    GetRequest,
    HybridSearchRequest,
    KeywordSearchRequest,
    PredicateSearchRequest,
    ScanRequest,
    SearchRequest,
    StatsRequest,
    length,
)
from super_advanced_agents.stores.writes import WriteOperations
from super_advanced_agents.types import JSONValue, Match, Matrix, Record, Vector, Weights, Where


class VectorStore(WriteOperations):
    """Vectors with metadata, found by similarity; safe for concurrent use from threads and event loops.

    Records live in namespaces; a uid is unique within its namespace. A write without `namespace` goes to `"default"`;
    any other call without one covers every namespace of the store.

    Each operation is offered twice: `averb()` for asyncio, which never blocks the event loop, and `verb()`, its
    blocking twin, derived from it. A cancelled read leaves nothing behind; a cancelled write that had not begun is
    dropped, one that had is carried out.

    All operations raise `ResourceClosedError` after close, `OverloadedError` when their bounded queue is full, and
    `InvalidInputError` (with the field) for arguments out of bounds.

    An engine implements `dim` and `_execute`, and `_version` where it knows one.
    """

    async def asearch_batch(
        self,
        query_vectors: ArrayLike | Sequence[ArrayLike],
        top_k: int = 5,
        *,
        where: Where | None = None,
        namespace: str | None = None,
        model_id: str | None = None,
        return_scores: bool = True,
    ) -> list[list[Match]]:
        """For each of the (m, dim) queries the `top_k` most similar records, best first.

        Args:
            query_vectors: (m, dim), finite, not zero when the metric is the cosine.
            top_k: how many, at most; if that many records match `where`, that many come back.
            where: a filter over metadata, evaluated inside the search (see `stores.filters`).
            namespace: only there; everywhere when None.
            model_id: the embedding model of the queries, to be checked against that of the namespace's vectors.
            return_scores: False leaves every `Match.score` at 0.0, for callers that only want the order.

        Raises:
            FilterError: `where` is malformed.
            ModelMismatchError: the namespace has vectors of another model than `model_id`.
        """
        return await self._perform(
            lambda bounds: SearchRequest(
                bounds=bounds,
                query_vectors=cast("Matrix", query_vectors),
                top_k=top_k,
                where=where,
                namespace=namespace,
                model_id=model_id,
                return_scores=return_scores,
            ),
            length(query_vectors),
        )

    async def asearch(
        self,
        query_vector: ArrayLike,
        top_k: int = 5,
        *,
        where: Where | None = None,
        namespace: str | None = None,
        model_id: str | None = None,
        return_scores: bool = True,
    ) -> list[Match]:
        """The `top_k` records most similar to one (dim,) query; see `asearch_batch`. Concurrent callers share work."""
        matches = await self.asearch_batch(
            [query_vector],
            top_k,
            where=where,
            namespace=namespace,
            model_id=model_id,
            return_scores=return_scores,
        )
        return matches[0]

    async def asearch_hybrid(
        self,
        query_vector: ArrayLike,
        query_text: str,
        top_k: int = 5,
        *,
        where: Where | None = None,
        namespace: str | None = None,
        model_id: str | None = None,
        weights: Weights | None = None,
        explain: bool = False,
    ) -> list[Match]:
        """The `top_k` records most like a query by meaning and by words together, best first.

        The best of each way (30 or `top_k`; 100 where age or priority counts) are weighed by the sum of their signals,
        each divided by its best: the similarity of the vectors, lent by neighbours in the session, and BM25 over stemmed
        words of the text and of the turn with its neighbours.

        Args:
            query_vector: (dim,) of `query_text`.
            query_text: plain words; nothing in it is syntax.
            top_k: how many, at most; if that many records match `where`, that many come back.
            where: a filter over metadata, evaluated inside both searches.
            namespace: only there; everywhere when None.
            model_id: as for `asearch_batch`.
            weights: what each way counts, and whether age and priority do; `Weights()` when None.
            explain: each match is an `ExplainedMatch`.

        Returns:
            Matches with scores in [-1, 1].
        """
        return await self._perform(
            lambda bounds: HybridSearchRequest(
                bounds=bounds,
                query_vector=cast("Vector", query_vector),
                query_text=query_text,
                top_k=top_k,
                where=where,
                namespace=namespace,
                model_id=model_id,
                weights=weights,
                explain=explain,
            )
        )

    async def asearch_keywords(
        self, query_text: str, top_k: int = 5, *, where: Where | None = None, namespace: str | None = None
    ) -> list[Match]:
        """The `top_k` records that share the most telling words with a text, best first; none where no word is shared.

        Words are stemmed (English), common ones left out, and every one counts by itself: nothing is syntax. The score
        is BM25's, of the text and of the turn with its neighbours.
        """
        return await self._perform(
            lambda bounds: KeywordSearchRequest(
                bounds=bounds, query_text=query_text, top_k=top_k, where=where, namespace=namespace
            )
        )

    async def asearch_with_filter(
        self,
        query_vector: ArrayLike,
        top_k: int,
        filter_fn: FilterFn,
        *,
        where: Where | None = None,
        namespace: str | None = None,
        model_id: str | None = None,
    ) -> list[Match]:
        """The `top_k` most similar records whose metadata passes `filter_fn`; `where` is the fast way.

        What `filter_fn` raises is raised here. It runs in a worker thread.
        """
        return await self._perform(
            lambda bounds: PredicateSearchRequest(
                bounds=bounds,
                query_vector=cast("Vector", query_vector),
                top_k=top_k,
                filter_fn=filter_fn,
                where=where,
                namespace=namespace,
                model_id=model_id,
            )
        )

    async def aget(self, uids: Sequence[str], *, namespace: str | None = None) -> list[Record]:
        """The records of these names, in the order of `uids`; names nobody has are left out."""
        return await self._perform(lambda bounds: GetRequest(bounds=bounds, uids=uids, namespace=namespace))

    async def acount(self, where: Where | None = None, *, namespace: str | None = None) -> int:
        """How many records match `where`; all of them when None."""
        return await self._perform(lambda bounds: CountRequest(bounds=bounds, where=where, namespace=namespace))

    async def ascan(
        self,
        where: Where | None = None,
        *,
        after: str | None = None,
        limit: int = 100,
        namespace: str | None = None,
    ) -> list[Record]:
        """One page of the records matching `where`, in the order of their uids.

        Args:
            where: a filter over metadata; every record when None.
            after: the last uid of the page before; the first page when None.
            limit: the page's size, at most the store's `batch_records` limit.
            namespace: only there; everywhere when None (records of equal uids then come on one page).
        """
        return await self._perform(
            lambda bounds: ScanRequest(bounds=bounds, where=where, after=after, limit=limit, namespace=namespace)
        )

    async def astats(self) -> dict[str, JSONValue]:
        """Counters and sizes, for people and dashboards; at least `records`, `dim` and `engine`."""
        return await self._perform(lambda bounds: StatsRequest(bounds=bounds))

    search = blocking(asearch)
    search_batch = blocking(asearch_batch)
    search_hybrid = blocking(asearch_hybrid)
    search_keywords = blocking(asearch_keywords)
    search_with_filter = blocking(asearch_with_filter)
    get = blocking(aget)
    count = blocking(acount)
    scan = blocking(ascan)
    stats = blocking(astats)
