"""A server under one tenant's silence, slow bodies and long answers still serves another tenant."""

from __future__ import annotations

import json
import socket
from contextlib import ExitStack, contextmanager

import httpx2
import pytest
from tests.integration.conftest import Machine

PERMITS = {"SAA_SEARCHES_IN_FLIGHT": "2", "SAA_WRITES_IN_FLIGHT": "2", "SAA_GENERATIONS_IN_FLIGHT": "2"}
SCOPES = ("memories:read", "memories:write", "generate")
MEMORIES = "/v1/agents/default/memories"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Yield the address of a server with few permits, and a key of each of two tenants."""
    machine = Machine(tmp_path_factory.mktemp("shared") / "data")
    with machine.server(PERMITS) as client:
        scopes = [argument for scope in SCOPES for argument in ("--scope", scope)]
        keys = [machine.json("keys", "create", "--tenant", name, *scopes)["key"] for name in ("acme", "globex")]
        for key in keys:
            memories = [{"text": f"The number {n} is called n{n}."} for n in range(20)]
            client.post(MEMORIES, json={"memories": memories}, headers=_bearer(key)).raise_for_status()
        yield client.base_url, *keys


def _bearer(key):
    return {"Authorization": f"Bearer {key}"}


@contextmanager
def _sent(url, key, path, body, *, missing=0):
    """Send a request whose last bytes do not come, and leave its answer unread during the block."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
    )
    accept = "Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2025-06-18\r\n"
    content = json.dumps(body).encode()
    with socket.create_connection((url.host, url.port)) as connection:
        connection.sendall(f"{head}{accept}Content-Length: {len(content)}\r\n\r\n".encode())
        connection.sendall(content[: len(content) - missing])
        yield


def test_bodies_that_do_not_come_take_no_permit_of_another_tenant(server):
    """Each of many requests lacks its last byte."""
    url, hostile, key = server
    with ExitStack() as requests, httpx2.Client(base_url=url, headers=_bearer(key), timeout=60) as client:
        for n in range(60):
            path, body = (("/search", {"query": "x"}), (MEMORIES, {"text": "x"}))[n % 2]
            requests.enter_context(_sent(url, hostile, path, body, missing=1))
        for n in range(5):
            assert client.post("/search", json={"query": f"number {n}"}).status_code == 200
            assert client.post(MEMORIES, json={"text": f"mine {n}"}).status_code == 200


def test_answers_that_nobody_reads_take_no_permit_of_their_own_tenant(server):
    """A permit is held while the server works, not while a long answer waits for its reader."""
    url, key, _ = server
    with ExitStack() as requests, httpx2.Client(base_url=url, headers=_bearer(key), timeout=60) as client:
        texts = [{"text": f"{n} " + "long text " * 5_000} for n in range(40)]
        for start in range(0, 40, 20):
            client.post("/v1/agents/long/memories", json={"memories": texts[start : start + 20]}).raise_for_status()
        for _ in range(6):
            unread = requests.enter_context(socket.socket())
            unread.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            unread.connect((url.host, url.port))
            path = "/v1/agents/long/memories?limit=40"
            unread.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\r\n".encode())
            assert unread.recv(1, socket.MSG_PEEK)
        for n in range(5):
            assert client.post("/search", json={"query": f"number {n}"}).status_code == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
            "name": "ask", "arguments": {"question": "Tell all numbers in a long story"}}}),
        ("/search", {"query": "numbers", "rerank": True}),
        ("/v1/agents/default/ask", {"question": "Tell all numbers in a long story", "answer_tokens": 1_000}),
    ],
    ids=["tool of MCP", "re-ranked search", "answer"],
)  # fmt: skip
def test_generation_for_one_tenant_refuses_neither_searches_nor_answers_of_another(server, path, body):
    """More of it is asked for than there are permits of any kind."""
    url, hostile, key = server
    with ExitStack() as requests, httpx2.Client(base_url=url, headers=_bearer(key), timeout=60) as client:
        for _ in range(8):
            requests.enter_context(_sent(url, hostile, path, body))
        for n in range(8):
            assert client.post("/search", json={"query": f"{path} {n}"}).status_code == 200
        answer = client.post("/v1/agents/default/ask", json={"question": "Which?", "answer_tokens": 8})
        assert answer.status_code == 200
