"""What every vector store offers. One behaviour suite (`testing.store_suite`) holds all of them to it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from types import EllipsisType

from numpy.typing import ArrayLike

from super_advanced_agents._runtime.lifecycle import Resource
from super_advanced_agents._runtime.twins import blocking
from super_advanced_agents.types import Dedupe, JSONValue, Match, Metadata, Record, Weights, Where

FilterFn = Callable[[Metadata], bool]
"""A predicate over a record's metadata; slow, since it must see the metadata of whatever comes near the query."""


class VectorStore(Resource, ABC):
    """Vectors with metadata, found by similarity; safe for concurrent use from threads and event loops.

    Records live in namespaces; a uid is unique within its namespace. A write without `namespace` goes to `"default"`;
    any other call without one covers every namespace of the store.

    Each operation is offered twice: `averb()` for asyncio, which never blocks the event loop, and `verb()`, its
    blocking twin, derived from it. A cancelled read leaves nothing behind; a cancelled write that had not begun is
    dropped, one that had is carried out.

    All operations raise `ResourceClosedError` after close, `OverloadedError` when their bounded queue is full, and
    `InvalidInputError` (with the field) for arguments out of bounds.
    """

    @property
    @abstractmethod
    def dim(self) -> int:
        """The length of every vector."""

    def version(self, namespace: str | None = None) -> int | None:
        """A number that is another one whenever searches may find something else: for whoever keeps what they found.

        Ask before searching: what is found is as new as the number, or newer. It moves once a write can be seen and
        before that write is acknowledged, and when a record expires. Moving costs the store nothing, asking a
        microsecond or two; it neither waits nor fails while the store is open. Scores by words may shift a little with
        writes elsewhere in the store, which do not count.

        Args:
            namespace: of searches there; of those everywhere when None.

        Returns:
            None where nobody knows, as behind a network: then nothing may be kept.
        """
        return None

    @abstractmethod
    async def aadd_batch(
        self,
        vectors: ArrayLike | Sequence[ArrayLike],
        metadatas: Sequence[Metadata | None] | None = None,
        uids: Sequence[str | None] | None = None,
        *,
        namespace: str | None = None,
        model_id: str | None = None,
        sources: Sequence[str | None] | None = None,
        sessions: Sequence[str | None] | None = None,
        expires_in_s: Sequence[float | None] | None = None,
        priorities: Sequence[float | None] | None = None,
        dedupe: Dedupe | None = None,
    ) -> list[str]:
        """Add or replace records, all or none; returned means durable.

        Args:
            vectors: (n, dim), finite, not zero when the metric is the cosine; kept as float32.
            metadatas: n JSON objects; `{}` for None.
            uids: n names; a record of the same name in the namespace is replaced (keeping its creation time), and of
                equal names in one batch the last wins. For None the store makes a time-ordered one.
            namespace: where to; `"default"` when None.
            model_id: the embedding model that made the vectors, kept with each record; not checked when None. The first
                of a namespace is that of all, until no record of it is left.
            sources: n origins (a file, a URL) kept with the records.
            sessions: n conversations the records are turns of, in the order they were said; a hybrid search finds a
                turn through its neighbours too. A replaced turn keeps its place.
            expires_in_s: n lifetimes in seconds; past its lifetime a record is never returned.
            priorities: n finite numbers, how much each record matters, for searches whose `Weights` count it.
            dedupe: with `"exact"` a record whose content a record of the namespace has is not stored; the uid of that
                one, which stays as it is, is returned in its place. Content is the text and the rest of the metadata
                (the vector where there is no text), not source, session, lifetime or priority. Decided where writes
                are carried out, so of equal records that are added at once, in one batch or by many callers, one is
                stored. A record whose uid is there already replaces that one as ever, whatever its content.

        Returns:
            The n uids, in order.

        Raises:
            DimensionMismatchError: a vector has another length than `dim`.
            ModelMismatchError: the namespace has vectors of another model; nothing was stored.
            StoreFullError: no room on the disk; nothing was stored.
        """

    @abstractmethod
    async def aput(self, records: Sequence[Record]) -> int:
        """Store whole records, of any namespaces, as `scan` or `get` gave them; all or none; returned means durable.

        What restores an export: every field is kept, times and places in sessions too, so turns have the neighbours
        they had, in whatever order they are put. A record of the same uid and namespace is replaced, of equal ones in
        one call the last wins, and one that has expired is left out.

        Args:
            records: at most the store's `batch_records` limit; a turn without `place` goes to the end of its session.

        Returns:
            How many were stored.

        Raises:
            DimensionMismatchError: a vector has another length than `dim`.
            ModelMismatchError: a namespace would have vectors of two models.
            StoreFullError: no room on the disk; nothing was stored.
        """

    @abstractmethod
    async def aupdate(
        self,
        uid: str,
        changes: Metadata | None = None,
        *,
        namespace: str | None = None,
        vector: ArrayLike | None = None,
        model_id: str | None = None,
        source: str | EllipsisType | None = ...,
        expires_in_s: float | EllipsisType | None = ...,
        priority: float | EllipsisType | None = ...,
    ) -> bool:
        """Change one record in place; returned means durable.

        What is not named stays: the vector, the time of creation, the place in a session. Changes by many callers
        follow one another, so none is lost.

        Args:
            uid: which record.
            changes: a merge patch of its metadata (RFC 7396): keys are set, objects are merged, None removes a key.
            namespace: whose record; `"default"` when None.
            vector: (dim,), to replace its vector; give it when the text changes.
            model_id: the embedding model that made `vector`.
            source: where it came from.
            expires_in_s: a lifetime in seconds from now; None for an endless one.
            priority: how much it matters; None for nothing said.

        Returns:
            False when there is no such record.

        Raises:
            InvalidInputError: an argument is wrong, or the metadata would be too large; nothing was changed.
            ModelMismatchError: `model_id` is not that of the namespace's vectors.
        """

    @abstractmethod
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

    @abstractmethod
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
        each divided by its best: the likeness of the vectors, lent by neighbours in the session, and BM25 over stemmed
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

    @abstractmethod
    async def asearch_keywords(
        self, query_text: str, top_k: int = 5, *, where: Where | None = None, namespace: str | None = None
    ) -> list[Match]:
        """The `top_k` records that share the most telling words with a text, best first; none where no word is shared.

        Words are stemmed (English), common ones left out, and every one counts by itself: nothing is syntax. The score
        is BM25's, of the text and of the turn with its neighbours.
        """

    @abstractmethod
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

    @abstractmethod
    async def aget(self, uids: Sequence[str], *, namespace: str | None = None) -> list[Record]:
        """The records of these names, in the order of `uids`; names nobody has are left out."""

    @abstractmethod
    async def adelete(
        self, uids: Sequence[str] | None = None, *, where: Where | None = None, namespace: str | None = None
    ) -> int:
        """Delete by name, by filter, or by both (records that are named and match); returned means durable.

        Returns:
            How many records were deleted.

        Raises:
            InvalidInputError: neither `uids` nor `where` was given; `where={}` deletes every record of the namespace.
        """

    @abstractmethod
    async def acount(self, where: Where | None = None, *, namespace: str | None = None) -> int:
        """How many records match `where`; all of them when None."""

    @abstractmethod
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

    @abstractmethod
    async def astats(self) -> dict[str, JSONValue]:
        """Counters and sizes, for people and dashboards; at least `records`, `dim` and `engine`."""

    async def aadd(
        self,
        vector: ArrayLike,
        metadata: Metadata | None = None,
        uid: str | None = None,
        *,
        namespace: str | None = None,
        model_id: str | None = None,
        source: str | None = None,
        session: str | None = None,
        expires_in_s: float | None = None,
        priority: float | None = None,
        dedupe: Dedupe | None = None,
    ) -> str:
        """Add or replace one record of a (dim,) vector; see `aadd_batch`. Concurrent callers share commits."""
        uids = await self.aadd_batch(
            [vector],
            [metadata],
            None if uid is None else [uid],
            namespace=namespace,
            model_id=model_id,
            sources=None if source is None else [source],
            sessions=None if session is None else [session],
            expires_in_s=None if expires_in_s is None else [expires_in_s],
            priorities=None if priority is None else [priority],
            dedupe=dedupe,
        )
        return uids[0]

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

    add = blocking(aadd)
    add_batch = blocking(aadd_batch)
    put = blocking(aput)
    update = blocking(aupdate)
    search = blocking(asearch)
    search_batch = blocking(asearch_batch)
    search_hybrid = blocking(asearch_hybrid)
    search_keywords = blocking(asearch_keywords)
    search_with_filter = blocking(asearch_with_filter)
    get = blocking(aget)
    delete = blocking(adelete)
    count = blocking(acount)
    scan = blocking(ascan)
    stats = blocking(astats)
