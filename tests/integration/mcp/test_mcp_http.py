"""The protocol's own client against `/mcp`, in both of its ages: with the handshake of old, and without."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from super_advanced_agents.server.mcp.configuration import client_configuration

AGES = pytest.mark.parametrize("mode", ["legacy", "auto"])


@asynccontextmanager
async def _connected(house, key, *, agent=None, mode="auto"):
    url = f"{house.url}/mcp" if agent is None else f"{house.url}/mcp/{agent}"
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {key}"}, timeout=60) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode) as client,
    ):
        yield client


async def _call(client, name, **arguments):
    result = await client.call_tool(name, arguments)
    assert not result.is_error, result.content
    assert json.loads(result.content[0].text) == result.structured_content
    return result.structured_content


async def _fail(client, name, **arguments):
    result = await client.call_tool(name, arguments)
    assert result.is_error
    return result.content[0].text


@AGES
async def test_tools_say_what_they_are_for(house, mode):
    """With titles, schemas of what they take and give, and hints of what they change."""
    async with _connected(house, house.admin, mode=mode) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert client.server_info.name == "super-advanced-agents"
        assert "recall" in client.instructions
    assert list(tools) == ["remember", "recall", "forget", "ask"]
    assert tools["remember"].input_schema["required"] == ["text"]
    assert tools["recall"].output_schema["required"] == ["memories"]
    assert [tool.annotations.read_only_hint for tool in tools.values()] == [False, True, False, True]
    assert tools["forget"].annotations.destructive_hint
    assert all(tool.description and tool.title for tool in tools.values())


@AGES
async def test_each_tool_does_its_work(house, upstream, mode):
    """Remember, recall, ask, forget; the same thing twice is one memory."""
    async with _connected(house, house.admin, agent=f"tools-{mode}", mode=mode) as client:
        told = {"text": "The Louvre is a museum", "extra": {"city": "Paris"}, "source": "a guide"}
        uid = (await _call(client, "remember", **told))["uid"]
        assert (await _call(client, "remember", **told))["uid"] == uid
        await _call(client, "remember", text="Cats sleep all day", memory_type="habit")
        [best, other] = (await _call(client, "recall", query="art gallery"))["memories"]
        assert (best["uid"], best["text"], best["metadata"]["city"]) == (uid, "The Louvre is a museum", "Paris")
        assert best["score"] > other["score"]
        [habit] = (await _call(client, "recall", query="art", top_k=3, memory_type="habit"))["memories"]
        assert habit["text"] == "Cats sleep all day"
        assert (await _call(client, "recall", query="art", where={"city": "Rome"})) == {"memories": []}
        answer = await _call(client, "ask", question="Which museum?", top_k=1)
        assert answer["answer"] == "Question: Which museum?"
        assert [source["uid"] for source in answer["sources"]] == [uid]
        assert await _call(client, "forget", uids=[uid, "nothing"]) == {"forgotten": 1}
        assert len((await _call(client, "recall", query="art"))["memories"]) == 1


async def test_errors_are_told_to_the_model(house, upstream):
    """In our words and with the hint, so that it can do better."""
    async with _connected(house, house.admin, agent="errors") as client:
        await _call(client, "remember", text="something")
        assert "text is empty (give a text with at least one word)" in await _fail(client, "remember", text=" ")
        assert "query: Field required" in await _fail(client, "recall")
        assert "top_k" in await _fail(client, "recall", query="x", top_k=0)
        assert "nonsense" in await _fail(client, "recall", query="x", nonsense=1)
        assert "$nonsense" in await _fail(client, "recall", query="x", where={"a": {"$nonsense": 1}})
        assert "uids" in await _fail(client, "forget", uids=[])
        refused = await _fail(client, "ask", question="locked")
        assert "refused the key it was sent" in refused
        assert "api_key" in refused


async def test_a_key_may_do_what_its_scopes_say(house):
    """What it may not do is neither listed nor done; without a key there is nothing."""
    async with _connected(house, house.reader, agent="scopes") as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == ["recall"]
        assert "memories:write" in await _fail(client, "remember", text="something")
        assert "generate" in await _fail(client, "ask", question="something")
        assert await _call(client, "recall", query="something") == {"memories": []}
    async with httpx2.AsyncClient() as http:
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        for headers, status in (
            ({}, 401),
            ({"Authorization": "Bearer saa_wrong"}, 401),
            ({"Authorization": f"Bearer {house.admin}", "Host": "evil.example"}, 421),
            ({"Authorization": f"Bearer {house.admin}", "Origin": "https://evil.example"}, 403),
        ):
            answer = await http.post(f"{house.url}/mcp", json=message, headers=headers)
            assert answer.status_code == status
        own = {"Authorization": f"Bearer {house.admin}"}
        for method in ("GET", "DELETE"):
            assert (await http.request(method, f"{house.url}/mcp", headers=own)).status_code == 405
        assert (await http.post(f"{house.url}/mcp/..%2f", json=message, headers=own)).status_code in {404, 422}
        assert (await http.post(f"{house.url}/mcp/a%20b", json=message, headers=own)).status_code == 422


@AGES
async def test_two_tenants_side_by_side_never_meet(house, mode):
    """Each call is its own caller's, whichever task of the protocol's library it runs in."""
    async with (
        _connected(house, house.admin, agent=f"both-{mode}", mode=mode) as mine,
        _connected(house, house.other, agent=f"both-{mode}", mode=mode) as theirs,
    ):
        whose = {"mine": mine, "theirs": theirs}
        for name, client in whose.items():
            await _call(client, "remember", text=f"a word that is {name}")

        async def look(name):
            return name, (await _call(whose[name], "recall", query="a word"))["memories"]

        for name, memories in await asyncio.gather(*(look(name) for _ in range(20) for name in whose)):
            assert [memory["text"] for memory in memories] == [f"a word that is {name}"]


async def test_a_cancelled_call_frees_the_language_model(house, upstream):
    """Down to the connection to its server; the next call is answered."""
    async with _connected(house, house.admin, agent="cancel") as client:
        await _call(client, "remember", text="something")
        asking = asyncio.create_task(client.call_tool("ask", {"question": "go on forever"}))
        assert await asyncio.to_thread(upstream.begun.wait, 20)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert await asyncio.to_thread(upstream.left.wait, 20)
        assert (await _call(client, "ask", question="still there?"))["answer"] == "Question: still there?"


@pytest.mark.parametrize("version", ["2025-06-18", "2026-07-28"])
async def test_hanging_up_frees_the_language_model(house, upstream, version):
    """Where there is no session, that is the one way to say that an answer is not wanted any more."""
    async with _connected(house, house.admin, agent="hang") as client:
        await _call(client, "remember", text="something")
    meta = {
        "io.modelcontextprotocol/protocolVersion": version,
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    params = {"name": "ask", "arguments": {"question": "go on forever"}, "_meta": meta}
    headers = {
        "Authorization": f"Bearer {house.admin}",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": version,
        "Mcp-Method": "tools/call",
        "Mcp-Name": "ask",
    }
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    async with httpx2.AsyncClient(timeout=60) as http:
        asking = asyncio.create_task(http.post(f"{house.url}/mcp/hang", json=message, headers=headers))
        assert await asyncio.to_thread(upstream.begun.wait, 20)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert await asyncio.to_thread(upstream.left.wait, 20)


async def test_the_printed_configuration_works(house):
    """As a client reads it."""
    [server] = json.loads(client_configuration(house.url, house.admin))["mcpServers"].values()
    assert server["type"] == "http"
    async with (
        httpx2.AsyncClient(headers=server["headers"], timeout=60) as http,
        Client(streamable_http_client(server["url"], http_client=http)) as client,
    ):
        assert len((await client.list_tools()).tools) == 4
    [open_server] = json.loads(client_configuration(house.url, auth=False))["mcpServers"].values()
    assert "headers" not in open_server
