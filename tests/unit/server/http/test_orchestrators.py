"""Test orchestrators over REST, declared with agents of other servers or made of all agents."""

from __future__ import annotations

import asyncio

import httpx2
import pytest
from fastapi import FastAPI

from super_advanced_agents import Answer, Match
from super_advanced_agents.errors import ConfigurationError
from super_advanced_agents.server.auth.authenticator import Authenticator
from super_advanced_agents.server.http.errors import add_error_handlers
from super_advanced_agents.server.http.routes import agents, orchestrators
from super_advanced_agents.server.idempotency.results import Idempotency
from super_advanced_agents.server.limits.admission import Admission
from super_advanced_agents.server.limits.rate_limit import RateLimiter
from super_advanced_agents.server.services import Services
from super_advanced_agents.tenancy.config_file import load_declared
from super_advanced_agents.tenancy.context import ANYBODY, RequestContext, active_context
from super_advanced_agents.tenancy.runtime import Runtime
from super_advanced_agents.tenancy.settings import Settings

DECLARED = """
[agents.cook]
description = "Answers questions about cooking, recipes and food"

[orchestrators.desk]
default = "general"
failures = 2

[orchestrators.desk.agents.general]
url = "grpc://general.example:50051"

[orchestrators.desk.agents.billing]
agent = "bills"
url = "https://other.example"
tasks = ["invoices"]

[orchestrators.desk.agents.broken]
url = "grpc://broken.example"

[orchestrators.desk.agents.slow]
url = "grpc://slow.example"

[orchestrators.hers]
tenant = "ann"
[orchestrators.hers.agents.general]
"""


class FakeRemoteAgent:
    """Stand for an agent of another server."""

    def __init__(self, url, agent, key):
        self.constructed_with = (url, agent, key)
        self.closed = False
        self.started, self.ended = asyncio.Event(), asyncio.Event()

    async def aask(self, question, top_k=5):
        """Answer, fail or wait, as the URL says."""
        url, agent, _ = self.constructed_with
        if "broken" in url:
            raise OSError("secret")
        if "slow" in url:
            self.started.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.ended.set()
        text = "Bread is baked in an oven." if agent == "general" else f"{agent} says yes"
        return Answer(text=text, sources=[Match({"text": "why"}, 0.5, "m1")])

    def close(self):
        """Record that the server closed the agent."""
        self.closed = True


class ServedOrchestrators:
    """Call the application without a socket, and hold the agents that it has connected to."""

    def __init__(self, app, client, remote_agents):
        self.app, self.client, self.remote_agents = app, client, remote_agents

    async def post(self, action, status=200, orchestrator="desk", **body):
        """Return the JSON of a response, which must have this status."""
        answer = await self.client.post(f"/v1/orchestrators/{orchestrator}/{action}", json={"query": "q", **body})
        assert answer.status_code == status, answer.text
        return answer.json()


@pytest.fixture
def settings(tmp_path):
    file = tmp_path / "saa.toml"
    file.write_text(DECLARED)
    return Settings.load(data_dir=tmp_path / "data", config=file, auth=False, rate_limit_per_key=4_000)


@pytest.fixture
def remote_agents():
    """Collect the agents of other servers by URL, once the server connects to them."""
    return {}


class OpenAccess:
    """Authenticate every caller in place of the pipeline, and charge it."""

    def __init__(self, app, limiter):
        self._app, self._limiter = app, limiter

    async def __call__(self, scope, receive, send):
        """Run the application in the caller's context."""
        with active_context(RequestContext(principal=ANYBODY, limiter=self._limiter)):
            await self._app(scope, receive, send)


@pytest.fixture
async def service(settings, remote_agents):
    def connect(url, *rest):
        return remote_agents.setdefault(url, FakeRemoteAgent(url, *rest))

    async with Runtime(settings, connect=connect) as runtime:
        await runtime.aopen()
        app = FastAPI()
        limiter = RateLimiter.of(settings)
        app.state.services = Services(
            runtime=runtime,
            authenticator=Authenticator(settings),
            admission=Admission.of(settings),
            limiter=limiter,
            idempotency=Idempotency(settings.server_dir / "requests.db"),
        )
        add_error_handlers(app)
        app.add_middleware(OpenAccess, limiter=limiter)
        app.include_router(orchestrators.router)
        app.include_router(agents.router)
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield ServedOrchestrators(app, client, remote_agents)
    assert all(agent.closed for agent in remote_agents.values())


