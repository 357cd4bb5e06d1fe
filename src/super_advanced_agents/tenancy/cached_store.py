"""A store as calls use it: equal searches are answered from memory, and writes can be carried out again."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from types import EllipsisType

import numpy as np
from numpy.typing import ArrayLike

from super_advanced_agents.stores import FilterFn, VectorStore
from super_advanced_agents.stores.faiss.intake import length
from super_advanced_agents.stores.filters import matches, parse
from super_advanced_agents.tenancy.attempts import uids_for, was
from super_advanced_agents.tenancy.result_cache import Found, ResultCache, question
from super_advanced_agents.types import Dedupe, JSONValue, Match, Metadata, Record, Weights, Where

_MOST_QUERIES = 16
"""Larger batches are asked once, and hashing them would hold up the event loop."""


class CachedStore(VectorStore):
    """Another store with `cache` in front of its searches; every operation is as in `VectorStore`.

    Within a request with an `Idempotency-Key`, new records get names of that request, and deleting again returns what
    it returned before.

    Not kept are searches with a `filter_fn`, which only its caller knows, and such that count recency, whose results
    change with time. Closing it leaves the other store open.

    Args:
        store: open; one that knows no `version` is never kept anything of.
        cache: shared by any number of stores.
        owner: `"{tenant}/{store}"`, unlike any other's.
    """

    def __init__(self, store: VectorStore, cache: ResultCache, *, owner: str) -> None:
        super().__init__()
        self._store = store
        self._cache = cache
        self._owner = owner

    @property
    def dim(self) -> int:
        """The length of every vector."""
        return self._store.dim

    def version(self, namespace: str | None = None) -> int | None:
        """See `VectorStore.version`."""
        return self._store.version(namespace)

    # -- kept -----------------------------------------------------------------------------------------------------

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
        """See `VectorStore.asearch_batch`."""

        async def search() -> Found:
            return await self._store.asearch_batch(
                query_vectors, top_k, where=where, namespace=namespace, model_id=model_id, return_scores=return_scores
            )

        key = None
        if not isinstance(query_vectors, np.ndarray | list | tuple) or len(query_vectors) <= _MOST_QUERIES:
            key = question(
                self._owner, "vector", namespace, top_k, model_id, return_scores,
                vectors=query_vectors, where=where,
            )  # fmt: skip
        if key is None:
            return await search()
        return await self._cache.aresult(key, partial(self._store.version, namespace), search, owner=self._owner)

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
        """See `VectorStore.asearch_hybrid`."""

        async def search() -> Found:
            return [
                await self._store.asearch_hybrid(
                    query_vector,
                    query_text,
                    top_k,
                    where=where,
                    namespace=namespace,
                    model_id=model_id,
                    weights=weights,
                    explain=explain,
                )
            ]

        key = None
        if weights is None or (isinstance(weights, Weights) and not weights.recency):
            key = question(
                self._owner, "hybrid", namespace, top_k, model_id, query_text, weights, explain,
                vectors=query_vector, where=where,
            )  # fmt: skip
        if key is None:
            [matches] = await search()
        else:
            [matches] = await self._cache.aresult(
                key, partial(self._store.version, namespace), search, owner=self._owner
            )
        return matches

    async def asearch_keywords(
        self, query_text: str, top_k: int = 5, *, where: Where | None = None, namespace: str | None = None
    ) -> list[Match]:
        """See `VectorStore.asearch_keywords`."""

        async def search() -> Found:
            return [await self._store.asearch_keywords(query_text, top_k, where=where, namespace=namespace)]

        key = question(self._owner, "keyword", namespace, top_k, query_text, where=where)
        if key is None:
            [matches] = await search()
        else:
            [matches] = await self._cache.aresult(
                key, partial(self._store.version, namespace), search, owner=self._owner
            )
        return matches

    # -- passed through -------------------------------------------------------------------------------------------

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
        """See `VectorStore.asearch_with_filter`."""
        return await self._store.asearch_with_filter(
            query_vector, top_k, filter_fn, where=where, namespace=namespace, model_id=model_id
        )

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
        """See `VectorStore.aadd_batch`."""
        return await self._store.aadd_batch(
            vectors,
            metadatas,
            uids_for(uids, length(vectors)),
            namespace=namespace,
            model_id=model_id,
            sources=sources,
            sessions=sessions,
            expires_in_s=expires_in_s,
            priorities=priorities,
            dedupe=dedupe,
        )

    async def aput(self, records: Sequence[Record]) -> int:
        """See `VectorStore.aput`."""
        return await self._store.aput(records)

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
        """See `VectorStore.aupdate`."""
        return await self._store.aupdate(
            uid,
            changes,
            namespace=namespace,
            vector=vector,
            model_id=model_id,
            source=source,
            expires_in_s=expires_in_s,
            priority=priority,
        )

    async def aget(self, uids: Sequence[str], *, namespace: str | None = None) -> list[Record]:
        """See `VectorStore.aget`."""
        return await self._store.aget(uids, namespace=namespace)

    async def adelete(
        self, uids: Sequence[str] | None = None, *, where: Where | None = None, namespace: str | None = None
    ) -> int:
        """See `VectorStore.adelete`."""
        deleted_before = await was(partial(self._count, uids, where, namespace))
        deleted = await self._store.adelete(uids, where=where, namespace=namespace)
        return deleted if deleted_before is None else deleted_before

    async def _count(self, uids: Sequence[str] | None, where: Where | None, namespace: str | None) -> int:
        """How many records a deletion will find."""
        if uids is None:
            return await self._store.acount(where, namespace=namespace) if where is not None else 0
        found = await self._store.aget(list(dict.fromkeys(uids)), namespace=namespace)
        tree = None if where is None else parse(where)
        return sum(tree is None or matches(tree, record.metadata) for record in found)

    async def acount(self, where: Where | None = None, *, namespace: str | None = None) -> int:
        """See `VectorStore.acount`."""
        return await self._store.acount(where, namespace=namespace)

    async def ascan(
        self,
        where: Where | None = None,
        *,
        after: str | None = None,
        limit: int = 100,
        namespace: str | None = None,
    ) -> list[Record]:
        """See `VectorStore.ascan`."""
        return await self._store.ascan(where, after=after, limit=limit, namespace=namespace)

    async def astats(self) -> dict[str, JSONValue]:
        """See `VectorStore.astats`."""
        return await self._store.astats()

    def _release(self) -> None:
        """Nothing to free: the store is its owner's."""
