"""Names of agents and namespaces are any text, over every interface, and stay within their tenant."""

from __future__ import annotations

from urllib.parse import quote

import httpx2
import pytest

from super_advanced_agents import RemoteAgent

NAMES = [
    "ann@example.com",
    "Müller & Söhne",
    "a/b",
    "/",
    "..",
    ".",
    "%2e%2e",
    "a%2Fb",
    "a/../b?x=1#y",
    " 山 本 ",
    "x" * 256,
]
REFUSED = ["a\0b", "a\nb", "a\x7f", "a\u202eb", "x" * 257]


@pytest.fixture(scope="module")
def server(shared_machine):
    """Run one server for the tests of this module."""
    with shared_machine.server() as client:
        yield client


@pytest.fixture(scope="module")
def served(server):
    """Return the URL of the server."""
    return server.base_url


@pytest.fixture
def grpc(server):
    """Return the URL of the server's gRPC."""
    return server.startup_info["grpc"]


def path_of(name, rest):
    """Return the REST path of an agent, with its name encoded as clients encode a segment."""
    return f"/v1/agents/{quote(name, safe='').replace('.', '%2E')}/{rest}"


def remembered(rest, name):
    """Return the texts of an agent's memories over REST."""
    return [memory["text"] for memory in rest.get(path_of(name, "memories")).raise_for_status().json()["memories"]]


@pytest.mark.parametrize("name", NAMES)
def test_agent_of_any_name_has_its_own_memories_over_rest_and_grpc(rest, served, grpc, shared_machine, name):
    """Both clients reach the same agent, and its settings are found under its name."""
    rest.post(path_of(name, "memories"), json={"text": f"over REST to {name}"}).raise_for_status()
    for address in (str(served).rstrip("/"), grpc):
        with RemoteAgent(address, name, api_key=shared_machine.key) as agent:
            agent.add_text_memory(f"through {address[:4]} to {name}", uid=f"a/b {address[:4]}")
            assert {record.text for record in agent.scan()} >= {f"over REST to {name}"}
            assert agent.get(f"a/b {address[:4]}").namespace == name
    assert len(remembered(rest, name)) == 3
    put = rest.put(path_of(name, "")[:-1], json={"description": "any"}, headers={"idempotency-key": quote(name)[:200]})
    assert put.raise_for_status().json()["name"] == name
    assert name in [agent["name"] for agent in rest.get("/v1/agents").json()["agents"]]
    assert rest.get(f"/v1/models/{quote(name, safe='').replace('.', '%2E')}").json()["id"] == name
    assert rest.delete(path_of(name, "memories/a%2Fb%20grpc")).status_code == 204
    assert len(remembered(rest, name)) == 2


@pytest.mark.parametrize("name", REFUSED)
def test_control_characters_and_long_names_are_refused(rest, name):
    """The answer names the field, and says nothing of the name."""
    answer = rest.post(path_of(name, "memories"), json={"text": "any"})
    assert (answer.status_code, answer.json()["field"]) == (422, "agent")
    assert name not in answer.text


@pytest.mark.parametrize("name", ["ann@example.com", "a/b", ".."])
def test_mcp_reaches_the_agent_of_the_path(rest, name):
    """A tool's memory is that of the agent."""
    call = {"name": "remember", "arguments": {"text": f"over MCP to {name}"}}
    answer = rest.post(
        f"/mcp/{quote(name, safe='').replace('.', '%2E')}",
        json={"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call},
        headers={"accept": "application/json, text/event-stream"},
    )
    assert answer.status_code == 200, answer.text
    assert f"over MCP to {name}" in remembered(rest, name)


def test_no_name_leaves_its_tenant(rest, served, shared_machine):
    """Names that look like paths or like another tenant's are names, and nothing more."""
    rest.post(path_of("secret", "memories"), json={"text": "of the default tenant"}).raise_for_status()
    created = shared_machine.json("keys", "create", "--tenant", "acme", "--scope", "admin")
    with httpx2.Client(base_url=served, headers={"Authorization": f"Bearer {created['key']}"}, timeout=60) as acme:
        for name in (
            "secret",
            "../default/secret",
            "default/secret",
            "/secret",
            "%2e%2e/secret",
            "default\u00a0secret",
        ):
            assert remembered(acme, name) == []
        acme.post(path_of("secret", "memories"), json={"text": "of acme"}).raise_for_status()
        for raw in ("..%2F..%2Fagents%2Fsecret", "%2E%2E/agents/secret", "x%2F..%2Fsecret"):
            answer = acme.get(f"/v1/agents/{raw}/memories")
            assert "of the default tenant" not in answer.text
        assert remembered(acme, "secret") == ["of acme"]
    assert remembered(rest, "secret") == ["of the default tenant"]


@pytest.mark.parametrize("name", ["ann@example.com", "Müller & Söhne", "a/b", ".."])
def test_commands_take_any_name_and_exports_keep_it(new_machine, tmp_path, name):
    """What one folder exports, another one imports under the same name."""
    first, second = new_machine(tmp_path / "first"), new_machine(tmp_path / "second")
    first.saa("add", "The Prado is in Madrid.", "--agent", name)
    assert [found["text"] for found in first.json("search", "museum", "--agent", name)["results"]] == [
        "The Prado is in Madrid."
    ]
    first.saa("export", tmp_path / "all.jsonl")
    second.saa("import", tmp_path / "all.jsonl")
    listed = second.json("list", "--agent", name)
    assert [memory["text"] for memory in listed["memories"]] == ["The Prado is in Madrid."]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.jsonl", "first", "second"]
