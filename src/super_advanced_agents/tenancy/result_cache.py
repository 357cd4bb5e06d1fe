"""Search results kept for equal questions, exactly as long as nothing that they could show has changed.

A result is good for one version of its namespace (`VectorStore.version`): the first write there, or the first record
that expires, makes it unreachable at once. How long it is kept beyond that is a matter of memory only.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import fields
from typing import Any, TypeAlias

import numpy as np
from cachetools import LRUCache, TTLCache

from super_advanced_agents._runtime.futures import driven_by_thread
from super_advanced_agents.stores.requests import Request
from super_advanced_agents.tenancy.context import current_context
from super_advanced_agents.types import Match

Found: TypeAlias = "list[list[Match]]"
"""The matches of each query."""

_Kept: TypeAlias = "tuple[int, list[list[Match]]]"

NO_CACHE = "no_cache"
"""The note of a call (`RequestContext.notes`) that wants no kept result; what is found for it is kept all the same."""

_MOST_BYTES = 64 * 1024
"""A larger result is not kept: copying it would cost what finding it does, and a thousand of them much memory."""
_MOST_TENANTS = 1_024
"""Tenants that are counted each by itself; of whom has not asked for longest the counts begin anew."""

_MATCH_BYTES = 400


class ResultCache:
    """Results by question and version, least recently used ones dropped first. Used in one event loop.

    Equal questions that are asked at once are answered by one search.

    Args:
        max_entries: how many results are kept; 0 keeps none.
        ttl_s: how long, at most.
    """

    def __init__(self, *, max_entries: int = 4_096, ttl_s: float = 300.0) -> None:
        self._max_entries = max_entries
        self._memory: TTLCache[str, _Kept] = TTLCache(max_entries, ttl_s)
        self._flights: dict[tuple[str, int], asyncio.Future[Found | None]] = {}
        self._counts: LRUCache[str, Counter[str]] = LRUCache(_MOST_TENANTS)
        self._counts_of_all: Counter[str] = Counter()
        self._counting = threading.Lock()

    async def aresult(
        self, key: str, version: Callable[[], int | None], search: Callable[[], Awaitable[Found]], *, owner: str = ""
    ) -> Found:
        """What `search` finds, or found before; the caller's own either way.

        Args:
            key: names the question, and whose it is; see `key_of`.
            version: of what is searched; asked before the search and after it.
            owner: whose counters go up; what stands before the first `/` is the tenant.
            search: asks the store. What it raises is raised, and not kept.

        Cancelled, it cancels its search; others who wait for that one then search themselves.
        """
        tenant = owner.partition("/")[0]
        asked = version() if self._max_entries and not driven_by_thread() else None
        if asked is None:
            self._count(tenant, "bypassed")
            return await search()
        if _wants_fresh():
            self._count(tenant, "bypassed")
            found = await search()
            self._keep(key, asked, version, _copied(found))
            return found
        kept = self._memory.get(key)
        if kept is not None and kept[0] == asked:
            self._count(tenant, "hits")
            return _copied(kept[1])
        flight = self._flights.get((key, asked))
        if flight is None:
            self._count(tenant, "misses")
            return await self._searched(key, asked, version, search)
        theirs = await asyncio.shield(flight)  # it is others' too
        if theirs is not None:
            self._count(tenant, "shared")
            return _copied(theirs)
        self._count(tenant, "misses")
        return await search()  # that search failed or was cancelled, for reasons of its own

    def stats(self, tenant: str | None = None) -> dict[str, int]:
        """What became of questions, of one tenant or of all.

        `hits` and `misses`, `shared` (answered by the search of an equal question) and `bypassed`; of all together
        also `entries`, how many results are kept.
        """
        names = ("hits", "misses", "shared", "bypassed")
        if tenant is not None:
            return {name: self._counts.get(tenant, Counter())[name] for name in names}
        return {"entries": len(self._memory), **{name: self._counts_of_all[name] for name in names}}

    def _count(self, tenant: str, outcome: str) -> None:
        with self._counting:  # blocking callers come from any thread
            self._counts_of_all[outcome] += 1
            self._counts.setdefault(tenant, Counter())[outcome] += 1

    async def _searched(
        self, key: str, asked: int, version: Callable[[], int | None], search: Callable[[], Awaitable[Found]]
    ) -> Found:
        """Search, and let equal questions of the same version wait for it."""
        flight = self._flights[key, asked] = asyncio.get_running_loop().create_future()
        try:
            found = await search()
            copy = _copied(found)
            flight.set_result(copy)
        finally:
            del self._flights[key, asked]
            if not flight.done():
                flight.set_result(None)
        self._keep(key, asked, version, copy)
        return found

    def _keep(self, key: str, asked: int, version: Callable[[], int | None], found: Found) -> None:
        """Keep what was found, if nothing has changed meanwhile: it may be of either version then."""
        if _size(found) <= _MOST_BYTES and version() == asked:
            self._memory[key] = asked, found


def key_of(owner: str, request: Request[Any]) -> str:
    """Return what names a search among all of the cache: its owner, its kind and every field that a caller gave.

    Args:
        owner: the tenant and the store that are asked.
        request: the search; the order of the keys of its filter does not count.
    """
    kind = type(request)
    names = _FIELDS.get(kind)
    if names is None:
        names = _FIELDS[kind] = tuple(field.name for field in fields(request) if field.init)
    digest = hashlib.blake2b(digest_size=16)
    said: list[object] = [owner, kind.__name__]
    for name in names:
        value = getattr(request, name)
        if isinstance(value, np.ndarray):
            digest.update(value.data)
            value = value.shape
        elif isinstance(value, Mapping):
            value = json.dumps(value, sort_keys=True, default=dict)
        said.append(value)
    digest.update(repr(said).encode(errors="surrogatepass"))
    return digest.hexdigest()


_FIELDS: dict[type[Any], tuple[str, ...]] = {}
"""What a caller gives for each kind of request; looking it up anew would cost more than the rest of the key."""


def asks_for_fresh(cache_control: str) -> bool:
    """Whether this `Cache-Control` header of a request refuses kept results."""
    return "no-cache" in cache_control.lower()


def _wants_fresh() -> bool:
    try:
        return bool(current_context().notes.get(NO_CACHE))
    except LookupError:  # nobody calls: the process itself does
        return False


def _copied(found: Found) -> Found:
    """Copy matches; what one caller does to their metadata no other sees."""
    return [[match.copied() for match in matches] for matches in found]


def _size(found: Found) -> int:
    """About how much memory a result takes, in bytes."""
    return sum(
        _MATCH_BYTES + len(match.metadata_json) + len(match.text or "") for matches in found for match in matches
    )
