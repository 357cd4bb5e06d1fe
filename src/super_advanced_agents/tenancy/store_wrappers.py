"""What stands in front of a tenant's stores: results kept for equal searches, and files opened when they are used."""

from __future__ import annotations

from functools import partial
from typing import TypeVar, cast

from super_advanced_agents.stores import VectorStore
from super_advanced_agents.stores.filters import matches
from super_advanced_agents.stores.requests import (
    AddRequest,
    CountRequest,
    DeleteRequest,
    GetRequest,
    HybridSearchRequest,
    KeywordSearchRequest,
    Request,
    SearchRequest,
)
from super_advanced_agents.tenancy.catalog import Entry
from super_advanced_agents.tenancy.collection_pool import Collections
from super_advanced_agents.tenancy.idempotent_writes import uids_for, was
from super_advanced_agents.tenancy.result_cache import Found, ResultCache, key_of
from super_advanced_agents.types import CollectionInfo

R = TypeVar("R")

_MOST_QUERIES = 16
"""Larger batches are asked once, and hashing them would hold up the event loop."""


class CachedStore(VectorStore):
    """Put a result cache in front of a store, and make its writes repeatable under an `Idempotency-Key`.

    Within a request with such a key, new records get uids of that request, and deleting again returns what it returned
    before. Not kept are searches with a `filter_fn`, which only its caller knows, and such that count recency, whose
    results change with time. Closing it leaves the other store open.

    Args:
        store: open; nothing is kept of one that knows no version.
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

    def _version(self, tenant: str, namespace: str | None) -> int | None:
        return self._store._version(tenant, namespace)

    async def _execute(self, request: Request[R]) -> R:
        if isinstance(request, SearchRequest | HybridSearchRequest | KeywordSearchRequest):
            return cast("R", await self._search(request))
        if isinstance(request, DeleteRequest):
            return cast("R", await self._delete(request))
        if isinstance(request, AddRequest):
            request = cast("Request[R]", request.replaced(uids=uids_for(request.uids, len(request.vectors))))
        return await self._store.aexecute(request)

    async def _search(self, request: SearchRequest | HybridSearchRequest | KeywordSearchRequest) -> object:
        if not _is_cacheable(request):
            return await self._store.aexecute(request)

        async def search() -> Found:
            result = await self._store.aexecute(request)
            return cast("Found", result if isinstance(request, SearchRequest) else [result])

        version = partial(self.version, request.namespace)
        found = await self._cache.aresult(key_of(self._owner, request), version, search, owner=self._owner)
        return found if isinstance(request, SearchRequest) else found[0]

    async def _delete(self, request: DeleteRequest) -> int:
        deleted_before = await was(partial(self._count, request))
        deleted = await self._store.aexecute(request)
        return deleted if deleted_before is None else deleted_before

    async def _count(self, request: DeleteRequest) -> int:
        """Count the records that a deletion will find."""
        bounds = await self._abounds()
        if request.uids is None:
            return await self._store.aexecute(
                CountRequest(bounds=bounds, where=request.where, namespace=request.namespace)
            )
        uids = list(dict.fromkeys(request.uids))
        found = await self._store.aexecute(GetRequest(bounds=bounds, uids=uids, namespace=request.namespace))
        return sum(request.tree is None or matches(request.tree, record.metadata) for record in found)


def _is_cacheable(request: SearchRequest | HybridSearchRequest | KeywordSearchRequest) -> bool:
    if isinstance(request, SearchRequest):
        return len(request.query_vectors) <= _MOST_QUERIES
    return not (isinstance(request, HybridSearchRequest) and request.weights is not None and request.weights.recency)


class CollectionStore(VectorStore):
    """Hold one collection's files open only while it is used. Closing it leaves the collection as it is.

    Args:
        collections: open.
        tenant: whose.
        entry: from the catalog.

    Once the collection was deleted, every operation raises `CollectionNotFoundError`.
    """

    def __init__(self, collections: Collections, tenant: str, entry: Entry) -> None:
        super().__init__()
        self._collections = collections
        self._tenant = tenant
        self._entry = entry

    @property
    def dim(self) -> int:
        """The length of every vector."""
        return self._entry.info.dim

    @property
    def id(self) -> str:
        """What names it for good: another one of the same name has another."""
        return self._entry.id

    @property
    def info(self) -> CollectionInfo:
        """What it was made with."""
        return self._entry.info

    def _version(self, tenant: str, namespace: str | None) -> int | None:
        """Return the version of the open store; None while its files are not open."""
        del tenant  # a collection is one tenant's
        return self._collections.version(self._entry, namespace)

    async def _execute(self, request: Request[R]) -> R:
        async with self._collections.using(self._tenant, self._entry) as store:
            result = await store.aexecute(request)
        if isinstance(result, dict):  # statistics; where the files are is nobody's business
            result.pop("path", None)
        return result
