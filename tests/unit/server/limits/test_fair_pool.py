"""Test how the units of a pool are shared among tenants: who gets them, who waits, and who is refused."""

from __future__ import annotations

import asyncio
import random

import pytest

from super_advanced_agents.server.limits.fair_pool import FairPool

LONG_S = 60.0


def _pool(capacity, **options):
    return FairPool(capacity=capacity, **{"waiting": 2, "wait_s": LONG_S, **options})


async def _started(*coroutines):
    """Return tasks that have run until they wait."""
    tasks = [asyncio.create_task(each) for each in coroutines]
    await asyncio.sleep(0)
    return tasks


async def test_tenant_alone_holds_every_place_and_is_refused_beyond_its_short_queue():
    """The reserve is not for it; units that come free go to those who wait, in their order."""
    pool = _pool(4)
    for _ in range(4):
        assert await pool.enter("acme")
    waiting = await _started(pool.enter("acme"), pool.enter("acme"))
    assert pool.saturated == {"acme"}
    assert not await pool.enter("acme")
    pool.leave("acme")
    assert not pool.saturated
    await asyncio.sleep(0)
    assert [task.done() for task in waiting] == [True, False]
    pool.leave("acme")
    assert await waiting[1]
    assert (pool.in_flight, pool.waiting) == (4, 0)


async def test_wait_of_a_tenant_that_has_its_share_is_short():
    """It leaves nothing in the queue."""
    pool = _pool(1, wait_s=0.001)
    assert await pool.enter("acme")
    assert not await pool.enter("acme")
    pool.leave("acme")
    assert (pool.in_flight, pool.waiting) == (0, 0)


async def test_tenant_below_its_share_takes_the_reserve_at_once_and_then_waits_for_its_turn():
    """It is never refused while another tenant holds more than its share."""
    pool = _pool(8, wait_s=0.0)
    for _ in range(8):
        assert await pool.enter("hostile")
    assert await pool.enter("acme")
    assert await pool.enter("acme")
    waiting = await _started(*(pool.enter("acme") for _ in range(8)))
    assert not await pool.enter("hostile")
    for _ in range(4):  # what the hostile tenant gives back down to its share goes to the other one
        pool.leave("hostile")
    await asyncio.sleep(0)
    assert (pool.held_by("hostile"), pool.held_by("acme"), pool.in_flight) == (4, 4, 8)
    for _ in range(4):
        pool.leave("acme")
        await asyncio.sleep(0)
    assert (pool.held_by("acme"), sum(task.done() for task in waiting)) == (4, 6)
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)


async def test_tenant_that_waits_for_its_turn_is_refused_in_the_end():
    """Its queue is bounded in number and in time, too."""
    pool = _pool(1, entitled_waiting=1, entitled_wait_s=0.01)
    assert await pool.enter("hostile")
    assert await pool.enter("acme")  # from the reserve
    [waiting] = await _started(pool.enter("globex"))
    assert not await pool.enter("globex")
    assert "globex" in pool.saturated
    assert not await waiting
    assert not pool.saturated


async def test_free_units_go_to_the_tenant_with_the_fewest_and_in_turn_among_equals():
    """A tenant with many waiting requests gets no more than one with few."""
    pool = _pool(2, entitled_waiting=10)
    for _ in range(2):
        assert await pool.enter("hostile")
    assert await pool.enter("acme")
    order = []

    async def work(tenant):
        assert await pool.enter(tenant, patient=True)
        order.append(tenant)
        pool.leave(tenant)

    tasks = await _started(*(work(tenant) for tenant in ["a"] * 4 + ["b"] * 2 + ["c"]))
    pool.leave("acme")
    pool.leave("hostile")
    pool.leave("hostile")
    await asyncio.gather(*tasks)
    assert sorted(order[:3]) == ["a", "b", "c"]
    assert pool.in_flight == 0


async def test_units_of_one_call_are_granted_together_and_bounded_for_each_tenant():
    """A large request is not overtaken by small ones without end."""
    pool = FairPool(capacity=100, per_tenant=60, waiting=8)
    assert pool.enter_now("acme", 60)
    assert not pool.enter_now("acme", 1)
    assert pool.enter_now("globex", 40)
    [large] = await _started(pool.enter("initech", 50, patient=True))
    assert not pool.enter_now("globex", 10)
    pool.leave("globex", 40)
    assert await large
    assert pool.in_flight == 110
    pool.leave("acme", 60)
    pool.leave("initech", 50)
    assert pool.in_flight == 0


async def test_cancelled_waiting_call_takes_no_place():
    """One call is cancelled before it gets a place, another one at that moment."""
    pool = _pool(3, waiting=3)
    for _ in range(3):
        assert await pool.enter("acme")
    waiting = await _started(*(pool.enter("acme") for _ in range(3)))
    waiting[0].cancel()
    pool.leave("acme")  # the first is cancelled already, so the place goes to the second
    waiting[1].cancel()  # which has the place, and does not run any more
    await asyncio.wait(waiting[:2])
    assert await waiting[2]
    assert (pool.in_flight, pool.waiting) == (3, 0)


@pytest.mark.parametrize("seed", range(5))
async def test_hundreds_of_calls_of_several_tenants_with_cancellations_leave_nothing(seed):
    """Calls are cancelled at every stage; no tenant ever holds more than the capacity."""
    draw = random.Random(seed)
    pool = _pool(4, waiting=50, per_tenant=3 if seed % 2 else None)

    async def work(tenant, amount, steps):
        if await pool.enter(tenant, amount, patient=bool(steps % 2)):
            try:
                assert pool.in_flight <= 5
                assert pool.held_by(tenant) <= 4
                for _ in range(steps):
                    await asyncio.sleep(0)
            finally:
                pool.leave(tenant, amount)

    tasks = []
    for n in range(500):
        tasks.append(asyncio.create_task(work(draw.choice("abcdef"), draw.choice([1, 1, 2]), draw.randrange(5))))
        if n % 3 == 0:
            draw.choice(tasks).cancel()
        if n % 2 == 0:
            await asyncio.sleep(0)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert not any(isinstance(task.exception(), AssertionError) for task in tasks if not task.cancelled())
    assert (pool.in_flight, pool.waiting, pool.saturated) == (0, 0, set())
