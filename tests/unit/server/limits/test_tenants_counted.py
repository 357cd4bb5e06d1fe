"""Test that counters of tenants stay bounded, however many tenants an issuer's tokens name."""

from __future__ import annotations

import gc
import sqlite3
from contextlib import closing
from types import FunctionType, ModuleType

from super_advanced_agents.server.idempotency.request_store import (
    IdempotencyKey,
    Reply,
    RequestTable,
    SaveReply,
    StartRequest,
)
from super_advanced_agents.server.limits.rate_limit import RateLimiter
from super_advanced_agents.server.limits.windows import LocalWindows
from super_advanced_agents.tenancy.context import Access, Principal
from super_advanced_agents.tenancy.result_cache import ResultCache

TENANTS = 60_000


def count_reachable_tenants(container):
    """Count the names of tenants that are reachable from an object."""
    seen, tenants, pending = {id(container)}, set(), [container]
    while pending:
        container = pending.pop()
        # The collector does not visit keys of a dict that are strings.
        keys = container if isinstance(container, dict) else ()
        for each in [*keys, *gc.get_referents(container)]:
            if isinstance(each, str):
                tenants.update({each} if "tenant-" in each else ())
            elif id(each) not in seen and not isinstance(each, type | ModuleType | FunctionType):
                seen.add(id(each))
                pending.append(each)
    return len(tenants)


async def test_result_cache_counters_stay_bounded_with_many_tenants():
    """The totals count on, and a tenant that calls all the time keeps its own counters."""
    cache = ResultCache(max_entries=0)

    async def version() -> int:
        return 1

    async def search():
        return []

    for number in range(TENANTS):
        await cache.aresult("question", version, search, store_key=f"tenant-{number}/memories")
        if number % 100 == 0:
            await cache.aresult("question", version, search, store_key="loyal/memories")
    assert count_reachable_tenants(cache) < 5_000
    assert cache.stats("loyal")["bypassed"] == TENANTS // 100
    assert cache.stats()["bypassed"] == TENANTS + TENANTS // 100


async def test_rate_limit_counters_stay_bounded_with_many_keys_and_tenants():
    """This holds within one minute, and a tenant that calls all the time is not forgotten."""
    windows = LocalWindows(clock=lambda: 6000.0)
    limiter = RateLimiter(per_key=1_000, per_tenant=1_000, windows=windows)
    for number in range(TENANTS):
        await limiter.charge(_principal(f"tenant-{number}"), 1)
        if number % 100 == 0:
            quota = await limiter.charge(_principal("loyal"), 1)
    assert count_reachable_tenants(windows) < 60_000
    assert quota.remaining == 1_000 - TENANTS // 100


def test_idempotency_counters_stay_bounded_with_many_tenants(tmp_path):
    """A tenant's size is counted again when needed, so its oldest replies are still evicted."""
    table = RequestTable(tmp_path / "requests.db", max_keys=2, max_bytes=1_000)
    try:
        _write(table, "tenant-loyal", "first")
        table.execute(
            [StartRequest(IdempotencyKey(tenant=f"tenant-{number}", key="k"), b"") for number in range(5_000)]
        )
        assert count_reachable_tenants(table) < 5_000
        for key in ("second", "third"):
            _write(table, "tenant-loyal", key)
        with closing(sqlite3.connect(tmp_path / "requests.db")) as connection:
            rows = connection.execute("SELECT key FROM requests WHERE tenant = 'tenant-loyal' ORDER BY id").fetchall()
        assert rows == [("second",), ("third",)]
    finally:
        table.close()


def _principal(tenant):
    return Principal(tenant=tenant, scopes=frozenset({Access.READ}), key_id=f"jwt-{tenant}")


def _write(table, tenant, key):
    name = IdempotencyKey(tenant=tenant, key=key)
    [started] = table.execute([StartRequest(name, b"")])
    table.execute([SaveReply(name, started.id, Reply(status=200, body=b"x" * 300))])
