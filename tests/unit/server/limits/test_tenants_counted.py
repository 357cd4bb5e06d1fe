"""What a server counts for each tenant stays bounded, however many tenants the tokens of an issuer name."""

from __future__ import annotations

import gc
from types import FunctionType, ModuleType

from super_advanced_agents.server.idempotency.request_store import (
    IdempotencyKey,
    Reply,
    RequestTable,
    SaveReply,
    StartRequest,
)
from super_advanced_agents.server.limits.rate_limit import LocalStorage, RateLimiter
from super_advanced_agents.tenancy.context import Access, Principal
from super_advanced_agents.tenancy.result_cache import ResultCache

TENANTS = 60_000


def tenants_known_to(owner):
    """How many of the tenants' names are reachable from an object."""
    seen, found, left = {id(owner)}, set(), [owner]
    while left:
        owner = left.pop()
        keys = owner if isinstance(owner, dict) else ()  # the collector does not ask a dict for keys that are strings
        for each in [*keys, *gc.get_referents(owner)]:
            if isinstance(each, str):
                found.update({each} if "tenant-" in each else ())
            elif id(each) not in seen and not isinstance(each, type | ModuleType | FunctionType):
                seen.add(id(each))
                left.append(each)
    return len(found)


async def test_result_counters_are_bounded_by_tenants():
    """The counts of all together go on; a tenant that asks all the time keeps its own."""
    cache = ResultCache(max_entries=0)

    async def search():
        return []

    for number in range(TENANTS):
        await cache.aresult("question", lambda: 1, search, store_key=f"tenant-{number}/memories")
        if number % 100 == 0:
            await cache.aresult("question", lambda: 1, search, store_key="loyal/memories")
    assert tenants_known_to(cache) < 5_000
    assert cache.stats("loyal")["bypassed"] == TENANTS // 100
    assert cache.stats()["bypassed"] == TENANTS + TENANTS // 100


async def test_allowances_are_counted_for_a_bounded_number_of_keys_and_tenants():
    """Within one minute, too; one that calls all the time is not forgotten."""
    storage = LocalStorage(clock=lambda: 6000.0)
    limiter = RateLimiter(per_key=1_000, per_tenant=1_000, storage=storage)
    for number in range(TENANTS):
        await limiter.charge(_principal(f"tenant-{number}"), 1)
        if number % 100 == 0:
            quota = await limiter.charge(_principal("loyal"), 1)
    assert tenants_known_to(storage) < 60_000
    assert quota.remaining == 1_000 - TENANTS // 100


def test_keyed_writes_are_counted_for_a_bounded_number_of_tenants(tmp_path):
    """What a tenant has in the table is counted anew when it is needed: its oldest replies leave all the same."""
    table = RequestTable(tmp_path / "requests.db", max_keys=2, max_bytes=1_000)
    try:
        _write(table, "tenant-loyal", "first")
        table.execute(
            [StartRequest(IdempotencyKey(tenant=f"tenant-{number}", key="k"), b"") for number in range(5_000)]
        )
        assert tenants_known_to(table) < 5_000
        for key in ("second", "third"):
            _write(table, "tenant-loyal", key)
        kept = table._connection.execute("SELECT key FROM requests WHERE tenant = 'tenant-loyal' ORDER BY id")
        assert kept.fetchall() == [("second",), ("third",)]
    finally:
        table.close()


def _principal(tenant):
    return Principal(tenant=tenant, scopes=frozenset({Access.READ}), key_id=f"jwt-{tenant}")


def _write(table, tenant, key):
    name = IdempotencyKey(tenant=tenant, key=key)
    [begun] = table.execute([StartRequest(name, b"")])
    table.execute([SaveReply(name, begun.id, Reply(status=200, body=b"x" * 300))])
