"""Test rate limits: what a charge takes, what is left, and when to retry."""

from __future__ import annotations

import pytest

from super_advanced_agents.errors import RateLimitedError
from super_advanced_agents.server.limits.rate_limit import RateLimiter, quota_headers, quota_metadata
from super_advanced_agents.server.limits.windows import Charge, LocalWindows
from super_advanced_agents.tenancy.context import Access, Principal


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
    return RateLimiter(per_key=per_key, per_tenant=per_tenant, windows=LocalWindows(clock=clock))


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


def test_windows_forget_keys_without_charges_for_two_minutes(clock):
    """Memory is bounded by the number of recent callers."""
    windows = LocalWindows(clock=clock)
    for key in range(1000):
        windows.charge([Charge(str(key), 10, 1)])
    clock.now += 120
    windows.charge([Charge("x", 10, 1)])
    assert len(windows) == 1


async def test_quota_headers_equal_the_quota_metadata(clock):
    """Both hold whole numbers."""
    quota = await _limiter(clock).charge(_principal(), 4)
    assert quota_metadata(quota) == (
        ("ratelimit-limit", "10"),
        ("ratelimit-remaining", "6"),
        ("ratelimit-reset", "120"),
    )
    assert [(name.decode(), value.decode()) for name, value in quota_headers(quota)] == list(quota_metadata(quota))
