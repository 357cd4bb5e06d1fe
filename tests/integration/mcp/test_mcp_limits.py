"""Requests and results of MCP are bounded, so that the MCP library never works long on the event loop."""

from __future__ import annotations

import json

import httpx2
import pytest

from super_advanced_agents.server.mcp.http import MAX_BODY_BYTES, MAX_VALUES
from super_advanced_agents.server.mcp.tools import MAX_RESULT_BYTES

TEXT_BYTES = 60_000
TEXTS = 24


@pytest.fixture
def client(keyed_server):
    """A client with the administrator's key, which accepts what MCP demands."""
    headers = {"Authorization": f"Bearer {keyed_server.admin}", "Accept": "application/json, text/event-stream"}
    with httpx2.Client(base_url=keyed_server.url, headers=headers, timeout=60) as client:
        yield client


def _post(client, body, path="/mcp"):
    return client.post(path, content=body, headers={"content-type": "application/json"})


def _call(tool, **arguments):
    params = {"name": tool, "arguments": arguments}
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()


def test_longer_mcp_bodies_than_1_mib_are_refused(client):
    """No tool takes that much."""
    answer = _post(client, b"[" + b"{}," * (MAX_BODY_BYTES // 3) + b"{}]")
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("body", "phrase"),
    [
        (b"[" + b"0," * MAX_VALUES + b"0]", f"more than {MAX_VALUES:,} values"),
        (b"[" + b"{}," * 200_000 + b"{}]", f"more than {MAX_VALUES:,} values"),
        (b"[" * 10_000, "nested too deeply"),
        (b'{"jsonrpc":"2.0","jsonrpc":"2.0"}', "appears twice"),
        (b'{"jsonrpc":', "is not JSON"),
    ],
)
def test_mcp_bodies_are_parsed_within_the_bounds_of_other_bodies(client, body, phrase):
    """The answer is an error of JSON-RPC with a sentence."""
    answer = _post(client, body)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == -32700
    assert phrase in answer.json()["error"]["message"]


def test_mcp_result_holds_the_best_memories_that_fit(client):
    """A result of many long texts ends where it would pass the limit."""
    memories = [{"text": f"note {number} " + "river " * (TEXT_BYTES // 6)} for number in range(TEXTS)]
    client.post("/v1/agents/long/memories", json={"memories": memories}).raise_for_status()
    answer = _post(client, _call("recall", query="river", top_k=TEXTS), "/mcp/long")
    [data] = [line for line in answer.text.splitlines() if line.startswith("data: {")]
    found = json.loads(data.removeprefix("data: "))["result"]["structuredContent"]["memories"]
    assert 1 <= len(found) < TEXTS
    assert len(json.dumps(found)) <= MAX_RESULT_BYTES + TEXT_BYTES
    assert found == sorted(found, key=lambda memory: -memory["score"])
