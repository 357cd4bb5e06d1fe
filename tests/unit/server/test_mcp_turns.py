"""Few MCP requests are with the MCP library at once, and a tool that works gives its turn back."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.testclient import TestClient

from super_advanced_agents.agents import AsyncLLMAgent
from super_advanced_agents.server.app import create_app
from super_advanced_agents.tenancy.settings import Settings

HEADERS = {"accept": "application/json, text/event-stream"}
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
RECALL = {"name": "recall", "arguments": {"query": "x"}}


@pytest.fixture
def client(tmp_path):
    """Return a client of a server in this process, without authentication."""
    with TestClient(create_app(Settings(data_dir=tmp_path, auth=False)), base_url="http://127.0.0.1") as opened:
        yield opened


def test_four_requests_are_with_the_library_at_once(client, monkeypatch):
    """A flood of handshakes of one tenant would keep the event loop busy for seconds."""
    inside, most, full = set(), [], asyncio.Event()
    handle = StreamableHTTPSessionManager.handle_request

    async def counting(self, *arguments):
        inside.add(asyncio.current_task())
        most.append(len(inside))
        if len(inside) == 4:
            full.set()
        await full.wait()
        await asyncio.sleep(0.005)
        await handle(self, *arguments)
        inside.discard(asyncio.current_task())

    monkeypatch.setattr(StreamableHTTPSessionManager, "handle_request", counting)
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda _: client.post("/mcp", json=PING, headers=HEADERS), range(32)))
    assert {answer.status_code for answer in answers} == {200}
    assert max(most) == 4


def test_tool_that_works_keeps_no_other_request_waiting(client, monkeypatch):
    """Eight searches run until a ninth request was answered."""
    answered, running = threading.Event(), []

    async def search(self, *arguments, **others):
        running.append(1)
        await asyncio.to_thread(answered.wait)
        return []

    monkeypatch.setattr(AsyncLLMAgent, "_asearch_text", search)
    monkeypatch.setattr(AsyncLLMAgent, "asearch_text", search)
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": RECALL}
    with ThreadPoolExecutor(8) as threads:
        searches = [threads.submit(client.post, "/mcp", json=call, headers=HEADERS) for _ in range(8)]
        while len(running) < 8:
            pass
        assert client.post("/mcp", json=PING, headers=HEADERS).status_code == 200
        answered.set()
        assert {search.result().status_code for search in searches} == {200}
