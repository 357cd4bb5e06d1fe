"""Test the orchestrator service over gRPC, with small agents behind a real socket."""

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
from super_advanced_agents.server.grpc.server import GrpcServer

INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND


class SmallAgent:
    """Answer with a text, raise an error, or wait."""

    def __init__(self, *, text="", error=None, waits=False):
        self.text, self.error, self.waits = text, error, waits
        self.started, self.ended = asyncio.Event(), asyncio.Event()

    async def aask(self, question, top_k=5):
        """Answer, fail or wait, as constructed."""
        if self.error is not None:
            raise self.error
        if self.waits:
            self.started.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.ended.set()
        return Answer(text=self.text, sources=[Match({"text": "why"}, 0.5, "m1")])


@pytest.fixture
async def agents(services):
    """Register agents with the tenant's default orchestrator."""
    registered = {
        "yes": SmallAgent(text="Yes."),
        "aye": SmallAgent(text="yes"),
        "no": SmallAgent(text="No."),
        "broken": SmallAgent(error=OSError("secret")),
        "slow": SmallAgent(waits=True),
    }
    orchestrator = services.runtime.orchestrators.of("default", "default")
    for name, agent in registered.items():
        orchestrator.register_agent(name, agent, tasks=[name])
    return registered


async def test_orchestrator_service_carries_out_every_operation(caller, agents):
    """The steps are those of the library, and absent fields take its defaults."""
    routed = await caller.invoke(methods.ROUTE, messages.RouteRequest(query="q", task="no"))
    assert (routed.text, routed.agent, routed.reason, routed.HasField("agreement")) == ("No.", "no", "task", False)
    assert [match_of(each) for each in routed.sources] == [Match({"text": "why"}, 0.5, "m1")]
    chained = await caller.invoke(methods.CHAIN, messages.ChainRequest(query="q", names=["yes", "no"]))
    assert list(chained.agents) == ["yes", "no"]
    request = messages.FallbackRequest(query="q", primary="broken", backups=["no", "yes"])
    fallback = await caller.invoke(methods.FALLBACK, request)
    assert [(step.agent, step.status, step.error) for step in fallback.steps] == [
        ("broken", "failed", "OSError"),
        ("no", "answered", ""),
    ]
    parallel = await caller.invoke(methods.PARALLEL, messages.ParallelRequest(query="q", names=["slow", "yes"]))
    assert [step.status for step in parallel.steps] == ["cancelled", "answered"]
    assert agents["slow"].ended.is_set()
    some = messages.ParallelRequest(query="q", names=["slow", "yes", "no"], quorum=2)
    assert list((await caller.invoke(methods.PARALLEL, some)).agents) == ["yes", "no"]
    every = messages.ParallelRequest(query="q", names=["yes", "no"], wait=messages.WAIT_ALL)
    assert len((await caller.invoke(methods.PARALLEL, every)).steps) == 2
    request = messages.CollaborateRequest(query="q", names=["no", "yes", "aye"], voting=messages.VOTING_CONSENSUS)
    voted = await caller.invoke(methods.COLLABORATE, request)
    assert (voted.text, voted.rounds, voted.agreement) == ("Yes.", 3, pytest.approx(2 / 3))
    request = messages.CollaborateRequest(query="q", names=["no", "yes"], voting=messages.VOTING_CRITIC, critic="aye")
    assert (await caller.invoke(methods.COLLABORATE, request)).reason.startswith("the critic named none")


async def test_supervise_reports_failures_of_agents_and_orchestrators_are_listed(caller, agents):
    """The report is JSON, and the name of the orchestrator may be absent."""
    await caller.refusal(methods.CHAIN, messages.ChainRequest(query="q", names=["broken"]))
    report = orjson.loads((await caller.invoke(methods.SUPERVISE, messages.SuperviseRequest())).report)
    assert report["agents"]["broken"]["last_error"] == "OSError"
    listed = await caller.invoke(methods.LIST_ORCHESTRATORS, messages.ListOrchestratorsRequest())
    assert [(each.name, list(each.agents)) for each in listed.orchestrators] == [("default", list(agents))]


@pytest.mark.parametrize(
    ("method", "request_", "code", "field"),
    [
        (methods.ROUTE, messages.RouteRequest(), INVALID, "query"),
        (methods.ROUTE, messages.RouteRequest(query="q", top_k=0), INVALID, "top_k"),
        (methods.CHAIN, messages.ChainRequest(query="q"), INVALID, "names"),
        (methods.CHAIN, messages.ChainRequest(query="q", names=["x\n"]), INVALID, "names[0]"),
        (methods.PARALLEL, messages.ParallelRequest(query="q", wait=9), INVALID, "wait"),
        (methods.PARALLEL, messages.ParallelRequest(query="q", quorum=0), INVALID, "wait"),
        (methods.COLLABORATE, messages.CollaborateRequest(query="q", names=["yes"], voting=9), INVALID, "voting"),
        (methods.SUPERVISE, messages.SuperviseRequest(orchestrator="nobody"), NOT_FOUND, None),
    ],
)  # fmt: skip
async def test_invalid_grpc_orchestrator_request_names_its_field(caller, agents, method, request_, code, field):
    """The status is that of the error table."""
    status, problem, _ = await caller.refusal(method, request_)
    assert (status, problem.get("field")) == (code, field)


async def test_failure_of_an_agent_is_reported_without_its_message(caller, agents):
    """The message may hold a secret; the class of the error is enough."""
    status, problem, _ = await caller.refusal(methods.CHAIN, messages.ChainRequest(query="q", names=["broken"]))
    assert (status, problem["error"]) == (grpc.StatusCode.UNKNOWN, "AgentError")
    assert "secret" not in str(problem)


async def test_cancellation_and_deadline_of_a_grpc_call_reach_the_agents(caller, agents):
    """No agent works on for a caller that has gone."""
    slow = agents["slow"]
    call = caller.call(methods.CHAIN, messages.ChainRequest(query="q", names=["slow"]))
    await slow.started.wait()
    call.cancel()
    await slow.ended.wait()
    slow.started.clear()
    slow.ended.clear()
    timeout_s = 0.1
    while not slow.started.is_set():  # until the call has time enough to get there
        timeout_s *= 2
        chain = messages.ChainRequest(query="q", names=["slow"])
        status, _, _ = await caller.refusal(methods.CHAIN, chain, timeout=timeout_s)
        assert status is grpc.StatusCode.DEADLINE_EXCEEDED
    await slow.ended.wait()


@pytest.fixture
async def port(services):
    """Start a server, and return its port."""
    async with GrpcServer(services, services.runtime.settings) as server:
        yield int(server.address.rpartition(":")[2])


async def test_remote_agent_works_as_an_agent_of_an_orchestrator(services, port):
    """Its calls are counted like any other's, also those of the blocking form."""
    local = SmallAgent(text="Yes.")
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
