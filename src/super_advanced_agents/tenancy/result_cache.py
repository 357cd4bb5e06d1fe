"""An exact cache of search results: a write to a namespace invalidates its results at once.

A cache entry is valid for one version of its namespace (`VectorStore.version`), which changes with the first write
there and with the first record that expires. The time to live only bounds how long entries take up memory.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import fields
from typing import Any, TypeAlias

import numpy as np
from cachetools import LRUCache, TTLCache

from super_advanced_agents._runtime.concurrency.futures import driven_by_thread
from super_advanced_agents.stores.records.record_fields import plain_value
from super_advanced_agents.stores.requests import Request
from super_advanced_agents.tenancy.context import current_context
from super_advanced_agents.types import Match

MatchLists: TypeAlias = "list[list[Match]]"
"""The matches of each query."""

_CacheEntry: TypeAlias = "tuple[int, list[list[Match]], int]"
"""The version of the namespace, the result and its size in bytes."""

NO_CACHE = "no_cache"
"""The key in `RequestContext.notes` of a search that skips the lookup; its result is cached."""

_MAX_RESULT_BYTES = 64 * 1024
"""The largest cached result.

Copying a larger one costs as much as the search, and a thousand of them use much memory.
"""
_MAX_BYTES = 64 * 1024 * 1024
"""The memory for all cached results, by estimate."""
_MAX_TENANTS = 1_024
"""The number of tenants with counters; beyond it the least recently used counters are reset."""

_MATCH_BYTES = 400
"""The approximate size of a match without its text and metadata."""


class ResultCache:
    """Cache search results until a write to the searched namespace, with LRU eviction.

    When the cache is full, the tenant that has the most of what it is full of, results or bytes, loses its least
    recently used one. Concurrent equal queries share one search. The cache is for use in one event loop.

    Args:
        max_entries: the number of results to cache; 0 disables the cache.
        ttl_s: how long an entry is kept at most, in seconds.
    """

    def __init__(self, *, max_entries: int = 4_096, ttl_s: float = 300.0) -> None:
        self._max_entries = max_entries
        self._ttl_s = ttl_s
        self._entries: OrderedDict[str, TTLCache[str, _CacheEntry]] = OrderedDict()  # by tenant
        self._searches: dict[tuple[str, int], asyncio.Future[MatchLists | None]] = {}
        self._counts: LRUCache[str, Counter[str]] = LRUCache(_MAX_TENANTS)
        self._total_counts: Counter[str] = Counter()
        self._counts_lock = threading.Lock()

    async def aresult(
        self,
        key: str,
        version: Callable[[], Awaitable[int | None]],
        search: Callable[[], Awaitable[MatchLists]],
        *,
        store_key: str = "",
    ) -> MatchLists:
        """Return the cached result of a search; if there is none, run `search` and cache its result.

        The result is a copy that the caller may change. Cancelling cancels the caller's own search; requests that were
        waiting for that search then run their own.

        Args:
            key: the cache key of the query; see `key_of`.
            version: returns the version of the searched namespace; called before the search. A search without a version
                is not cached.
            search: searches the store. Its errors are raised, and not cached.
            store_key: the store, as `"{tenant}/{store}"`; the tenant's counters are incremented.
        """
        tenant = store_key.partition("/")[0]
        version_before = await version() if self._max_entries and not driven_by_thread() else None
        if version_before is None:
            self._count(tenant, "bypassed")
            return await search()
        if _wants_fresh():
            self._count(tenant, "bypassed")
            results = await search()
            self._keep(tenant, key, version_before, _copy(results))
            return results
        entry = self._entries[tenant].get(key) if tenant in self._entries else None
        if entry is not None and entry[0] == version_before:
            self._count(tenant, "hits")
            return _copy(entry[1])
        running_search = self._searches.get((key, version_before))
        if running_search is None:
            self._count(tenant, "misses")
            return await self._search_once(tenant, key, version_before, search)
        shared_results = await asyncio.shield(running_search)  # shield: other requests wait for it too
        if shared_results is not None:
            self._count(tenant, "shared")
            return _copy(shared_results)
        self._count(tenant, "misses")
        return await search()  # the shared search failed or was cancelled, perhaps because of its own request

    def stats(self, tenant: str | None = None) -> dict[str, int]:
        """Return the cache's hit and miss counts for one tenant, or for all tenants if None.

        Returns:
            `hits`, `misses`, `shared` (answered by a concurrent equal search) and `bypassed`; for all tenants also
            `entries`, the number of cached results.
        """
        names = ("hits", "misses", "shared", "bypassed")
        if tenant is not None:
            return {name: self._counts.get(tenant, Counter())[name] for name in names}
        return {"entries": sum(map(len, self._entries.values())), **{name: self._total_counts[name] for name in names}}

    def _count(self, tenant: str, outcome: str) -> None:
        with self._counts_lock:  # blocking callers come from any thread
            self._total_counts[outcome] += 1
            self._counts.setdefault(tenant, Counter())[outcome] += 1

    async def _search_once(
        self,
        tenant: str,
        key: str,
        version_before: int,
        search: Callable[[], Awaitable[MatchLists]],
    ) -> MatchLists:
        running_search = self._searches[key, version_before] = asyncio.get_running_loop().create_future()
        try:
            results = await search()
            copy = _copy(results)
            running_search.set_result(copy)
        finally:
            del self._searches[key, version_before]
            if not running_search.done():
                running_search.set_result(None)
        self._keep(tenant, key, version_before, copy)
        return results

    def _keep(self, tenant: str, key: str, version_before: int, results: MatchLists) -> None:
        # A version never comes back, so that no search takes a result that a write overtook.
        size = _size_bytes(results)
        if not self._max_entries or size > _MAX_RESULT_BYTES:
            return
        own = self._entries.get(tenant)
        if own is None:
            own = self._entries[tenant] = TTLCache(_MAX_BYTES, self._ttl_s, getsizeof=_entry_bytes)
        own[key] = version_before, results, size
        while sum(map(len, self._entries.values())) > self._max_entries:
            max(self._entries.values(), key=len).popitem()
        while sum(map(_cached_bytes, self._entries.values())) > _MAX_BYTES:
            max(self._entries.values(), key=_cached_bytes).popitem()
        self._expire_next()

    def _expire_next(self) -> None:
        # One tenant's at a time: all of them would take too long for the event loop.
        tenant, entries = next(iter(self._entries.items()))
        self._entries.move_to_end(tenant)
        entries.expire()
        if not len(entries):
            del self._entries[tenant]


def key_of(store_key: str, request: Request[Any]) -> str:
    """Return the cache key of a search request: a digest of its store, type and all fields.

    Args:
        store_key: the store to be searched, as `"{tenant}/{store}"`.
        request: the search; the order of the keys in its filter makes no difference.
    """
    kind = type(request)
    names = _FIELDS.get(kind)
    if names is None:
        names = _FIELDS[kind] = tuple(field.name for field in fields(request) if field.init)
    digest = hashlib.blake2b(digest_size=16)
    identity: list[object] = [store_key, kind.__name__]
    for name in names:
        value = getattr(request, name)
        if isinstance(value, np.ndarray):
            digest.update(value.data)
            value = value.shape
        elif isinstance(value, Mapping):
            value = json.dumps(value, sort_keys=True, default=plain_value)
        identity.append(value)
    digest.update(repr(identity).encode(errors="surrogatepass"))
    return digest.hexdigest()


_FIELDS: dict[type[Any], tuple[str, ...]] = {}
"""The init fields of each request class.

Looking them up for each key would cost more than the rest of the key.
"""


def asks_for_fresh(cache_control: str) -> bool:
    """Return whether a request's `Cache-Control` header contains `no-cache`."""
    return "no-cache" in cache_control.lower()


def _wants_fresh() -> bool:
    try:
        return bool(current_context().notes.get(NO_CACHE))
    except LookupError:  # no request is running: the process itself searches
        return False


def _copy(results: MatchLists) -> MatchLists:
    # Callers may change the metadata of their matches, which no other caller must see.
    return [[match.copied() for match in matches] for matches in results]


def _entry_bytes(entry: _CacheEntry) -> int:
    return entry[2]


def _cached_bytes(entries: TTLCache[str, _CacheEntry]) -> int:
    return int(entries.currsize)


def _size_bytes(results: MatchLists) -> int:
    return sum(_MATCH_BYTES + len(match.metadata_json) + len(match.text) for matches in results for match in matches)