async def test_declared_orchestrator_carries_out_every_operation(service):
    """Each response has the steps that led to its answer."""
    routed = await service.post("route", task="invoices")
    assert (routed["agent"], routed["text"], routed["reason"]) == ("billing", "bills says yes", "task")
    [source] = routed["sources"]
    assert (source["uid"], source["text"], source["score"], source["metadata"]) == ("m1", "why", 0.5, {})
    assert (await service.post("chain", names=["general", "billing"]))["agents"] == ["general", "billing"]
    fallback = await service.post("fallback", primary="broken", backup="general")
    assert [(step["status"], step["error"]) for step in fallback["steps"]] == [
        ("failed", "OSError"),
        ("answered", None),
    ]
    parallel = await service.post("parallel", names=["slow", "general"])
    assert [step["status"] for step in parallel["steps"]] == ["cancelled", "answered"]
    assert service.remote_agents["grpc://slow.example"].ended.is_set()
    voted = await service.post("collaborate", names=["general", "billing"], voting="consensus", max_rounds=2)
    assert (voted["rounds"], voted["agreement"]) == (2, 0.5)
    assert service.remote_agents["https://other.example"].constructed_with == ("https://other.example", "bills", None)


async def test_tenant_sees_its_own_orchestrators_and_the_default_one(service):
    """The default orchestrator has all agents with settings."""
    listed = (await service.client.get("/v1/orchestrators")).json()["orchestrators"]
    assert listed == [
        {"name": "default", "agents": ["cook"]},
        {"name": "desk", "agents": ["general", "billing", "broken", "slow"]},
    ]
    for name, status in (("hers", 404), ("nobody", 404), ("a b", 422)):
        assert (await service.client.get(f"/v1/orchestrators/{name}")).status_code == status


async def test_supervision_counts_the_failures_of_all_requests(service):
    """An agent that failed too often is skipped, and the response says when to retry."""
    for _ in range(2):
        problem = await service.post("chain", 502, names=["broken"])
        assert (problem["error"], "secret" in str(problem)) == ("AgentError", False)
    answer = await service.client.post("/v1/orchestrators/desk/chain", json={"query": "q", "names": ["broken"]})
    assert (answer.status_code, answer.json()["error"]) == (503, "AgentUnavailableError")
    assert 0 < int(answer.headers["retry-after"]) <= 30
    report = (await service.client.get("/v1/orchestrators/desk")).json()
    assert (report["sick"], report["agents"]["broken"]["failed"]) == (1, 2)
    assert (await service.post("chain", 504, names=["slow"], timeout_s=0.01))["error"] == "AgentTimeoutError"


async def test_default_orchestrator_calls_any_named_agent(service):
    """It routes only to agents with settings."""
    outcome = await service.post("fallback", orchestrator="default", primary="nobody", backup=["cook"])
    assert [step["status"] for step in outcome["steps"]] == ["empty", "empty"]
    assert outcome["text"].startswith("I do not know")
    assert (await service.post("route", orchestrator="default"))["agent"] == "cook"
    answer = await service.client.put("/v1/agents/pilot", json={"description": "Flies planes"})
    assert answer.status_code == 200
    routed = await service.post("route", orchestrator="default", query="How do planes fly?")
    assert (routed["agent"], routed["reason"]) == ("pilot", "similarity")
    await service.client.delete("/v1/agents/pilot")
    assert (await service.post("parallel", orchestrator="default"))["agent"] == "cook"


