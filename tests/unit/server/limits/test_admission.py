"""Test which permit a request takes, and what a permit can do."""

from __future__ import annotations

import asyncio

import pytest

from super_advanced_agents.errors import OverloadedError
from super_advanced_agents.protocol.operations import PermitKind
from super_advanced_agents.server.limits.admission import Admission
from super_advanced_agents.server.route_table import ROUTES, permit_of, rpc_operation


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("GET", "/healthz", None),
        ("GET", "/readyz", None),
        ("GET", "/mcp", None),
        ("POST", "/mcp", None),
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
        ("POST", "/healthz", None),
    ],
)
def test_http_verb_and_path_decide_the_kind_of_permit(method, path, kind):
    """Health checks need none, and neither do unknown routes; the tools of MCP take one each."""
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
    pool = admission.pool(PermitKind.SEARCH)

    async def fail():
        async with admission.enter(PermitKind.SEARCH, "acme"):
            assert pool.held_by("acme") == 1
            raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        await fail()
    assert pool.in_flight == 0
    async with admission.enter(None, "acme"):
        assert pool.in_flight == 0


async def test_permit_that_was_given_back_early_is_not_given_back_twice():
    """The answer is sent without one, and the next call gets it meanwhile."""
    admission = Admission(permits={PermitKind.SEARCH: 1})
    pool = admission.pool(PermitKind.SEARCH)
    async with admission.enter(PermitKind.SEARCH, "acme") as permit:
        permit.give_back()
        assert pool.in_flight == 0
        async with admission.enter(PermitKind.SEARCH, "globex"):
            permit.give_back()
            assert pool.in_flight == 1
    assert pool.in_flight == 0


async def test_permit_is_exchanged_for_one_of_another_kind():
    """A refused exchange leaves none; whatever is held at the end is given back."""
    admission = Admission(permits={PermitKind.SEARCH: 1, PermitKind.GENERATE: 1}, wait_s=0.001)
    searches, generations = admission.pool(PermitKind.SEARCH), admission.pool(PermitKind.GENERATE)
    async with admission.enter(PermitKind.SEARCH, "acme") as permit:
        await permit.exchange(PermitKind.GENERATE)
        assert (searches.in_flight, generations.in_flight) == (0, 1)
        async with admission.enter(PermitKind.SEARCH, "acme") as second:
            with pytest.raises(OverloadedError):
                await second.exchange(PermitKind.GENERATE)
            assert searches.in_flight == 0
    assert (searches.in_flight, generations.in_flight) == (0, 0)


async def test_parts_of_a_call_take_free_permits_and_else_turns_on_its_own():
    """So each concurrent answer of an orchestrator counts, and no call waits for another one's permit."""
    admission = Admission(permits={PermitKind.GENERATE: 3})
    pool = admission.pool(PermitKind.GENERATE)
    most, running = 0, 0

    async def work(permit):
        nonlocal most, running
        async with permit.part():
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1

    async with admission.enter(PermitKind.GENERATE, "acme") as permit:
        await asyncio.gather(*(work(permit) for _ in range(10)))
        assert (most, pool.in_flight) == (3, 1)
        most = 0
        async with admission.enter(PermitKind.GENERATE, "acme"), admission.enter(PermitKind.GENERATE, "acme"):
            await asyncio.gather(*(work(permit) for _ in range(3)))
        assert most == 1
    assert pool.in_flight == 0


async def test_cancelled_part_passes_its_turn_on():
    """A part that is cancelled before or after it got the turn holds nothing."""
    admission = Admission(permits={PermitKind.GENERATE: 1})
    ended = []

    async def work(permit, name):
        async with permit.part():
            await asyncio.sleep(0)
        ended.append(name)

    async with admission.enter(PermitKind.GENERATE, "acme") as permit:
        tasks = [asyncio.create_task(work(permit, n)) for n in range(4)]
        await asyncio.sleep(0)
        tasks[1].cancel()  # it waits
        await tasks[0]
        tasks[2].cancel()  # it has the turn by now, or gets it
        await asyncio.wait(tasks)
    assert ended == [0, 3]
    assert admission.pool(PermitKind.GENERATE).in_flight == 0


async def test_tenant_of_a_valid_credential_is_remembered_to_refuse_it_early():
    """Others are unknown, and are refused only once they were checked."""
    admission = Admission(permits={PermitKind.SEARCH: 1}, wait_s=60)
    pool = admission.pool(PermitKind.SEARCH)
    admission.remember_caller("Bearer of acme", "acme")
    async with admission.enter(PermitKind.SEARCH, "acme"):
        assert not admission.is_saturated
        waiting = asyncio.create_task(pool.enter("acme"))
        await asyncio.sleep(0)
        assert admission.is_saturated
        known = {name: admission.remembered_tenant(name) for name in ("Bearer of acme", "Bearer of globex")}
        assert admission.refuses(PermitKind.SEARCH, known["Bearer of acme"])
        assert not admission.refuses(PermitKind.SEARCH, known["Bearer of globex"])
        assert not admission.refuses(None, "acme")
    assert await waiting
    assert not admission.is_saturated
    pool.leave("acme")


def test_only_the_latest_credentials_are_remembered():
    """Their number is bounded."""
    admission = Admission(permits={})
    for n in range(5_000):
        admission.remember_caller(f"key {n}", "acme")
    assert admission.remembered_tenant("key 0") is None
    assert admission.remembered_tenant("key 4999") == "acme"


async def test_of_requests_that_arrive_together_only_those_with_a_chance_go_on():
    """The others are refused before anything is made for them; the next pass of the loop counts anew."""
    admission = Admission(permits=dict.fromkeys(PermitKind, 4))
    admitted = [admission.may_arrive(PermitKind.SEARCH, "acme") for _ in range(10)]
    assert admitted == [True] * 4 + [False] * 6
    assert admission.may_arrive(PermitKind.SEARCH, "beta")
    assert admission.may_arrive(PermitKind.WRITE, "acme")
    assert admission.may_arrive(PermitKind.SEARCH, None)  # a caller who is not known yet
    assert admission.may_arrive(None, "acme")
    await asyncio.sleep(0)
    pool = admission.pool(PermitKind.SEARCH)
    for _ in range(4):
        assert pool.enter_now("acme")
    assert [admission.may_arrive(PermitKind.SEARCH, "acme") for _ in range(3)] == [True, False, False]  # one may wait
    assert all(admission.may_arrive(PermitKind.SEARCH, "beta") for _ in range(4))
