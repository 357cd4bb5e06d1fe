"""Fixtures for MCP and the OpenAI-compatible API: one server, and a scripted language model behind it."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from dataclasses import dataclass, field

import openai
import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.responses import JSONResponse, StreamingResponse

MODEL = "maker/parrot"
_CLOSE = {"Connection": "close"}  # this end of a kept-alive connection would count as a leak of a test


@dataclass
class Upstream:
    """A language model server that repeats the last line of the last message and records its requests."""

    base_url: str = ""
    chats: list[dict[str, object]] = field(default_factory=list)
    started: threading.Event = field(default_factory=threading.Event)
    disconnected: threading.Event = field(default_factory=threading.Event)


def _event(content=None, finish=None):
    delta = {} if content is None else {"content": content}
    chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": MODEL}
    return f"data: {json.dumps({**chunk, 'choices': [{'index': 0, 'delta': delta, 'finish_reason': finish}]})}\n\n"


async def _pieces(upstream, last_line, limit):
    if "forever" in last_line:
        try:
            while True:
                yield _event("on ")
                upstream.started.set()
                await asyncio.sleep(0.005)
        finally:
            upstream.disconnected.set()
    words = last_line.split(" ")
    for i, word in enumerate(words[:limit]):
        yield _event(word if i == 0 else f" {word}")
        if "break" in last_line:
            return
    yield _event(None, "stop" if len(words) <= limit else "length")
    yield "data: [DONE]\n\n"


def _application(upstream):
    app = FastAPI()

    @app.post("/v1/chat/completions")
    async def complete(chat: dict):
        upstream.chats.append(chat)
        last_line = chat["messages"][-1]["content"].splitlines()[-1]
        if "locked" in last_line:
            return JSONResponse({"error": {"message": "no"}}, 401, headers=_CLOSE)
        pieces = _pieces(upstream, last_line, chat["max_tokens"])
        return StreamingResponse(pieces, media_type="text/event-stream", headers=_CLOSE)

    return app


@pytest.fixture(scope="session")
def _upstream():
    model_server = Upstream()
    running = uvicorn.Server(
        uvicorn.Config(
            _application(model_server), loop="asyncio", http="h11", log_level="critical", timeout_graceful_shutdown=1
        )
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        model_server.base_url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
        thread.start()
        while not running.started:  # until then it opens files, which would count as a leak of the first test
            time.sleep(0.001)
        yield model_server
        running.should_exit = True
        thread.join()


@pytest.fixture
def upstream(_upstream):
    """Return the language model server with nothing recorded yet."""
    _upstream.chats.clear()
    _upstream.started.clear()
    _upstream.disconnected.clear()
    return _upstream


@dataclass
class KeyedServer:
    """A running server and its keys: of two administrators, of another tenant, of one scope each, and to talk only."""

    url: str
    mcp: str
    admin: str
    other: str
    reader: str
    writer: str
    talker: str
    author: str


@pytest.fixture(scope="session")
def keyed_server(_upstream, new_machine, tmp_path_factory):
    """Yield one server for all tests of this folder; each test uses its own agent."""
    machine = new_machine(tmp_path_factory.mktemp("keyed_server") / "data")
    environment = {
        "SAA_GENERATION_MODEL": MODEL,
        "SAA_GENERATION_BASE_URL": _upstream.base_url,
        "SAA_GRPC": "false",
    }
    with machine.server(environment=environment) as client:
        all_scopes = [f"--scope={scope}" for scope in ("memories:read", "memories:write", "generate")]
        other = machine.json("keys", "create", "--tenant", "other", *all_scopes)["key"]
        reader = machine.json("keys", "create", "--tenant", "default", "--scope", "memories:read")["key"]
        writer = machine.json("keys", "create", "--tenant", "default", "--scope", "memories:write")["key"]
        talker = machine.json("keys", "create", "--tenant", "default", *all_scopes[::2])["key"]
        author = machine.json("keys", "create", "--tenant", "default", "--scope", "admin")["key"]
        keys = (machine.key, other, reader, writer, talker, author)
        yield KeyedServer(client.startup_info["url"], client.startup_info["mcp"], *keys)


@pytest.fixture
def openai_key(keyed_server):
    """Return the administrator's key, for the clients of OpenAI; a module may use another one."""
    return keyed_server.admin


@pytest.fixture
def client(keyed_server, openai_key):
    """Yield OpenAI's client."""
    with openai.OpenAI(base_url=f"{keyed_server.url}/v1", api_key=openai_key, max_retries=0, timeout=60) as client:
        yield client


@pytest.fixture
async def aclient(keyed_server, openai_key):
    """Yield OpenAI's asynchronous client."""
    async with openai.AsyncOpenAI(
        base_url=f"{keyed_server.url}/v1", api_key=openai_key, max_retries=0, timeout=60
    ) as client:
        yield client


@pytest.fixture
def remember(client):
    """Return a function that adds memories to an agent, through the client's own connection."""

    def remember(agent, *texts):
        client.post(f"/agents/{agent}/memories", cast_to=object, body={"memories": [{"text": text} for text in texts]})

    return remember
