"""Results of a store in PostgreSQL are cached, and never outdated, whichever process wrote."""

from __future__ import annotations

import time

import numpy as np

from super_advanced_agents.stores.postgres import PgVectorStore
from super_advanced_agents.stores.wrappers.guarded import EngineGuard, GuardedStore
from super_advanced_agents.tenancy.result_cache import ResultCache
from super_advanced_agents.tenancy.store_wrappers import CachedStore

DIM = 4
ONE = np.ones(DIM, np.float32)


async def test_equal_searches_are_answered_from_the_cache_until_any_process_writes(postgres_schema_url: str) -> None:
    """Each write of another store object, and each expiry, is seen by the next search."""
    cache = ResultCache()
    async with PgVectorStore(postgres_schema_url, DIM) as store, PgVectorStore(postgres_schema_url, DIM) as other:
        cached = CachedStore(store, cache, store_key="default/memories")

        async def uids() -> set[str]:
            return {match.uid for match in await cached.asearch(ONE, namespace="n")}

        await other.aadd(ONE, None, "a", namespace="n")
        assert await uids() == await uids() == {"a"}
        assert cache.stats()["hits"] == 1
        lifetime_s, late = 0.5, True
        while late:  # until the record has lived as long as these operations take
            hits, expires_at = cache.stats()["hits"], time.monotonic() + lifetime_s
            await other.aadd(ONE, None, "b", namespace="n", expires_in_s=lifetime_s)
            found = [await uids(), await uids()]
            await other.aadd(ONE, None, "c", namespace="elsewhere")
            found.append(await uids())
            hits = cache.stats()["hits"] - hits
            lifetime_s, late = 2 * lifetime_s, time.monotonic() > expires_at
        assert found == [{"a", "b"}] * 3
        assert hits == 2
        while await uids() != {"a"}:
            pass
        await other.adelete(["a"], namespace="n")
        assert await uids() == set()


async def test_results_of_a_guarded_store_are_cached_too(postgres_schema_url: str) -> None:
    """A server guards its engine: the versions of namespaces, and the names of tenants, pass through the guard."""
    cache = ResultCache()
    async with GuardedStore(PgVectorStore(postgres_schema_url, DIM), EngineGuard()) as store:
        cached = CachedStore(store, cache, store_key="default/memories")
        await cached.aadd(ONE, None, "a", namespace="n")
        for _ in range(2):
            assert [match.uid for match in await cached.asearch(ONE, namespace="n")] == ["a"]
        assert cache.stats()["hits"] == 1
        await cached.aadd(ONE, None, "b", namespace="n")
        assert {match.uid for match in await cached.asearch(ONE, namespace="n")} == {"a", "b"}
        assert await store.atenants() == ["default"]
