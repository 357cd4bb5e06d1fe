"""Work on many requests at once, whose results come in order."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from super_advanced_agents.server.grpc.rpc import map_in_order


class Work:
    """Takes a turn of the event loop for each unit, and counts what is under way."""

    def __init__(self):
        self.under_way = self.most = self.begun = 0

    async def __call__(self, turns):
        self.begun += 1
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            for _ in range(abs(turns)):
                await asyncio.sleep(0)
            if turns < 0:
                raise ValueError(turns)
            return turns
        finally:
            self.under_way -= 1


async def _requests(*turns, error=None):
    for each in turns:
        yield each
    if error is not None:
        raise error


async def test_results_come_in_the_order_of_their_requests():
    """However long each takes, and never more at once than is allowed."""
    work = Work()
    turns = [9, 1, 5, 0, 7, 2] * 10
    assert [each async for each in map_in_order(_requests(*turns), work, ahead=3)] == turns
    assert 1 < work.most <= 5  # those in line, the one that is waited for, and the one that waits for room


async def test_an_error_comes_after_the_results_before_it():
    """Of the work or of the requests; nothing is left under way."""
    for requests, error in ((_requests(3, 1, -2, 50, 50), ValueError), (_requests(3, 1, error=KeyError()), KeyError)):
        work, seen = Work(), []
        results = map_in_order(requests, work, ahead=2)
        seen += [await anext(results), await anext(results)]
        with pytest.raises(error):
            await anext(results)
        assert seen == [3, 1]
        assert work.under_way == 0


async def test_left_early_it_ends_at_once():
    """Also while requests wait for room, and however many there would be."""
    work = Work()
    requests = _requests(*[1] * 1_000)
    async with asyncio.timeout(10), aclosing(map_in_order(requests, work, ahead=2)) as results:
        assert await anext(results) == 1
    assert work.under_way == 0
    assert work.begun < 20
    await requests.aclose()
