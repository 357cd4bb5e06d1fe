"""One server for all doors, whose language model is another server that does as it is told."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from dataclasses import dataclass, field

import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.responses import JSONResponse, StreamingResponse

MODEL = "maker/parrot"
_LAST = {"Connection": "close"}  # this end of a kept connection would count as left behind by a test


@dataclass
class Upstream:
    """A language model server: it repeats the last message's last line, and notes what it was sent."""

    base_url: str = ""
    chats: list[dict[str, object]] = field(default_factory=list)
    begun: threading.Event = field(default_factory=threading.Event)
    left: threading.Event = field(default_factory=threading.Event)


def _event(content=None, finish=None):
    delta = {} if content is None else {"content": content}
    chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": MODEL}
    return f"data: {json.dumps({**chunk, 'choices': [{'index': 0, 'delta': delta, 'finish_reason': finish}]})}\n\n"


async def _pieces(upstream, said, limit):
    if "forever" in said:
        try:
            while True:
                yield _event("on ")
                upstream.begun.set()
                await asyncio.sleep(0.005)
        finally:
            upstream.left.set()
    words = said.split(" ")
    for i, word in enumerate(words[:limit]):
        yield _event(word if i == 0 else f" {word}")
        if "break" in said:
            return
    yield _event(None, "stop" if len(words) <= limit else "length")
    yield "data: [DONE]\n\n"


def _application(upstream):
    app = FastAPI()

    @app.post("/v1/chat/completions")
    async def complete(chat: dict):
        upstream.chats.append(chat)
        said = chat["messages"][-1]["content"].splitlines()[-1]
        if "locked" in said:
            return JSONResponse({"error": {"message": "no"}}, 401, headers=_LAST)
        pieces = _pieces(upstream, said, chat["max_tokens"])
        return StreamingResponse(pieces, media_type="text/event-stream", headers=_LAST)

    return app


@pytest.fixture(scope="session")
def _upstream():
    noted = Upstream()
    running = uvicorn.Server(
        uvicorn.Config(
            _application(noted), loop="asyncio", http="h11", log_level="critical", timeout_graceful_shutdown=1
        )
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        noted.base_url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
        thread.start()
        yield noted
        running.should_exit = True
        thread.join()


@pytest.fixture
def upstream(_upstream):
    """The language model server, nothing noted yet."""
    _upstream.chats.clear()
    _upstream.begun.clear()
    _upstream.left.clear()
    return _upstream


@dataclass
class House:
    """A running server and its keys: the administrator's, another tenant's, and one that may only read."""

    url: str
    mcp: str
    admin: str
    other: str
    reader: str


@pytest.fixture(scope="session")
def house(_upstream, new_machine, tmp_path_factory):
    """One server for all tests of the doors; each uses an agent of its own."""
    machine = new_machine(tmp_path_factory.mktemp("house") / "data")
    environment = {
        "SAA_GENERATION_MODEL": MODEL,
        "SAA_GENERATION_BASE_URL": _upstream.base_url,
        "SAA_GRPC": "false",
    }
    with machine.server(environment=environment) as client:
        everything = [f"--scope={scope}" for scope in ("memories:read", "memories:write", "generate")]
        other = machine.json("keys", "create", "--tenant", "other", *everything)["key"]
        reader = machine.json("keys", "create", "--tenant", "default", "--scope", "memories:read")["key"]
        yield House(client.told["url"], client.told["mcp"], machine.key, other, reader)
