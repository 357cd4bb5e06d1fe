"""`saa mcp` is a process that speaks MCP over its pipes, and nothing else."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from contextlib import asynccontextmanager

from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

PROGRAM = ["-c", "from super_advanced_agents.cli.main import main; main()"]


@asynccontextmanager
async def _started(*arguments, environment, log, mode="auto"):
    parameters = StdioServerParameters(
        command=sys.executable, args=[*PROGRAM, "mcp", *map(str, arguments)], env=environment
    )
    with log.open("a") as errlog:
        async with Client(stdio_client(parameters, errlog=errlog), mode=mode, read_timeout_seconds=60) as client:
            yield client


async def _call(client, name, **arguments):
    result = await client.call_tool(name, arguments)
    assert not result.is_error, result.content
    return result.structured_content


async def test_saa_mcp_serves_the_memories_of_a_data_folder(tmp_path, upstream):
    """All tools, an error and a cancelled answer work on one agent; its memories outlive the process."""
    log = tmp_path / "log"
    environment = {"SAA_GENERATION_MODEL": "parrot", "SAA_GENERATION_BASE_URL": upstream.base_url}
    started = ("--data-dir", tmp_path / "data", "--agent", "home")
    async with _started(*started, environment=environment, log=log) as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == ["remember", "recall", "forget", "ask"]
        uid = (await _call(client, "remember", text="The key is under the mat"))["uid"]
        [found] = (await _call(client, "recall", query="where is the key?"))["memories"]
        assert (found["uid"], found["text"]) == (uid, "The key is under the mat")
        assert (await _call(client, "ask", question="Where is it?"))["answer"] == "Question: Where is it?"
        wrong = await client.call_tool("remember", {"text": ""})
        assert wrong.is_error
        assert "give a text" in wrong.content[0].text
        other = await _call(client, "remember", text="Milk is out")
        assert await _call(client, "forget", uids=[other["uid"]]) == {"forgotten": 1}
        await _cancel_an_answer(client, upstream)
    async with _started(*started, environment=environment, log=log, mode="legacy") as client:  # the legacy handshake
        memories = (await _call(client, "recall", query="anything"))["memories"]
        assert [memory["text"] for memory in memories] == ["The key is under the mat"]
        upstream.started.clear()
        upstream.disconnected.clear()
        await _cancel_an_answer(client, upstream)
    assert "Traceback" not in log.read_text()


async def _cancel_an_answer(client, upstream):
    """Cancel an answer, and check that the language model is released and the next call is answered."""
    call = asyncio.create_task(client.call_tool("ask", {"question": "go on forever"}))
    assert await asyncio.to_thread(upstream.started.wait, 20)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    assert await asyncio.to_thread(upstream.disconnected.wait, 20)
    assert (await _call(client, "ask", question="Still there?"))["answer"] == "Question: Still there?"


async def test_saa_mcp_with_url_serves_the_memories_of_a_server(keyed_server, tmp_path, upstream):
    """The tools do there what the key may do."""
    log = tmp_path / "log"
    started = ("--url", keyed_server.url, "--agent", "away")
    async with _started(*started, environment={"SAA_API_KEY": keyed_server.admin}, log=log) as client:
        uid = (await _call(client, "remember", text="The bus leaves at nine"))["uid"]
        assert (await _call(client, "remember", text="The bus leaves at nine"))["uid"] == uid
        [found] = (await _call(client, "recall", query="when does the bus go?"))["memories"]
        assert found["uid"] == uid
        assert (await _call(client, "ask", question="When?"))["answer"] == "Question: When?"
        wrong = await client.call_tool("recall", {"query": "x", "where": {"a": {"$nonsense": 1}}})
        assert wrong.is_error
        assert "$nonsense" in wrong.content[0].text
    assert "Traceback" not in log.read_text()


def test_saa_mcp_prints_only_protocol_messages(machine):
    """A second process on the folder names the way out, and the end of input ends the first one."""
    message = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
    }
    with machine.start("mcp") as first:
        first.stdin.write(f"not JSON\n{json.dumps(message)}\n")
        first.stdin.flush()
        while "result" not in (answer := json.loads(first.stdout.readline())):
            assert answer["jsonrpc"] == "2.0"
        assert answer["result"]["serverInfo"]["name"] == "super-advanced-agents"
        with machine.start("mcp", stdin=subprocess.DEVNULL) as second:
            out, errors = second.communicate(timeout=60)
        assert (second.returncode, out) == (1, "")
        assert "`saa serve` shares one store" in errors
        out, _ = first.communicate(timeout=60)
    assert (first.returncode, out) == (0, "")


def test_requests_that_were_piped_in_are_answered_before_saa_mcp_ends(machine):
    """A cancelled request and a request without an id need no answer."""
    start = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    remember = {"name": "remember", "arguments": {"text": "The spare key is with Lea."}}
    sent = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": start},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": remember},
        {
            "jsonrpc": "2.0",
            "id": "c",
            "method": "tools/call",
            "params": {"name": "ask", "arguments": {"question": "?"}},
        },
        {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "c"}},
        {"jsonrpc": "2.0", "id": 3, "method": "tools/list"},
    ]
    printed = machine.saa("mcp", stdin="".join(json.dumps(message) + "\n" for message in sent))
    answers = {answer["id"]: answer for answer in map(json.loads, printed.splitlines())}
    assert answers[2]["result"]["structuredContent"]["uid"]
    assert answers[3]["result"]["tools"]
    assert [memory["text"] for memory in machine.json("list")["memories"]] == ["The spare key is with Lea."]


def test_saa_mcp_prints_the_configuration_of_a_folder_and_of_a_server(machine):
    """People paste it into their MCP client."""
    [folder] = json.loads(machine.saa("mcp", "--configuration", "--agent", "home"))["mcpServers"].values()
    assert folder == {"command": "saa", "args": ["mcp", "--data-dir", str(machine.data_dir), "--agent", "home"]}
    printed = machine.saa("mcp", "--configuration", "--url", "http://127.0.0.1:8000")
    [server] = json.loads(printed)["mcpServers"].values()
    assert server["args"] == ["mcp", "--url", "http://127.0.0.1:8000", "--agent", "default"]
    assert server["env"] == {"SAA_API_KEY": "YOUR-KEY"}
