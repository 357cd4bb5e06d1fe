"""Test generation over several servers against small real ones that fail before or after the first token."""

from __future__ import annotations

import asyncio
import http.server
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from super_advanced_agents.errors import GenerationError, InvalidInputError
from super_advanced_agents.generation import LLMGenerator


@dataclass
class Upstream:
    """One server: what it does with a request, and what it received."""

    url: str = ""
    behave: Callable[[http.server.BaseHTTPRequestHandler], None] | None = None
    requests: list[dict[str, Any]] = field(default_factory=list)
    started: threading.Event = field(default_factory=threading.Event)
    hung_up: threading.Event = field(default_factory=threading.Event)


def _begin(handler: http.server.BaseHTTPRequestHandler, *pieces: str, end: bool = False) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "text/event-stream")
    handler.send_header("Connection", "close")
    handler.end_headers()
    for piece in [*pieces, None] if end else pieces:
        choice = {"index": 0, "delta": {"content": piece or ""}, "finish_reason": None if piece else "stop"}
        chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
        handler.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
    if end:
        handler.wfile.write(b"data: [DONE]\n\n")
    handler.wfile.flush()
    handler.close_connection = True


def _status(status: int) -> Callable[[http.server.BaseHTTPRequestHandler], None]:
    def behave(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", "2")
        handler.end_headers()
        handler.wfile.write(b"{}")

    return behave


def _cut(*pieces: str) -> Callable[[http.server.BaseHTTPRequestHandler], None]:
    def behave(handler: http.server.BaseHTTPRequestHandler) -> None:
        if pieces:
            _begin(handler, *pieces)
        handler.connection.shutdown(socket.SHUT_RDWR)

    return behave


@contextmanager
def _serving(upstream: Upstream) -> Iterator[Upstream]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            upstream.requests.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            if upstream.behave is None:
                _begin(self, "from ", upstream.url[-11:-3], end=True)
            else:
                upstream.behave(self)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        listener.daemon_threads = True
        listener.handle_error = lambda *_: None
        thread = threading.Thread(target=listener.serve_forever, name="upstream", kwargs={"poll_interval": 0.02})
        thread.start()
        upstream.url = f"http://127.0.0.1:{listener.server_port}/v1"
        try:
            yield upstream
        finally:
            listener.shutdown()
            thread.join()


@pytest.fixture
def upstreams() -> Iterator[list[Upstream]]:
    """Run two servers."""
    with ExitStack() as stack:
        yield [stack.enter_context(_serving(Upstream())) for _ in range(2)]


def _generator(upstreams: list[Upstream], **options: Any) -> LLMGenerator:
    return LLMGenerator("m", base_url=[each.url for each in upstreams], **options)


async def test_concurrent_answers_are_spread_over_all_servers(upstreams):
    """Each has eight slots, and no request is sent twice."""
    async with _generator(upstreams) as llm:
        answers = await asyncio.gather(*(llm.agenerate(f"prompt {i}") for i in range(16)))
        statuses = llm.server_status()
        assert llm.model_id == f"m@{statuses[0].server}+{statuses[1].server}"
    assert len(set(answers)) == 2
    assert len(upstreams[0].requests) + len(upstreams[1].requests) == 16
    assert min(status.requests for status in statuses) >= 4


@pytest.mark.parametrize("behave", [_status(500), _status(503), _status(404), _cut()], ids=["500", "503", "404", "cut"])
async def test_answer_that_fails_before_its_first_token_comes_from_another_server(upstreams, behave):
    """The failing server is left out."""
    upstreams[0].behave = behave
    async with _generator(upstreams) as llm:
        answers = await asyncio.gather(*(llm.agenerate(f"prompt {i}") for i in range(6)))
        failing, working = llm.server_status()
    assert len(set(answers)) == 1
    assert not failing.up
    assert (working.up, working.failures) == (True, 0)


async def test_answer_that_has_begun_is_not_begun_again_elsewhere(upstreams):
    """The caller has its first tokens already, and would get others after them."""
    for upstream in upstreams:
        upstream.behave = _cut("Once ", "upon ")
    async with _generator(upstreams) as llm:
        stream = llm.astream("a story")
        assert [await anext(stream), await anext(stream)] == ["Once ", "upon "]
        with pytest.raises(GenerationError, match="broke off"):
            await anext(stream)
        assert sum(status.requests for status in llm.server_status()) == 1


async def test_prompt_that_a_server_refuses_is_not_sent_to_the_other(upstreams):
    """The fault is the prompt's."""
    for upstream in upstreams:
        upstream.behave = _status(400)
    async with _generator(upstreams) as llm:
        with pytest.raises(InvalidInputError):
            await llm.agenerate("a prompt")
        assert [status.failures for status in llm.server_status()] == [0, 0]
        assert sum(status.requests for status in llm.server_status()) == 1


async def test_error_of_the_last_server_comes_up_when_all_fail(upstreams):
    """Each was asked once."""
    for upstream in upstreams:
        upstream.behave = _status(500)
    async with _generator(upstreams) as llm:
        with pytest.raises(GenerationError, match="failed with status 500"):
            await llm.agenerate("a prompt")
        assert [status.requests for status in llm.server_status()] == [1, 1]


async def test_caller_that_leaves_blames_no_server(upstreams):
    """The connection is cut, nothing is sent to the other server, and both stay in use."""

    def behave(handler: http.server.BaseHTTPRequestHandler) -> None:
        _begin(handler, "one ")
        handler.connection.settimeout(30)
        if handler.connection.recv(1) == b"":
            upstreams[0].hung_up.set()

    for upstream in upstreams:
        upstream.behave = behave
    async with _generator(upstreams) as llm:
        stream = llm.astream("a story")
        assert await anext(stream) == "one "
        await stream.aclose()
        assert await asyncio.to_thread(upstreams[0].hung_up.wait, 10)
    statuses = llm.server_status()  # once closed, nothing is in flight
    assert all(status.up and not status.in_flight for status in statuses)
    assert sum(status.requests for status in statuses) == 1
