"""Places, the line before them, and refusals."""

from __future__ import annotations

import asyncio

import pytest

from super_advanced_agents.errors import OverloadedError
from super_advanced_agents.server.admission import Admission, Kind, Line, kind_of, kind_of_rpc

LONG_S = 60.0


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("GET", "/healthz", None),
        ("GET", "/readyz", None),
        ("GET", "/mcp", None),
        ("POST", "/search", Kind.SEARCH),
        ("POST", "/v1/agents/a/search", Kind.SEARCH),
        ("POST", "/v1/collections/c/search:hybrid", Kind.SEARCH),
        ("POST", "/v1/collections/c/records:scan", Kind.SEARCH),
        ("POST", "/v1/embeddings", Kind.SEARCH),
        ("GET", "/v1/agents/a/memories", Kind.SEARCH),
        ("POST", "/v1/agents/a/memories", Kind.WRITE),
        ("POST", "/v1/collections/c/records:delete", Kind.WRITE),
        ("PUT", "/v1/collections/c/records", Kind.WRITE),
        ("DELETE", "/v1/agents/a/memories/ask", Kind.WRITE),
        ("POST", "/v1/agents/a/ask", Kind.GENERATE),
        ("POST", "/v1/chat/completions", Kind.GENERATE),
        ("POST", "/v1/orchestrators/o/route", Kind.GENERATE),
        ("POST", "/healthz", Kind.WRITE),
    ],
)
def test_the_first_line_of_a_request_tells_what_it_does(method, path, kind):
    """Only what asks whether the process is up, or waits for its messages, needs no place."""
    assert kind_of(method, path) is kind


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        ("/grpc.health.v1.Health/Check", None),
        ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", None),
        ("/super_advanced_agents.v1.VectorStoreService/SearchStream", Kind.SEARCH),
        ("/super_advanced_agents.v1.AgentService/ListMemories", Kind.SEARCH),
        ("/super_advanced_agents.v1.AgentService/Remember", Kind.WRITE),
        ("/super_advanced_agents.v1.VectorStoreService/AddStream", Kind.WRITE),
        ("/super_advanced_agents.v1.AgentService/AskStream", Kind.GENERATE),
        ("/super_advanced_agents.v1.OrchestratorService/Chain", Kind.GENERATE),
    ],
)
def test_so_does_the_name_of_a_method(method, kind):
    """The same kinds, so both protocols share the places."""
    assert kind_of_rpc(method) is kind


async def test_places_are_taken_and_given_back():
    """Also when the work fails."""
    admission = Admission(places={Kind.SEARCH: 2})
    line = admission.line(Kind.SEARCH)

    async def fail():
        async with admission.enter(Kind.SEARCH):
            assert line.in_flight == 1
            raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        await fail()
    assert line.in_flight == 0
    async with admission.enter(None):
        assert line.in_flight == 0


async def test_what_is_more_waits_its_turn_and_more_than_that_is_refused_at_once():
    """First come, first served."""
    admission = Admission(places={Kind.SEARCH: 1, Kind.WRITE: 1}, wait_s=LONG_S)
    line = admission.line(Kind.SEARCH)
    order = []

    async def work(name):
        async with admission.enter(Kind.SEARCH):
            order.append(name)

    async with admission.enter(Kind.SEARCH):
        first = asyncio.create_task(work("first"))
        await asyncio.sleep(0)
        assert (line.waiting, line.full) == (1, True)
        with pytest.raises(OverloadedError) as refused:
            await work("second")
        assert refused.value.retry_after_s > 0
        async with admission.enter(Kind.WRITE):  # another kind has places of its own
            pass
        order.append("holder")
    await first
    assert order == ["holder", "first"]
    assert (line.in_flight, line.waiting, line.full) == (0, 0, False)


async def test_who_waits_in_vain_is_refused():
    """After its time, with nothing left of it in the line."""
    admission = Admission(places={Kind.SEARCH: 1}, wait_s=0.001)
    line = admission.line(Kind.SEARCH)
    async with admission.enter(Kind.SEARCH):
        with pytest.raises(OverloadedError):
            async with admission.enter(Kind.SEARCH):
                pass
        assert line.waiting == 0
    assert line.in_flight == 0


async def test_a_caller_that_is_cancelled_while_it_waits_takes_no_place():
    """Before a place was its own, and in the moment in which it became so."""
    line = Line(Kind.SEARCH, places=3, waiting=3, wait_s=LONG_S)
    for _ in range(3):
        assert await line.enter()
    waiting = [asyncio.create_task(line.enter()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    line.leave()  # it is cancelled already: the place goes to the second
    waiting[1].cancel()  # which has been called, and does not come
    await asyncio.wait(waiting[:2])
    assert await waiting[2]
    assert (line.in_flight, line.waiting) == (3, 0)
    for _ in range(3):
        line.leave()
    assert line.in_flight == 0


async def test_many_callers_that_come_and_go_leave_no_place_behind():
    """Cancelled at every stage, in a fixed order."""
    admission = Admission(places={Kind.SEARCH: 4}, wait_s=LONG_S)
    line = admission.line(Kind.SEARCH)

    async def work(turns):
        async with admission.enter(Kind.SEARCH):
            assert line.in_flight <= 4
            for _ in range(turns):
                await asyncio.sleep(0)

    tasks = []
    for n in range(500):
        tasks.append(asyncio.create_task(work(n % 5)))
        if n % 3 == 0:
            tasks[n // 2].cancel()
        if n % 2 == 0:
            await asyncio.sleep(0)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (line.in_flight, line.waiting) == (0, 0)
