"""Over REST and gRPC a tenant is told the same with and without the data and the activity of another."""

import threading
from contextlib import ExitStack

import grpc
import httpx2
import pytest
from tests.postgres import fresh_schema

from super_advanced_agents.protocol.v1 import agents_pb2

MEMORIES = "/v1/agents/default/memories"
TEXTS = [
    f"note {i}: {('the red apple', 'a green pear', 'shoes for walking')[i % 3]} and {i % 4} words" for i in range(30)
]
WHERES = [{}, {"n": 1}, {"of_b": "x"}, {"of_b": {"$contains": "x"}}, {"k7": {"$gte": 1}}, {"n": {"$in": [1, 2]}}]


def _script(client: httpx2.Client, headers: dict[str, str]) -> list[object]:
    """Send a tenant's requests and return all that it is told, without times."""
    told: list[object] = []

    def send(method: str, path: str, **more: object) -> None:
        reply = client.request(method, path, headers={**headers, "cache-control": "no-cache"}, **more)
        told.append((reply.status_code, _without_times(reply.json() if reply.content else None)))

    memories = [
        {"text": text, "uid": f"a{i:02d}", "extra": {"n": i % 5}, "session": f"s{i % 2}"}
        for i, text in enumerate(TEXTS)
    ]
    send("POST", MEMORIES, json={"memories": memories})
    send("POST", MEMORIES, json={"text": TEXTS[3], "uid": "again", "extra": {"n": 3}, "dedupe": "exact"})
    send("PATCH", f"{MEMORIES}/a01", json={"extra": {"n": 4}})
    for where in WHERES:
        send("POST", f"{MEMORIES}:scan", json={"where": where, "limit": 7})
        for mode in ("hybrid", "vector", "keyword"):
            body = {"query": "a red pear", "where": where, "mode": mode, "explain": mode == "hybrid", "top_k": 9}
            send("POST", "/v1/agents/default/search", json=body)
    send("DELETE", f"{MEMORIES}/a02")
    for uid in ("a02", "b1", "nobody"):
        send("GET", f"{MEMORIES}/{uid}")
    send("GET", f"{MEMORIES}?after=a20&limit=5")
    send("GET", "/v1/agents/of-b")
    send("GET", "/v1/agents")
    send("GET", "/v1/stats")
    send("POST", f"{MEMORIES}:forget", json={"where": {"of_b": {"$exists": True}}})
    send("PUT", "/v1/schedules/s", json={**_SCHEDULE, "cron": "0 0 1 1 *"})
    send("POST", "/v1/jobs", json=_JOB)
    send("POST", "/v1/jobs", json={"kind": "backup"})
    for path in ("jobs", "schedules", "jobs/nobody", "audit?limit=9", "models", "collections", "orchestrators"):
        send("GET", f"/v1/{path}")
    send("POST", "/v1/jobs:retry")
    send("GET", "/metrics")
    return told


_SCHEDULE = {"kind": "ask_agent", "arguments": {"question": "why?"}}
_JOB = {**_SCHEDULE, "queue": "nobody"}
"""A job that waits for ever, so that it is the same whenever it is looked at."""


_VOLATILE = {"created_at", "updated_at", "instance", "request_id", "id", "at", "hash", "key_id", "next", "next_at"}


def _without_times(value: object) -> object:
    if isinstance(value, dict):
        return {name: _without_times(member) for name, member in value.items() if name not in _VOLATILE}
    return [_without_times(member) for member in value] if isinstance(value, list) else value


def _keys(machine, *tenants: str) -> list[dict[str, str]]:
    made = [machine.json("keys", "create", "--tenant", tenant, "--scope", "admin") for tenant in tenants]
    return [{"Authorization": f"Bearer {key['key']}"} for key in made]


@pytest.fixture(params=["folder", "postgresql"])
def machines(request, new_machine, tmp_path):
    """Return two machines without data, with the environment of each one's server and commands."""
    with ExitStack() as stack:
        environments = [{}, {}]
        if request.param == "postgresql":
            url = request.getfixturevalue("postgres_url")
            environments = [{"SAA_STORE_URL": stack.enter_context(fresh_schema(url))} for _ in range(2)]
        yield [(new_machine(tmp_path / f"{n}"), each) for n, each in enumerate(environments)]


def test_tenant_is_told_the_same_with_and_without_the_data_and_activity_of_another(machines, monkeypatch):
    """B has the same uids, the same words many times, agents, sessions, fields of its own, and writes meanwhile."""
    (shared, environment), (alone, other_environment) = machines
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    a, b = _keys(shared, "acme", "globex")
    with shared.server(environment) as client:
        texts = [f"red red apple {i} " + "pear " * (i % 9) for i in range(120)]
        extra = {"of_b": "x" * 300, "n": 1}
        memories = [
            {"text": t, "uid": f"b{i}", "session": "s0", "extra": {**extra, f"k{i}": i}} for i, t in enumerate(texts)
        ]
        assert client.post(MEMORIES, headers=b, json={"memories": memories}).status_code == 200
        assert client.put("/v1/agents/of-b", headers=b, json={"description": "x"}).status_code < 300
        assert client.put("/v1/schedules/s", headers=b, json={**_SCHEDULE, "cron": "* * * * *"}).status_code == 200
        done = threading.Event()

        def write() -> None:
            with httpx2.Client(base_url=client.base_url, headers=b, timeout=60) as other:
                while not done.is_set():
                    other.post(MEMORIES, json={"text": "red pear shoes", "uid": "a05", "extra": extra})
                    other.post("/v1/jobs", json=_JOB)
                    other.post("/v1/jobs", json={"kind": "export", "arguments": {"namespace": "none"}})

        writer = threading.Thread(target=write)
        writer.start()
        try:
            told = _script(client, a)
        finally:
            done.set()
            writer.join()
        with grpc.insecure_channel(client.startup_info["grpc"].removeprefix("grpc://")) as channel:
            request = agents_pb2.GetMemoryRequest(agent="default", uid="a04").SerializeToString()
            call = channel.unary_unary("/super_advanced_agents.v1.AgentService/GetMemory")
            reply = agents_pb2.GetMemoryResponse.FromString(
                call(request, metadata=[("authorization", a["Authorization"])], timeout=30)
            )
            assert reply.memory.uid == "a04"
            assert not reply.memory.HasField("place")
    for name, value in other_environment.items():
        monkeypatch.setenv(name, value)
    [a] = _keys(alone, "acme")
    with alone.server(other_environment) as client:
        assert _script(client, a) == told
