"""Test permits, the admission queue and its refusals."""

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
def test_http_verb_and_path_decide_the_kind_of_permit(method, path, kind):
    """Only health checks need no permit; unknown routes need one too."""
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
def test_grpc_method_name_decides_the_kind_of_permit(method, kind):
    """Both protocols share the permits of a kind."""
    assert rpc_operation(method).permit is kind


async def test_permit_is_held_during_the_block_and_released_after_an_error():
    """Without a kind no permit is taken."""
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


async def test_call_beyond_the_permits_waits_and_beyond_the_queue_is_refused_at_once():
    """Waiting calls are admitted in their order, and each kind has a queue of its own."""
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


async def test_call_that_waits_too_long_for_a_permit_is_refused():
    """It leaves nothing in the queue."""
    admission = Admission(permits={PermitKind.SEARCH: 1}, wait_s=0.001)
    queue = admission.queue(PermitKind.SEARCH)
    async with admission.enter(PermitKind.SEARCH):
        with pytest.raises(OverloadedError):
            async with admission.enter(PermitKind.SEARCH):
                pass
        assert queue.waiting == 0
    assert queue.in_flight == 0


async def test_cancelled_waiting_call_takes_no_permit():
    """One call is cancelled before it gets a permit, another one at that moment."""
    queue = AdmissionQueue(PermitKind.SEARCH, permits=3, waiting=3, wait_s=LONG_S)
    for _ in range(3):
        assert await queue.enter()
    waiting = [asyncio.create_task(queue.enter()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    queue.leave()  # the first is cancelled already, so the permit goes to the second
    waiting[1].cancel()  # which has the permit, and does not run any more
    await asyncio.wait(waiting[:2])
    assert await waiting[2]
    assert (queue.in_flight, queue.waiting) == (3, 0)
    for _ in range(3):
        queue.leave()
    assert queue.in_flight == 0


async def test_hundreds_of_calls_with_cancellations_release_every_permit():
    """Calls are cancelled at every stage, in a fixed order."""
    admission = Admission(permits={PermitKind.SEARCH: 4}, wait_s=LONG_S)
    queue = admission.queue(PermitKind.SEARCH)

    async def work(steps):
        async with admission.enter(PermitKind.SEARCH):
            assert queue.in_flight <= 4
            for _ in range(steps):
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
