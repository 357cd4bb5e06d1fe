"""Test that `map_in_order` works on several requests at once and yields results in their order."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from super_advanced_agents.server.grpc.rpc import map_in_order


class Work:
    """Yield to the event loop a number of times for each request, and count the running ones."""

    def __init__(self):
        self.running = self.max_running = self.started = 0

    async def __call__(self, steps):
        self.started += 1
        self.running += 1
        self.max_running = max(self.max_running, self.running)
        try:
            for _ in range(abs(steps)):
                await asyncio.sleep(0)
            if steps < 0:
                raise ValueError(steps)
            return steps
        finally:
            self.running -= 1


async def _requests(*steps, error=None):
    for each in steps:
        yield each
    if error is not None:
        raise error


async def test_map_in_order_yields_in_request_order_with_bounded_concurrency():
    """The order does not depend on how long each request takes."""
    work = Work()
    steps = [9, 1, 5, 0, 7, 2] * 10
    assert [each async for each in map_in_order(_requests(*steps), work, ahead=3)] == steps
    assert 1 < work.max_running <= 5  # those ahead, the one that is awaited, and the one that waits for room


async def test_map_in_order_raises_an_error_after_the_results_before_it():
    """The error may come from the work or from the requests; no work is left running."""
    for requests, error in ((_requests(3, 1, -2, 50, 50), ValueError), (_requests(3, 1, error=KeyError()), KeyError)):
        work, seen = Work(), []
        results = map_in_order(requests, work, ahead=2)
        seen += [await anext(results), await anext(results)]
        with pytest.raises(error):
            await anext(results)
        assert seen == [3, 1]
        assert work.running == 0


async def test_map_in_order_stops_its_work_when_closed_early():
    """Requests that wait for room are dropped, however many would follow."""
    work = Work()
    requests = _requests(*[1] * 1_000)
    async with asyncio.timeout(10), aclosing(map_in_order(requests, work, ahead=2)) as results:
        assert await anext(results) == 1
    assert work.running == 0
    assert work.started < 20
    await requests.aclose()
