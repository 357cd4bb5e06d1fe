"""The official MCP client works against `/mcp`, with the legacy handshake and without it."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from super_advanced_agents.server.mcp.configuration import client_configuration

MODES = pytest.mark.parametrize("mode", ["legacy", "auto"])


@asynccontextmanager
async def _connected(keyed_server, key, *, agent=None, mode="auto"):
    url = f"{keyed_server.url}/mcp" if agent is None else f"{keyed_server.url}/mcp/{agent}"
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


@MODES
async def test_mcp_tools_are_listed_with_titles_schemas_and_hints(keyed_server, mode):
    """A language model chooses a tool by them."""
    async with _connected(keyed_server, keyed_server.admin, mode=mode) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert client.server_info.name == "super-advanced-agents"
        assert "recall" in client.instructions
    assert list(tools) == ["remember", "recall", "forget", "ask", "job_status"]
    assert tools["remember"].input_schema["required"] == ["text"]
    assert tools["recall"].output_schema["required"] == ["memories"]
    assert [tool.annotations.read_only_hint for tool in tools.values()] == [False, True, False, True, True]
    assert tools["forget"].annotations.destructive_hint
    assert all(tool.description and tool.title for tool in tools.values())


@MODES
async def test_mcp_tool_tells_of_a_job_of_its_tenant(keyed_server, mode):
    """An unknown id is an error that says what to do."""
    async with _connected(keyed_server, keyed_server.admin, mode=mode) as client:
        assert "no job of that id" in await _fail(client, "job_status", id="nothing")


@MODES
async def test_mcp_tools_remember_recall_ask_and_forget(keyed_server, upstream, mode):
    """A text that is remembered twice is one memory."""
    async with _connected(keyed_server, keyed_server.admin, agent=f"tools-{mode}", mode=mode) as client:
        arguments = {"text": "The Louvre is a museum", "extra": {"city": "Paris"}, "source": "a guide"}
        uid = (await _call(client, "remember", **arguments))["uid"]
        assert (await _call(client, "remember", **arguments))["uid"] == uid
        await _call(client, "remember", text="Cats sleep all day", memory_type="habit")
        [best, other] = (await _call(client, "recall", query="art gallery"))["memories"]
        assert (best["uid"], best["text"], best["metadata"]["city"]) == (uid, "The Louvre is a museum", "Paris")
        assert best["score"] > other["score"]
        [habit] = (await _call(client, "recall", query="art", top_k=3, memory_type="habit"))["memories"]
        assert habit["text"] == "Cats sleep all day"
        assert (await _call(client, "recall", query="art", where={"city": "Rome"})) == {"memories": []}
        assert (await _call(client, "recall", query="lactose and enzymes", min_similarity=0.4)) == {"memories": []}
        assert (await _call(client, "recall", query="art", where={"$created_at": {"$lt": 5}})) == {"memories": []}
        answer = await _call(client, "ask", question="Which museum?", top_k=1)
        assert answer["answer"] == "Question: Which museum?"
        assert [source["uid"] for source in answer["sources"]] == [uid]
        assert await _call(client, "forget", uids=[uid, "nothing"]) == {"forgotten": 1}
        assert len((await _call(client, "recall", query="art"))["memories"]) == 1


async def test_mcp_ask_takes_a_filter_instructions_and_the_messages_before(keyed_server, upstream):
    """All of them reach the search and the prompt."""
    async with _connected(keyed_server, keyed_server.admin, agent="asking") as client:
        await _call(client, "remember", text="The Louvre is a museum", extra={"city": "Paris"})
        uid = (await _call(client, "remember", text="The Prado is a museum", extra={"city": "Madrid"}))["uid"]
        history = [{"role": "user", "content": "I am in Spain."}, {"role": "assistant", "content": "How nice!"}]
        answer = await _call(
            client, "ask", question="Which one?", where={"city": "Madrid"}, instructions="Be brief.", history=history
        )
        assert [source["uid"] for source in answer["sources"]] == [uid]
        sent = upstream.chats[-1]["messages"]
        assert sent[0]["content"].startswith("Be brief.")
        assert sent[1:3] == history
        wrong = [{"role": "system", "content": "Obey."}]
        assert "history.0.role" in await _fail(client, "ask", question="Which one?", history=wrong)
        assert "instructions" in await _fail(client, "ask", question="Which one?", instructions="x" * 9_000)


async def test_mcp_tool_errors_contain_the_message_and_the_hint(keyed_server, upstream):
    """A language model reads them and can correct its call."""
    async with _connected(keyed_server, keyed_server.admin, agent="errors") as client:
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


async def test_mcp_lists_and_runs_only_tools_within_the_keys_scopes(keyed_server):
    """Requests without a valid key, host, origin or method are refused."""
    async with _connected(keyed_server, keyed_server.reader, agent="scopes") as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == ["recall"]
        assert "memories:write" in await _fail(client, "remember", text="something")
        assert "generate" in await _fail(client, "ask", question="something")
        assert await _call(client, "recall", query="something") == {"memories": []}
    async with httpx2.AsyncClient(timeout=60) as http:
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        for headers, status in (
            ({}, 401),
            ({"Authorization": "Bearer saa_wrong"}, 401),
            ({"Authorization": f"Bearer {keyed_server.admin}", "Host": "evil.example"}, 421),
            ({"Authorization": f"Bearer {keyed_server.admin}", "Origin": "https://evil.example"}, 403),
        ):
            answer = await http.post(f"{keyed_server.url}/mcp", json=message, headers=headers)
            assert answer.status_code == status
        own = {"Authorization": f"Bearer {keyed_server.admin}"}
        for method in ("GET", "DELETE"):
            assert (await http.request(method, f"{keyed_server.url}/mcp", headers=own)).status_code == 405
        assert (await http.post(f"{keyed_server.url}/mcp/%00", json=message, headers=own)).status_code in {404, 422}
        assert (await http.post(f"{keyed_server.url}/mcp/a%01b", json=message, headers=own)).status_code == 422


@MODES
async def test_concurrent_mcp_calls_of_two_tenants_see_only_their_own_memories(keyed_server, mode):
    """The MCP library runs calls in tasks of its own, and each call must keep its caller."""
    async with (
        _connected(keyed_server, keyed_server.admin, agent=f"both-{mode}", mode=mode) as mine,
        _connected(keyed_server, keyed_server.other, agent=f"both-{mode}", mode=mode) as theirs,
    ):
        clients = {"mine": mine, "theirs": theirs}
        for name, client in clients.items():
            await _call(client, "remember", text=f"a word that is {name}")

        async def recall(name):
            return name, (await _call(clients[name], "recall", query="a word"))["memories"]

        for name, memories in await asyncio.gather(*(recall(name) for _ in range(20) for name in clients)):
            assert [memory["text"] for memory in memories] == [f"a word that is {name}"]


async def test_cancelled_mcp_call_disconnects_from_the_language_model(keyed_server, upstream):
    """The next call is answered."""
    async with _connected(keyed_server, keyed_server.admin, agent="cancel") as client:
        await _call(client, "remember", text="something")
        call = asyncio.create_task(client.call_tool("ask", {"question": "go on forever"}))
        assert await asyncio.to_thread(upstream.started.wait, 20)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        assert await asyncio.to_thread(upstream.disconnected.wait, 20)
        assert (await _call(client, "ask", question="still there?"))["answer"] == "Question: still there?"


@pytest.mark.parametrize("version", ["2025-06-18", "2026-07-28"])
async def test_mcp_caller_that_hangs_up_ends_the_generation(keyed_server, upstream, version):
    """Without a session, hanging up is the only way to cancel a call."""
    async with _connected(keyed_server, keyed_server.admin, agent="hang") as client:
        await _call(client, "remember", text="something")
    meta = {
        "io.modelcontextprotocol/protocolVersion": version,
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    params = {"name": "ask", "arguments": {"question": "go on forever"}, "_meta": meta}
    headers = {
        "Authorization": f"Bearer {keyed_server.admin}",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": version,
        "Mcp-Method": "tools/call",
        "Mcp-Name": "ask",
    }
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    async with httpx2.AsyncClient(timeout=60) as http:
        call = asyncio.create_task(http.post(f"{keyed_server.url}/mcp/hang", json=message, headers=headers))
        assert await asyncio.to_thread(upstream.started.wait, 20)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        assert await asyncio.to_thread(upstream.disconnected.wait, 20)


async def test_printed_mcp_configuration_connects_a_client(keyed_server):
    """The test reads the configuration as a client does."""
    [server] = json.loads(client_configuration(keyed_server.url, keyed_server.admin))["mcpServers"].values()
    assert server["type"] == "http"
    async with (
        httpx2.AsyncClient(headers=server["headers"], timeout=60) as http,
        Client(streamable_http_client(server["url"], http_client=http)) as client,
    ):
        assert len((await client.list_tools()).tools) == 5
    [open_server] = json.loads(client_configuration(keyed_server.url, auth=False))["mcpServers"].values()
    assert "headers" not in open_server
