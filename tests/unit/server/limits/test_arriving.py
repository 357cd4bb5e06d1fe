"""Test how bodies reserve bytes in steps while they arrive, and that they never wait for each other."""

from __future__ import annotations

import asyncio
import random

import pytest

from super_advanced_agents.server.limits.arriving import ArrivingBodies
from super_advanced_agents.server.limits.fair_pool import FairPool

KIB = 1024
STEP = 64 * KIB


def _bodies(*, capacity=40 * STEP, per_tenant=20 * STEP, body_bytes=8 * STEP, waiting=100, wait_s=60.0):
    pool = FairPool(capacity=capacity, per_tenant=per_tenant, waiting=waiting, entitled_waiting=waiting)
    arriving = ArrivingBodies(pool, per_tenant=per_tenant, body_bytes=body_bytes, waiting=waiting, wait_s=wait_s)
    return pool, arriving


async def _arrive(body, size):
    """Let a whole body arrive in steps, and return whether its bytes were granted."""
    for received in range(STEP, size + STEP, STEP):
        if not await body.grow(min(received, size)):
            return False
        await asyncio.sleep(0)
    body.arrived(size)
    return True


async def test_body_holds_what_has_come_and_in_the_end_its_size():
    """It takes whole steps while it arrives."""
    pool, arriving = _bodies()
    body = arriving.begin("acme")
    assert pool.in_flight == 0
    assert await body.grow(STEP + 1)
    assert pool.held_by("acme") == STEP + 1
    assert await body.grow(STEP + 2)
    assert pool.held_by("acme") == 2 * STEP + 1
    body.arrived(STEP + 2)
    assert pool.held_by("acme") == STEP + 2
    body.release()
    assert pool.in_flight == 0


async def test_body_that_came_in_part_goes_on_while_the_others_wait():
    """The last bytes are for one body at a time, so that each gets it in the end."""
    pool, arriving = _bodies()
    bodies = [arriving.begin("acme") for _ in range(20)]
    for body in bodies[:12]:  # together they have all but what one body needs
        assert await body.grow(STEP)
    assert await bodies[12].grow(STEP)  # it has the last bytes now
    waiting = [asyncio.create_task(body.grow(2 * STEP)) for body in bodies[:12]]
    await asyncio.sleep(0)
    assert arriving.waiting == 12
    assert await bodies[12].grow(8 * STEP)
    assert pool.held_by("acme") == 20 * STEP
    bodies[12].arrived(8 * STEP)
    await asyncio.sleep(0)
    assert arriving.waiting == 11  # the next one waits for bytes only until the first one is answered
    bodies[12].release()
    assert await waiting[0]
    for body in bodies[:12]:
        body.release()
    assert await asyncio.gather(*waiting[1:]) == [True] * 11


async def test_waiting_body_is_refused_in_the_end_and_holds_nothing_back():
    """All its waits together are bounded, and their number is."""
    pool, arriving = _bodies(waiting=1, wait_s=0.01)
    first, last = arriving.begin("acme"), arriving.begin("acme")
    assert await first.grow(8 * STEP)
    assert await last.grow(8 * STEP)
    refused, excess = arriving.begin("acme"), arriving.begin("acme")
    waiting = asyncio.create_task(refused.grow(8 * STEP))
    await asyncio.sleep(0)
    assert not await excess.grow(8 * STEP)
    assert not await waiting
    assert arriving.waiting == 0
    for body in (first, last, refused, excess):
        body.release()
    assert pool.in_flight == 0


async def test_cancelled_body_passes_its_turn_on():
    """One is cancelled while it waits, one at the moment of its turn."""
    pool, arriving = _bodies()
    first, last, *others = (arriving.begin("acme") for _ in range(5))
    assert await first.grow(8 * STEP)
    assert await last.grow(8 * STEP)
    tasks = [asyncio.create_task(body.grow(8 * STEP)) for body in others]
    await asyncio.sleep(0)
    tasks[0].cancel()
    first.release()
    tasks[1].cancel()
    await asyncio.wait(tasks[:2])
    others[0].release()
    others[1].release()
    assert await tasks[2]
    last.release()
    others[2].release()
    assert pool.in_flight == 0


@pytest.mark.parametrize("seed", range(5))
async def test_hundreds_of_bodies_at_once_all_arrive_and_leave_nothing(seed):
    """They want many times the bytes of their tenants together, so each of them waits at times."""
    draw = random.Random(seed)
    pool, arriving = _bodies()
    most = 0

    async def send(tenant, size, cancelled):
        nonlocal most
        body = arriving.begin(tenant)
        try:
            async with asyncio.timeout(0 if cancelled else None):
                assert await _arrive(body, size)
                most = max(most, pool.in_flight)
                await asyncio.sleep(0)
        except TimeoutError:
            assert cancelled
        finally:
            body.release()

    async with asyncio.TaskGroup() as group:
        for number in range(100):
            group.create_task(send(draw.choice(["acme", "globex"]), draw.randint(1, 8 * STEP), number % 7 == 0))
    assert 0 < most <= 50 * STEP
    assert (pool.in_flight, pool.waiting, arriving.waiting) == (0, 0, 0)
