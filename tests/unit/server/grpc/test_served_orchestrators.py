"""Orchestrators over gRPC: small agents of the test behind a real socket."""

from __future__ import annotations

import asyncio

import grpc
import orjson
import pytest

from super_advanced_agents import Answer, Match, Orchestrator
from super_advanced_agents.client import RemoteAgent
from super_advanced_agents.errors import ResourceClosedError
from super_advanced_agents.protocol import methods
from super_advanced_agents.protocol.match_messages import match_of
from super_advanced_agents.protocol.v1 import orchestrators_pb2 as messages
from super_advanced_agents.server.grpc.server import build_server

INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND


class Small:
    """Answers with a text, raises an error, or waits."""

    def __init__(self, *, text="", error=None, waits=False):
        self.text, self.error, self.waits = text, error, waits
        self.begun, self.ended = asyncio.Event(), asyncio.Event()

    async def aask(self, question, top_k=5):
        """As it was made to."""
        if self.error is not None:
            raise self.error
        if self.waits:
            self.begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.ended.set()
        return Answer(text=self.text, sources=[Match({"text": "why"}, 0.5, "m1")])


@pytest.fixture
async def agents(services):
    """Agents of the tenant's default orchestrator."""
    made = {
        "yes": Small(text="Yes."),
        "aye": Small(text="yes"),
        "no": Small(text="No."),
        "broken": Small(error=OSError("secret")),
        "slow": Small(waits=True),
    }
    orchestrator = services.runtime.orchestrators.of("default", "default")
    for name, agent in made.items():
        orchestrator.register_agent(name, agent, tasks=[name])
    return made


async def test_every_operation_is_carried_out(caller, agents):
    """With the same steps as anywhere; fields that are absent have the library's defaults."""
    routed = await caller.ask(methods.ROUTE, messages.RouteRequest(query="q", task="no"))
    assert (routed.text, routed.agent, routed.reason, routed.HasField("agreement")) == ("No.", "no", "task", False)
    assert [match_of(each) for each in routed.sources] == [Match({"text": "why"}, 0.5, "m1")]
    chained = await caller.ask(methods.CHAIN, messages.ChainRequest(query="q", names=["yes", "no"]))
    assert list(chained.agents) == ["yes", "no"]
    request = messages.FallbackRequest(query="q", primary="broken", backups=["no", "yes"])
    fallen = await caller.ask(methods.FALLBACK, request)
    assert [(step.agent, step.status, step.error) for step in fallen.steps] == [
        ("broken", "failed", "OSError"),
        ("no", "answered", ""),
    ]
    raced = await caller.ask(methods.PARALLEL, messages.ParallelRequest(query="q", names=["slow", "yes"]))
    assert [step.status for step in raced.steps] == ["cancelled", "answered"]
    assert agents["slow"].ended.is_set()
    some = messages.ParallelRequest(query="q", names=["slow", "yes", "no"], quorum=2)
    assert list((await caller.ask(methods.PARALLEL, some)).agents) == ["yes", "no"]
    every = messages.ParallelRequest(query="q", names=["yes", "no"], wait=messages.WAIT_ALL)
    assert len((await caller.ask(methods.PARALLEL, every)).steps) == 2
    request = messages.CollaborateRequest(query="q", names=["no", "yes", "aye"], voting=messages.VOTING_CONSENSUS)
    voted = await caller.ask(methods.COLLABORATE, request)
    assert (voted.text, voted.rounds, voted.agreement) == ("Yes.", 3, pytest.approx(2 / 3))
    request = messages.CollaborateRequest(query="q", names=["no", "yes"], voting=messages.VOTING_CRITIC, critic="aye")
    assert (await caller.ask(methods.COLLABORATE, request)).reason.startswith("the critic named none")


async def test_health_is_told_and_orchestrators_are_listed(caller, agents):
    """As JSON; the name may be left out."""
    await caller.refusal(methods.CHAIN, messages.ChainRequest(query="q", names=["broken"]))
    report = orjson.loads((await caller.ask(methods.SUPERVISE, messages.SuperviseRequest())).report)
    assert report["agents"]["broken"]["last_error"] == "OSError"
    listed = await caller.ask(methods.LIST_ORCHESTRATORS, messages.ListOrchestratorsRequest())
    assert [(each.name, list(each.agents)) for each in listed.orchestrators] == [("default", list(agents))]


@pytest.mark.parametrize(
    ("method", "request_", "code", "field"),
    [
        (methods.ROUTE, messages.RouteRequest(), INVALID, "query"),
        (methods.ROUTE, messages.RouteRequest(query="q", top_k=0), INVALID, "top_k"),
        (methods.CHAIN, messages.ChainRequest(query="q"), INVALID, "names"),
        (methods.CHAIN, messages.ChainRequest(query="q", names=["../x"]), INVALID, "names[0]"),
        (methods.PARALLEL, messages.ParallelRequest(query="q", wait=9), INVALID, "wait"),
        (methods.PARALLEL, messages.ParallelRequest(query="q", quorum=0), INVALID, "wait"),
        (methods.COLLABORATE, messages.CollaborateRequest(query="q", names=["yes"], voting=9), INVALID, "voting"),
        (methods.SUPERVISE, messages.SuperviseRequest(orchestrator="nobody"), NOT_FOUND, None),
    ],
)  # fmt: skip
async def test_wrong_requests_name_their_field(caller, agents, method, request_, code, field):
    """With the status of the one table."""
    status, problem, _ = await caller.refusal(method, request_)
    assert (status, problem.get("field")) == (code, field)


async def test_a_failed_agent_is_told_without_its_words(caller, agents):
    """The class is enough."""
    status, problem, _ = await caller.refusal(methods.CHAIN, messages.ChainRequest(query="q", names=["broken"]))
    assert (status, problem["error"]) == (grpc.StatusCode.UNKNOWN, "AgentError")
    assert "secret" not in str(problem)


async def test_cancelling_and_deadlines_reach_the_agents(caller, agents):
    """Nothing goes on for a caller that has gone."""
    slow = agents["slow"]
    call = caller.call(methods.CHAIN, messages.ChainRequest(query="q", names=["slow"]))
    await slow.begun.wait()
    call.cancel()
    await slow.ended.wait()
    slow.ended.clear()
    status, _, _ = await caller.refusal(methods.CHAIN, messages.ChainRequest(query="q", names=["slow"]), timeout=0.2)
    assert status is grpc.StatusCode.DEADLINE_EXCEEDED
    await slow.ended.wait()


@pytest.fixture
async def port(services):
    """Of a server."""
    server = build_server(services, services.runtime.settings)
    number = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield number
    await server.stop(0)


async def test_a_remote_agent_is_an_orchestrators_agent(services, port):
    """Cancelled, deadlined and counted like any other; the blocking twins reach it too."""
    local = Small(text="Yes.")
    orchestrator = Orchestrator(timeout_s=20)
    async with RemoteAgent(f"grpc://127.0.0.1:{port}", "nobody") as remote:
        orchestrator.register_agent("remote", remote)
        orchestrator.register_agent("local", local)
        outcome = await orchestrator.afallback("q", "remote", "local")
        assert [step.status for step in outcome.steps] == ["empty", "answered"]
        outcome = await asyncio.to_thread(orchestrator.parallel, "q", wait="all")
        assert [step.status for step in outcome.steps] == ["empty", "answered"]
    with pytest.raises(ResourceClosedError):
        await orchestrator.achain("q", ["remote"])
    report = await orchestrator.asupervise()
    assert (report["agents"]["remote"]["empty"], report["agents"]["remote"]["failed"]) == (2, 1)
