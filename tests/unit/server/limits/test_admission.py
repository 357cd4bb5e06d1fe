"""Places, the line before them, and refusals."""

from __future__ import annotations

import asyncio

import pytest

from super_advanced_agents.errors import OverloadedError
from super_advanced_agents.protocol.operations import PermitKind
from super_advanced_agents.server.limits.admission import Admission, AdmissionQueue
from super_advanced_agents.server.route_table import ROUTES, permit_of, rpc_operation

LONG_S = 60.0


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("GET", "/healthz", None),
        ("GET", "/readyz", None),
        ("GET", "/mcp", PermitKind.SEARCH),
        ("POST", "/mcp", PermitKind.SEARCH),
        ("POST", "/search", PermitKind.SEARCH),
        ("POST", "/v1/agents/a/search", PermitKind.SEARCH),
        ("POST", "/v1/collections/c/search:hybrid", PermitKind.SEARCH),
        ("POST", "/v1/collections/c/records:scan", PermitKind.SEARCH),
        ("POST", "/v1/embeddings", PermitKind.SEARCH),
        ("GET", "/v1/agents/a/memories", PermitKind.SEARCH),
        ("POST", "/v1/agents/a/memories", PermitKind.WRITE),
        ("POST", "/v1/collections/c/records:delete", PermitKind.WRITE),
        ("PUT", "/v1/collections/c/records", PermitKind.WRITE),
        ("DELETE", "/v1/agents/a/memories/ask", PermitKind.WRITE),
        ("POST", "/v1/agents/a/ask", PermitKind.GENERATE),
        ("POST", "/v1/chat/completions", PermitKind.GENERATE),
        ("POST", "/v1/orchestrators/o/route", PermitKind.GENERATE),
        ("POST", "/healthz", PermitKind.SEARCH),
    ],
)
def test_the_first_line_of_a_request_tells_what_it_does(method, path, kind):
    """Only what asks whether the process is up needs no permit; what nothing answers needs one too."""
    assert permit_of(ROUTES.find(method, path)) is kind


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        ("/grpc.health.v1.Health/Check", None),
        ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", None),
        ("/super_advanced_agents.v1.VectorStoreService/SearchStream", PermitKind.SEARCH),
        ("/super_advanced_agents.v1.AgentService/ListMemories", PermitKind.SEARCH),
        ("/super_advanced_agents.v1.AgentService/Remember", PermitKind.WRITE),
        ("/super_advanced_agents.v1.VectorStoreService/AddStream", PermitKind.WRITE),
        ("/super_advanced_agents.v1.AgentService/AskStream", PermitKind.GENERATE),
        ("/super_advanced_agents.v1.OrchestratorService/Chain", PermitKind.GENERATE),
    ],
)
def test_so_does_the_name_of_a_method(method, kind):
    """The same kinds, so both protocols share the permits."""
    assert rpc_operation(method).permit is kind


async def test_places_are_taken_and_given_back():
    """Also when the work fails."""
    admission = Admission(permits={PermitKind.SEARCH: 2})
    queue = admission.queue(PermitKind.SEARCH)

    async def fail():
        async with admission.enter(PermitKind.SEARCH):
            assert queue.in_flight == 1
            raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        await fail()
    assert queue.in_flight == 0
    async with admission.enter(None):
        assert queue.in_flight == 0


async def test_what_is_more_waits_its_turn_and_more_than_that_is_refused_at_once():
    """First come, first served."""
    admission = Admission(permits={PermitKind.SEARCH: 1, PermitKind.WRITE: 1}, wait_s=LONG_S)
    queue = admission.queue(PermitKind.SEARCH)
    order = []

    async def work(name):
        async with admission.enter(PermitKind.SEARCH):
            order.append(name)

    async with admission.enter(PermitKind.SEARCH):
        first = asyncio.create_task(work("first"))
        await asyncio.sleep(0)
        assert (queue.waiting, queue.full) == (1, True)
        with pytest.raises(OverloadedError) as refused:
            await work("second")
        assert refused.value.retry_after_s > 0
        async with admission.enter(PermitKind.WRITE):  # another kind has permits of its own
            pass
        order.append("holder")
    await first
    assert order == ["holder", "first"]
    assert (queue.in_flight, queue.waiting, queue.full) == (0, 0, False)


async def test_who_waits_in_vain_is_refused():
    """After its time, with nothing left of it in the line."""
    admission = Admission(permits={PermitKind.SEARCH: 1}, wait_s=0.001)
    queue = admission.queue(PermitKind.SEARCH)
    async with admission.enter(PermitKind.SEARCH):
        with pytest.raises(OverloadedError):
            async with admission.enter(PermitKind.SEARCH):
                pass
        assert queue.waiting == 0
    assert queue.in_flight == 0


async def test_a_caller_that_is_cancelled_while_it_waits_takes_no_place():
    """Before a place was its own, and in the moment in which it became so."""
    queue = AdmissionQueue(PermitKind.SEARCH, permits=3, waiting=3, wait_s=LONG_S)
    for _ in range(3):
        assert await queue.enter()
    waiting = [asyncio.create_task(queue.enter()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    queue.leave()  # it is cancelled already: the place goes to the second
    waiting[1].cancel()  # which has been called, and does not come
    await asyncio.wait(waiting[:2])
    assert await waiting[2]
    assert (queue.in_flight, queue.waiting) == (3, 0)
    for _ in range(3):
        queue.leave()
    assert queue.in_flight == 0


async def test_many_callers_that_come_and_go_leave_no_place_behind():
    """Cancelled at every stage, in a fixed order."""
    admission = Admission(permits={PermitKind.SEARCH: 4}, wait_s=LONG_S)
    queue = admission.queue(PermitKind.SEARCH)

    async def work(turns):
        async with admission.enter(PermitKind.SEARCH):
            assert queue.in_flight <= 4
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
    assert (queue.in_flight, queue.waiting) == (0, 0)
