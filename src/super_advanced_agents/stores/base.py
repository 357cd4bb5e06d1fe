"""`VectorStore`, the abstract base class of every vector store, with its public operations.

Every operation builds a request object (`stores.requests`) and passes it to `_execute`, which each engine implements.
All stores pass the same test suite, `testing.store_suite`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, cast, overload

from numpy.typing import ArrayLike

from super_advanced_agents._runtime.concurrency.sync_bridge import blocking
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
)
from super_advanced_agents.stores.vector_arguments import length
from super_advanced_agents.stores.writes import WriteOperations
from super_advanced_agents.types import ExplainedMatch, JSONValue, Match, Matrix, Record, Vector, Weights, Where


class HybridSearchOptions(TypedDict, total=False):
    """Declare the types of the optional keyword arguments of `VectorStore.search_hybrid`.

    The overloads declare `explain` themselves, since it decides the type of the result.
    """

    where: Where | None
    namespace: str | None
    model_id: str | None
    weights: Weights | None
    min_similarity: float | None


class VectorStore(WriteOperations):
    """Store vectors with metadata, and find them by similarity, by keywords and by filters.

    A record belongs to a namespace, and its uid is unique there. An add or an update without `namespace` goes to
    `"default"`; every other call without one covers all namespaces of the store.

    Each operation has two forms: `averb()` for asyncio, which never blocks the event loop, and `verb()`, which blocks
    the calling thread. Both may be called concurrently, from any number of threads and event loops. Cancelling a read
    discards its result. Cancelling a write that is still queued drops it; a write that has started is completed.

    An engine implements `dim` and `_execute`, and `_version` where it can.

    Raises:
        ResourceClosedError: from every operation, once the store is closed.
        OverloadedError: from every operation, when its bounded queue is full.
        InvalidInputError: from every operation, for an argument that is out of bounds; `field` names it.
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
        min_similarity: float | None = None,
    ) -> list[list[Match]]:
        """Return the `top_k` most similar records for each query vector, best first.

        Args:
            query_vectors: (m, dim) finite numbers; no row may be zero when the metric is cosine.
            top_k: the most matches per query; fewer come back only if fewer records match `where`.
            where: a filter over metadata, evaluated inside the search (see `stores.filters`).
            namespace: the namespace to search; all of them when None.
            model_id: the embedding model of the queries, checked against that of the namespace's vectors; no check
                when None.
            return_scores: False leaves every `Match.score` at 0.0, for callers that only need the order.
            min_similarity: leaves out what is less similar to the query: a cosine, or a dot product where that is the
                store's metric; None for no limit.

        Returns:
            m lists of matches, in the order of the queries.

        Raises:
            FilterError: `where` is malformed.
            ModelMismatchError: the namespace holds vectors of another model than `model_id`.
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
                min_similarity=min_similarity,
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
        min_similarity: float | None = None,
    ) -> list[Match]:
        """Return the `top_k` records most similar to one query vector, best first.

        Searches of concurrent callers are batched. Arguments and errors are those of `asearch_batch`, except that
        `query_vector` is (dim,).
        """
        matches = await self.asearch_batch(
            [query_vector],
            top_k,
            where=where,
            namespace=namespace,
            model_id=model_id,
            return_scores=return_scores,
            min_similarity=min_similarity,
        )
        return matches[0]

    @overload
    async def asearch_hybrid(
        self,
        query_vector: ArrayLike,
        query_text: str,
        top_k: int = 5,
        *,
        explain: Literal[True],
        **options: Unpack[HybridSearchOptions],
    ) -> list[ExplainedMatch]: ...

    @overload
    async def asearch_hybrid(
        self,
        query_vector: ArrayLike,
        query_text: str,
        top_k: int = 5,
        *,
        explain: bool = False,
        **options: Unpack[HybridSearchOptions],
    ) -> list[Match]: ...

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
        min_similarity: float | None = None,
    ) -> list[Match] | list[ExplainedMatch]:
        """Rank records by vector similarity and BM25 keyword score, and return the best `top_k`.

        The vector search and the keyword search each find max(30, `top_k`) candidates, or max(100, `top_k`) when
        `weights` counts recency or priority. A candidate's score is the weighted sum of its signals: the similarity of
        its vector, the mean similarity of the turn and its neighbours in the session, and BM25 over the stemmed words
        of its text and of the turn together with its neighbours. Similarities and BM25 scores are first divided by the
        best candidate's. A turn is a record of a session, which is a conversation; its neighbours are the turns before
        and after it.

        Args:
            query_vector: (dim,), the vector of `query_text`.
            query_text: plain text; it has no query syntax.
            top_k: the most matches; fewer come back only if fewer records match `where`.
            where: a filter over metadata, evaluated inside both searches.
            namespace: the namespace to search; all of them when None.
            model_id: the embedding model of the query, checked as by `asearch_batch`.
            weights: the weight of each signal; `Weights()` when None.
            explain: True returns `ExplainedMatch` objects, which say what each signal added to the score.
            min_similarity: leaves out candidates of both searches whose own vector is less similar to the query; no
                score changes by it.

        Returns:
            Matches with scores in [-1, 1], best first.

        Raises:
            FilterError: `where` is malformed.
            ModelMismatchError: the namespace holds vectors of another model than `model_id`.
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
                min_similarity=min_similarity,
            )
        )

    async def asearch_keywords(
        self,
        query_text: str,
        top_k: int = 5,
        *,
        where: Where | None = None,
        namespace: str | None = None,
        query_vector: ArrayLike | None = None,
        model_id: str | None = None,
        min_similarity: float | None = None,
    ) -> list[Match]:
        """Return the `top_k` records that best match the words of a query by BM25, best first.

        Records that share no word with `query_text` are not returned. Words are stemmed (English), stop words are left
        out, and there is no query syntax. The score is BM25 over the words of the record's text and, for a record of a
        session (a conversation), of its text together with those of the records before and after it.

        Args:
            query_text: plain text.
            top_k: the most matches.
            where: a filter over metadata, evaluated inside the search.
            namespace: the namespace to search; all of them when None.
            query_vector: (dim,), the vector of `query_text`, which gives each match its `similarity`; it does not rank.
            model_id: the embedding model of the vector, checked as by `asearch_batch`.
            min_similarity: leaves out what is less similar to `query_vector`, of the max(30, `top_k`) best by keywords.

        Raises:
            FilterError: `where` is malformed.
            InvalidInputError: `min_similarity` is given without `query_vector`.
        """
        return await self._perform(
            lambda bounds: KeywordSearchRequest(
                bounds=bounds,
                query_text=query_text,
                top_k=top_k,
                where=where,
                namespace=namespace,
                query_vector=cast("Vector | None", query_vector),
                model_id=model_id,
                min_similarity=min_similarity,
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
        min_similarity: float | None = None,
    ) -> list[Match]:
        """Return the `top_k` most similar records for which `filter_fn(metadata)` is true.

        The best match comes first. A `where` filter does the same much faster where it can express the condition.

        Args:
            query_vector: (dim,) finite numbers; not zero when the metric is cosine.
            top_k: the most matches; fewer come back only if fewer records match.
            filter_fn: called with a record's metadata, in a worker thread; an exception that it raises is raised here.
            where: a filter over metadata, evaluated before `filter_fn`.
            namespace: the namespace to search; all of them when None.
            model_id: the embedding model of the query, checked as by `asearch_batch`.
            min_similarity: leaves out what is less similar, as for `asearch_batch`.
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
                min_similarity=min_similarity,
            )
        )

    async def aget(self, uids: Sequence[str], *, namespace: str | None = None) -> list[Record]:
        """Return the records with the given uids, in the order of `uids`.

        Args:
            uids: the uids; unknown ones are left out.
            namespace: the namespace to read; all of them when None. A uid that several namespaces have then returns
                each of its records.
        """
        return await self._perform(lambda bounds: GetRequest(bounds=bounds, uids=uids, namespace=namespace))

    async def acount(self, where: Where | None = None, *, namespace: str | None = None) -> int:
        """Return the number of records that match the filter `where`; None counts all records.

        Args:
            where: a filter over metadata (see `stores.filters`).
            namespace: the namespace to count in; all of them when None.

        Raises:
            FilterError: `where` is malformed.
        """
        return await self._perform(lambda bounds: CountRequest(bounds=bounds, where=where, namespace=namespace))

    async def ascan(
        self,
        where: Where | None = None,
        *,
        after: str | None = None,
        limit: int = 100,
        namespace: str | None = None,
    ) -> list[Record]:
        """Return one page of the records that match the filter `where`, sorted by uid.

        Args:
            where: a filter over metadata; all records when None.
            after: the last uid of the previous page; None for the first page.
            limit: the most records of the page, from 1 to the store's `batch_records` limit. A page of large records
                ends early, at the store's `page_bytes` limit, so a short page need not be the last one.
            namespace: the namespace to read; all of them when None. Records of several namespaces with the same uid
                then come on one page, which may exceed `limit` by them.

        Returns:
            The records of the page; an empty list after the last page.
        """
        return await self._perform(
            lambda bounds: ScanRequest(bounds=bounds, where=where, after=after, limit=limit, namespace=namespace)
        )

    def check_files(self) -> None:
        """Raise if a file of the store was removed, replaced, emptied or cut by others.

        Writes have stopped then. It is quick; a store without files of its own does nothing.

        Raises:
            StoreError: a file was; the message names it.
        """

    async def astats(self) -> dict[str, JSONValue]:
        """Return statistics: at least the number of `records`, the vector length `dim` and `engine`."""
        return await self._perform(lambda bounds: StatsRequest(bounds=bounds))

    search = blocking(asearch)
    search_batch = blocking(asearch_batch)
    if TYPE_CHECKING:

        @overload
        def search_hybrid(
            self,
            query_vector: ArrayLike,
            query_text: str,
            top_k: int = 5,
            *,
            explain: Literal[True],
            **options: Unpack[HybridSearchOptions],
        ) -> list[ExplainedMatch]: ...

        @overload
        def search_hybrid(
            self,
            query_vector: ArrayLike,
            query_text: str,
            top_k: int = 5,
            *,
            explain: bool = False,
            **options: Unpack[HybridSearchOptions],
        ) -> list[Match]: ...

        def search_hybrid(self, *args: Any, **options: Any) -> Any:
            """Rank records by vector similarity and BM25 keyword score, and return the best `top_k`."""
    else:
        search_hybrid = blocking(asearch_hybrid)
    search_keywords = blocking(asearch_keywords)
    search_with_filter = blocking(asearch_with_filter)
    get = blocking(aget)
    count = blocking(acount)
    scan = blocking(ascan)
    stats = blocking(astats)
