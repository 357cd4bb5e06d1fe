"""Test embedding over several servers against small real ones that are slow, refuse, break off or answer garbage."""

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

import numpy as np
import pytest
from tests.ports import free_port

from super_advanced_agents.embeddings import EmbeddingPipeline
from super_advanced_agents.errors import (
    ConfigurationError,
    EmbeddingError,
    InvalidInputError,
    ModelNotFoundError,
    RateLimitedError,
)


@dataclass
class Upstream:
    """One server: what it does with a request, and what it received."""

    url: str = ""
    behave: Callable[[http.server.BaseHTTPRequestHandler, dict[str, Any]], None] | None = None
    texts: list[list[str]] = field(default_factory=list)
    keys: set[str | None] = field(default_factory=set)
    hung_up: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)


def _answer(handler: http.server.BaseHTTPRequestHandler, body: bytes, status: int = 200, **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def _embed(handler: http.server.BaseHTTPRequestHandler, request: dict[str, Any], dim: int = 3) -> None:
    rows = [{"index": i, "embedding": [len(text), *[1.0] * (dim - 1)]} for i, text in enumerate(request["input"])]
    _answer(handler, json.dumps({"object": "list", "model": "m", "data": rows, "usage": {}}).encode())


def _cut(handler: http.server.BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n{")
    handler.wfile.flush()
    handler.connection.shutdown(socket.SHUT_RDWR)


def _garbage(handler: http.server.BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
    _answer(handler, b"<html>a page</html>")


def _status(status: int, **headers: str) -> Callable[..., None]:
    return lambda handler, _: _answer(handler, b"{}", status, **headers)


@contextmanager
def _serving(upstream: Upstream) -> Iterator[Upstream]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            upstream.texts.append(request["input"])
            upstream.keys.add(self.headers["Authorization"])
            (upstream.behave or _embed)(self, request)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        listener.daemon_threads = True
        listener.handle_error = lambda *_: None  # of a client that hung up
        thread = threading.Thread(target=listener.serve_forever, name="upstream", kwargs={"poll_interval": 0.02})
        thread.start()
        upstream.url = f"http://127.0.0.1:{listener.server_port}/v1"
        try:
            yield upstream
        finally:
            upstream.released.set()
            listener.shutdown()
            thread.join()


@pytest.fixture
def upstreams() -> Iterator[list[Upstream]]:
    """Run two servers."""
    with ExitStack() as stack:
        yield [stack.enter_context(_serving(Upstream())) for _ in range(2)]


def _pipeline(upstreams: list[Upstream], **options: Any) -> EmbeddingPipeline:
    return EmbeddingPipeline("m", base_url=[each.url for each in upstreams], **options)


def _expected(texts: list[str]) -> np.ndarray:
    rows = np.array([[len(text), 1.0, 1.0] for text in texts], np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


async def test_one_batcher_spreads_texts_over_all_servers_with_the_key_of_each(upstreams):
    """Rows are in the order of the texts, whichever server made them."""
    texts = ["x" * (1 + i) for i in range(400)]
    async with _pipeline(upstreams, api_key=["key-a", "key-b"]) as pipeline:
        rows = await pipeline.aembed_batch(texts)
        np.testing.assert_allclose(rows, _expected(texts), rtol=1e-5)
        first, second = pipeline.server_status()
    assert first.requests + second.requests == len(upstreams[0].texts) + len(upstreams[1].texts) == 7
    assert min(first.requests, second.requests) >= 3
    assert (first.failures, second.failures, first.up, second.up) == (0, 0, True, True)
    assert [upstream.keys for upstream in upstreams] == [{"Bearer key-a"}, {"Bearer key-b"}]
    assert "key-" not in repr([first, second])


@pytest.mark.parametrize(
    "behave",
    [_cut, _garbage, _status(500), _status(401), _status(404), _status(429, Retry_After="9"), _status(302)],
    ids=["cut", "garbage", "500", "401", "404", "429", "302"],
)
async def test_failing_server_is_left_out_and_its_requests_go_to_the_other(upstreams, behave):
    """No caller notices; the state says which one fails and why."""
    upstreams[0].behave = behave
    async with _pipeline(upstreams, api_key="secret-key") as pipeline:
        texts = [f"text {'x' * i}" for i in range(40)]
        rows = await asyncio.gather(*(pipeline.aembed(text) for text in texts))
        np.testing.assert_allclose(np.stack(rows), _expected(texts), rtol=1e-5)
        failing, working = pipeline.server_status()
    assert failing.failures >= 1
    assert not failing.up
    assert failing.error
    assert "secret-key" not in failing.error
    assert (working.failures, working.up) == (0, True)


async def test_refused_connection_costs_nobody_anything_and_a_server_that_comes_back_is_used_again(upstreams):
    """The address of the first server has no listener at first."""
    port = free_port()
    async with EmbeddingPipeline("m", base_url=[f"http://127.0.0.1:{port}/v1", upstreams[1].url]) as pipeline:
        for i in range(5):
            await pipeline.aembed("x" * (1 + i))
        assert not pipeline.server_status()[0].up
        back = Upstream()

        class Server(http.server.ThreadingHTTPServer):
            allow_reuse_address = True

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                back.texts.append([])
                _embed(self, json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def log_message(self, *_: object) -> None:
                pass

        with Server(("127.0.0.1", port), Handler) as listener:
            thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02})
            thread.start()
            i = 10
            while not pipeline.server_status()[0].up:
                i += 1
                await pipeline.aembed("x" * i)
                await asyncio.sleep(0.01)  # new texts come at the pace of callers
            listener.shutdown()
            thread.join()
        assert back.texts


async def test_vectors_of_another_length_are_refused_in_one_sentence_and_the_server_is_left_out(upstreams):
    """It serves another model."""
    upstreams[1].behave = lambda handler, request: _embed(handler, request, dim=5)
    async with _pipeline(upstreams, dim=3) as pipeline:
        rows: list[np.ndarray] = []
        while pipeline.server_status()[1].up:  # until it has had its turn
            rows.append(await pipeline.aembed("x" * (1 + len(rows))))
        assert {row.shape for row in rows} == {(3,)}
        status = pipeline.server_status()[1]
    assert status.error == f"{upstreams[1].url!r} returned vectors of 5 numbers instead of 3"


async def test_text_that_a_server_refuses_is_not_sent_to_the_other(upstreams):
    """The fault is the text's, and both servers stay in use."""
    for upstream in upstreams:
        upstream.behave = lambda handler, request: (
            _answer(handler, b"{}", 400) if "poison" in request["input"] else _embed(handler, request)
        )
    async with _pipeline(upstreams) as pipeline:
        with pytest.raises(InvalidInputError):
            await pipeline.aembed("poison")
        assert sum(status.requests for status in pipeline.server_status()) == 1
        assert all(status.up for status in pipeline.server_status())


@pytest.mark.parametrize(
    ("behave", "error"),
    [(_status(500), EmbeddingError), (_status(404), ModelNotFoundError), (_status(429), RateLimitedError)],
)
async def test_error_of_the_last_server_comes_up_when_all_fail(upstreams, behave, error):
    """It has its type, as with one server."""
    for upstream in upstreams:
        upstream.behave = behave
    async with _pipeline(upstreams) as pipeline:
        with pytest.raises(error):
            await pipeline.aembed("a text")


async def test_hanging_server_leaves_time_for_the_other_within_the_deadline(upstreams):
    """It accepts the connection and never answers."""
    upstreams[0].behave = lambda *_: upstreams[0].released.wait(60)
    async with _pipeline(upstreams, timeout_s=4.0) as pipeline:
        await asyncio.gather(*(pipeline.aembed("x" * (1 + i)) for i in range(3)))
        hanging = pipeline.server_status()[0]
        assert hanging.failures >= 1
        assert "did not answer within 2 s" in (hanging.error or "")


async def test_slow_request_is_sent_to_another_server_too_and_the_loser_is_cancelled(upstreams):
    """The first answer counts, and the slow server is not blamed."""
    slow = threading.Event()

    def behave(handler: http.server.BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        if not slow.is_set():
            _embed(handler, request)
            return
        handler.connection.settimeout(30)
        if handler.connection.recv(1) == b"":  # the client has hung up
            upstreams[0].hung_up.set()
        handler.close_connection = True

    upstreams[0].behave = behave
    async with _pipeline(upstreams) as pipeline:
        for i in range(20):  # from now on latencies are known, and one second request may be sent
            await pipeline.aembed(f"{i} {'x' * (i % 7)}")
        slow.set()
        await pipeline.aembed("slow")  # the first server's turn
        assert await asyncio.to_thread(upstreams[0].hung_up.wait, 10)
        first, second = pipeline.server_status()
        assert second.hedges == 1
        assert (first.up, first.failures, first.in_flight) == (True, 0, 0)


def test_wrong_lists_are_refused_before_anything_is_sent():
    """Each URL is checked, and there is one key or as many as servers."""
    with pytest.raises(ConfigurationError, match="names 0 servers"):
        EmbeddingPipeline("m", base_url=[])
    with pytest.raises(ConfigurationError, match="not an http"):
        EmbeddingPipeline("m", base_url=["http://127.0.0.1:1/v1", "ftp://x"])
    with pytest.raises(ConfigurationError, match="2 keys for 3 servers"):
        EmbeddingPipeline("m", base_url=["http://127.0.0.1:1/v1"] * 3, api_key=["secret-a", "secret-b"])


def test_list_of_one_server_is_one_server(upstreams):
    """It has no state to tell."""
    with EmbeddingPipeline("m", base_url=[upstreams[0].url], api_key=["k"]) as pipeline:
        assert pipeline.embed("a text").shape == (3,)
        assert pipeline.server_status() == []
    assert upstreams[0].keys == {"Bearer k"}
