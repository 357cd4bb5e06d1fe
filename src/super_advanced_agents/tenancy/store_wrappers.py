"""Vector stores that wrap a tenant's stores: with cached searches, or opened on use."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar, cast

from super_advanced_agents.stores import VectorStore
from super_advanced_agents.stores.executor import Value, computes_inline
from super_advanced_agents.stores.requests import (
    AddRequest,
    HybridSearchRequest,
    KeywordSearchRequest,
    Request,
    SearchRequest,
    WriteRequest,
)
from super_advanced_agents.stores.wrappers.base import StoreWrapper
from super_advanced_agents.tenancy.catalog.rows import Entry
from super_advanced_agents.tenancy.collection_pool import Collections
from super_advanced_agents.tenancy.idempotent_writes import next_write_id, uids_for
from super_advanced_agents.tenancy.result_cache import MatchLists, ResultCache, key_of
from super_advanced_agents.types import CollectionInfo

R = TypeVar("R")

_MAX_QUERIES = 16
"""The largest cached batch.

Larger ones rarely repeat, and hashing them would block the event loop.
"""


class CachedStore(StoreWrapper):
    """Wrap a vector store to cache its search results and to make retried writes idempotent.

    In a request with an `Idempotency-Key`, new records get uids that a retry gets again, and its writes get ids, by
    which the store knows a repetition. Searches with a `filter_fn` are not cached, since functions cannot be compared,
    nor are searches that weigh recency, whose results change with time. Closing the wrapper leaves the wrapped store
    open.

    Args:
        store: an open store; if it reports no version, nothing is cached.
        cache: the cache, which any number of stores can share.
        store_key: the unique name of the store in the cache, `"{tenant}/{store}"`.
    """

    def __init__(self, store: VectorStore, cache: ResultCache, *, store_key: str) -> None:
        super().__init__(store)
        self._cache = cache
        self._store_key = store_key

    async def _execute(self, request: Request[R]) -> R:
        if isinstance(request, SearchRequest | HybridSearchRequest | KeywordSearchRequest):
            return cast("R", await self._search(request))
        if isinstance(request, AddRequest):
            request = cast("Request[R]", request.replaced(uids=uids_for(request.uids, len(request.vectors))))
        if isinstance(request, WriteRequest) and request.write_id is None:
            request = request.replaced(write_id=next_write_id())
        return await self._store.aexecute(request)

    async def _search(self, request: SearchRequest | HybridSearchRequest | KeywordSearchRequest) -> object:
        if not _is_cacheable(request):
            return await self._store.aexecute(request)

        async def search() -> MatchLists:
            result = await self._store.aexecute(request)
            return cast("MatchLists", result if isinstance(request, SearchRequest) else [result])

        version = partial(self.aversion, request.namespace)
        key = key_of(self._store_key, request)
        match_lists = await self._cache.aresult(key, version, search, store_key=self._store_key)
        return match_lists if isinstance(request, SearchRequest) else match_lists[0]


def _is_cacheable(request: SearchRequest | HybridSearchRequest | KeywordSearchRequest) -> bool:
    if isinstance(request, SearchRequest):
        return len(request.query_vectors) <= _MAX_QUERIES
    return not (isinstance(request, HybridSearchRequest) and request.weights is not None and request.weights.recency)


class CollectionStore(VectorStore):
    """Use a collection as a vector store whose files are opened when an operation needs them.

    After the collection was deleted, every operation raises `CollectionNotFoundError`. Closing this object does not
    affect the collection.

    Args:
        collections: the open pool of collections.
        tenant: the tenant of the collection.
        entry: the collection's entry in the catalog.
    """

    def __init__(self, collections: Collections, tenant: str, entry: Entry) -> None:
        super().__init__()
        self._collections = collections
        self._tenant = tenant
        self._entry = entry

    @property
    def dim(self) -> int:
        """The dimension of the collection's vectors."""
        return self._entry.info.dim

    @property
    def id(self) -> str:
        """The unique identifier of the collection, which is not reused after its deletion."""
        return self._entry.id

    @property
    def info(self) -> CollectionInfo:
        """The collection's name, and the settings that the collection was created with."""
        return self._entry.info

    def _version(self, tenant: str, namespace: str | None) -> int | None:
        del tenant  # a collection belongs to one tenant
        return self._collections.version(self._entry, namespace)

    async def _anamespaces(self, tenant: str, limit: int) -> list[str] | None:
        del tenant
        async with self._collections.using(self._tenant, self._entry) as store:
            return await store.anamespaces(limit=limit)

    async def acompute(self, work: Callable[[], Value], size: int) -> Value:
        """Run a computation as the opened collection does: in its thread when `size` is large."""
        if computes_inline(size):
            return work()
        async with self._collections.using(self._tenant, self._entry) as store:
            return await store.acompute(work, size)

    async def _execute(self, request: Request[R]) -> R:
        async with self._collections.using(self._tenant, self._entry) as store:
            result = await store.aexecute(request)
        if isinstance(result, dict):  # statistics; callers must not learn where the files are
            result.pop("path", None)
        return result
