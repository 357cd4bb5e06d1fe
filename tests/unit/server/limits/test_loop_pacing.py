"""Test that requests which are ready together begin in several passes of the event loop."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from super_advanced_agents.server.limits import loop_pacing
from super_advanced_agents.server.limits.loop_pacing import LoopPacer

LONG_S = 0.02
"""The computing time of a request: more than a pass may take."""


class _Clock:
    """Time that passes only while something computes."""

    def __init__(self):
        self.now = 1_000.0

    def perf_counter(self):
        return self.now

    def compute(self, seconds):
        self.now += seconds


class _Passes:
    """Counts the passes of the event loop, and notes in which one each request began."""

    def __init__(self, pacer, clock):
        self.pacer = pacer
        self.clock = clock
        self.number = 0
        self.begun = []

    async def request(self, tenant, busy_s):
        await self.pacer.begin(tenant)
        self.begun.append((tenant, self.number))
        self.clock.compute(busy_s)

    def count(self):
        self.number += 1
        self.counting = asyncio.get_running_loop().call_soon(self.count)


@pytest.fixture
async def passes(monkeypatch):
    clock = _Clock()
    monkeypatch.setattr(loop_pacing, "time", SimpleNamespace(perf_counter=clock.perf_counter))
    counted = _Passes(LoopPacer(pass_s=LONG_S / 2), clock)
    counted.count()
    yield counted
    counted.counting.cancel()


async def test_requests_that_compute_long_begin_in_a_pass_each(passes):
    """The loop looks at its connections between them."""
    await asyncio.gather(*(passes.request("acme", LONG_S) for _ in range(6)))
    assert len({number for _, number in passes.begun}) == 6


async def test_short_requests_begin_together(passes):
    """A pass that is short leaves nobody waiting."""
    await asyncio.gather(*(passes.request("acme", 0) for _ in range(50)))
    assert len({number for _, number in passes.begun}) == 1


async def test_waiting_tenants_are_served_round_robin(passes):
    """One that sends many requests at once does not keep those of another behind them."""
    many = [passes.request("acme", LONG_S) for _ in range(6)]
    await asyncio.gather(*many, passes.request("beta", LONG_S))
    assert [tenant for tenant, _ in passes.begun].index("beta") <= 2


async def test_cancelled_request_makes_room_for_the_next(passes):
    """All the others begin."""
    tasks = [asyncio.create_task(passes.request("acme", LONG_S)) for _ in range(6)]
    await asyncio.sleep(0)
    for task in tasks[1:4]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert len(passes.begun) == 3
    await passes.request("acme", 0)
    assert len(passes.begun) == 4


async def test_passes_that_are_long_for_other_reasons_begin_as_much_as_those_take(passes):
    """Refusals of many requests, for one, must not keep accepted ones waiting."""

    def compute_otherwise():
        passes.clock.compute(2 * LONG_S)
        others.append(asyncio.get_running_loop().call_soon(compute_otherwise))

    others = []
    compute_otherwise()
    await asyncio.gather(*(passes.request("acme", LONG_S / 10) for _ in range(60)))
    others[-1].cancel()
    assert len({number for _, number in passes.begun}) <= 15