async def test_invalid_orchestrator_request_names_its_field(service):
    """The agents of a declared orchestrator are only those that were declared."""
    for action, body, status, field in (
        ("route", {"query": " "}, 422, "query"),
        ("route", {"top_k": 0}, 422, "top_k"),
        ("route", {"query": 5}, 422, "query"),
        ("route", {"url": "http://evil"}, 422, "url"),
        ("chain", {"names": []}, 422, "names"),
        ("chain", {"names": ["a"] * 33}, 422, "names"),
        ("chain", {"names": ["x\n"]}, 422, "names[0]"),
        ("chain", {"names": ["cook"]}, 404, None),
        ("fallback", {"primary": "general", "backup": ["general"]}, 422, "backup[0]"),
        ("parallel", {"wait": 0}, 422, "wait"),
        ("parallel", {"wait": True}, 422, None),
        ("collaborate", {"names": ["general"], "voting": "war"}, 422, "voting"),
        ("collaborate", {"names": ["general"], "voting": "critic", "critic": "cook"}, 404, None),
    ):
        problem = await service.post(action, status, **body)
        assert field is None or problem["field"] == field, problem
    for names in (["a\tb"], [""], ["x" * 257]):
        problem = await service.post("chain", 422, orchestrator="default", names=names)
        assert problem["field"] == "names[0]"


async def test_each_agent_call_of_an_orchestrator_is_charged(service):
    """A call costs 200 units; a call that cannot be paid does not count as a failure of the agent."""
    body = {"query": "q", "names": ["general", "billing"], "wait": "all"}
    answers = [await service.client.post("/v1/orchestrators/desk/parallel", json=body) for _ in range(11)]
    assert [answer.status_code for answer in answers] == [*[200] * 10, 429]
    assert answers[-1].json()["error"] == "RateLimitedError"
    report = (await service.client.get("/v1/orchestrators/desk")).json()
    assert (report["sick"], report["agents"]["general"]["last_error"]) == (0, "RateLimitedError")


async def test_disconnect_of_the_client_cancels_the_agents(service):
    """The response is 499, which nobody reads."""
    slow, sent = service.remote_agents["grpc://slow.example"], []
    messages = [{"type": "http.request", "body": b'{"query": "q", "names": ["slow"]}', "more_body": False}]

    async def receive():
        if messages:
            return messages.pop()
        await slow.started.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    path = "/v1/orchestrators/desk/chain"
    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b""}
    await service.app({**scope, "headers": headers, "http_version": "1.1", "scheme": "http"}, receive, send)
    assert slow.ended.is_set()
    assert sent[0]["status"] == 499


async def test_remote_agent_in_a_process_without_connections_fails_when_called(settings):
    """Opening the runtime succeeds, so that commands on the store work."""
    async with Runtime(settings) as runtime:
        await runtime.aopen()
        with pytest.raises(ConfigurationError, match="has no client for it"):
            await runtime.orchestrators.of("default", "desk").achain("q", ["general"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[orchestrators.a]", "agents"),
        ("[orchestrators.a.agents.b]\nurl='ftp://x'", "agents.b.url"),
        ("[orchestrators.a.agents.b]\nurl='https://u:p@x'", "agents.b.url"),
        ("[orchestrators.a.agents.b]\napi_key_file='x'", "agents with a url"),
        ("[orchestrators.a.agents.b]\nurl='https://x'\napi_key_file='/nowhere/x'", "cannot be read"),
        ("[orchestrators.a]\ndefault='c'\n[orchestrators.a.agents.b]", "none of its agents"),
        ('[orchestrators.a.agents."b\\tc"]', "a control character"),
        ("[orchestrators.'b c'.agents.a]", "not a name"),
        ("[orchestrators.a.agents.b]\ncolour=1", "colour"),
    ],
)
def test_invalid_declaration_of_an_orchestrator_names_its_key(tmp_path, text, message):
    """The error names the table and the key."""
    file = tmp_path / "saa.toml"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        load_declared(file)


def test_api_key_for_another_server_is_read_from_its_file_and_not_shown(tmp_path):
    """The repr of the declaration does not contain it."""
    (tmp_path / "key").write_text("saa_secret\n")
    file = tmp_path / "saa.toml"
    file.write_text(f"[orchestrators.a.agents.b]\nurl='https://x'\napi_key_file={str(tmp_path / 'key')!r}")
    declared = load_declared(file)
    member = declared.orchestrators["default", "a"].agents["b"]
    assert member.api_key == "saa_secret"
    assert "saa_secret" not in repr(declared)
