"""The engine for OpenAI-compatible servers, against a real one on a loopback socket."""

from __future__ import annotations

import asyncio
import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from super_advanced_agents.embeddings import EmbeddingPipeline
from super_advanced_agents.errors import (
    ConfigurationError,
    EmbeddingError,
    InvalidInputError,
    ModelNotFoundError,
    RateLimitedError,
    SuperAdvancedAgentsError,
)


@dataclass
class Server:
    """What the server was asked, and how it should answer."""

    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    status: int = 200
    extra: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None


def _vector(text: str) -> list[float]:
    return [float(len(text)), float(sum(text.encode()) % 97 + 1), 3.0]


@pytest.fixture
def server() -> Iterator[Server]:
    """A server of `/v1/embeddings` that answers in reverse order, as the shape allows."""
    state = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state.asked.append({"path": self.path, **question})
            state.headers.append({name.lower(): value for name, value in self.headers.items()})
            rows = [
                {"object": "embedding", "index": i, "embedding": _vector(text)}
                for i, text in enumerate(question["input"])
            ]
            status = state.status
            if any(text.startswith("poison") for text in question["input"]):
                status = 400
            answer = state.body
            if answer is None:
                answer = json.dumps({"object": "list", "model": "m", "data": rows[::-1], "usage": {}}).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            for name, value in state.extra.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        thread = threading.Thread(target=listener.serve_forever, name="server", kwargs={"poll_interval": 0.02})
        thread.start()
        state.url = f"http://127.0.0.1:{listener.server_port}/v1"
        yield state
        listener.shutdown()
        thread.join()


async def test_vectors_come_back_in_order_and_normalised(server: Server) -> None:
    """Rows are matched by index, and divided by their length."""
    async with EmbeddingPipeline("m", base_url=server.url, api_key="k-1") as pipeline:
        texts = [f"text {'x' * i}" for i in range(5)]
        rows = await pipeline.aembed_batch(texts)
        wanted = np.array([_vector(text) for text in texts], np.float32)
        np.testing.assert_allclose(rows, wanted / np.linalg.norm(wanted, axis=1, keepdims=True), rtol=1e-6)
        assert pipeline.dim == 3
        assert pipeline.model_id == "m:openai"
    assert {each["path"] for each in server.asked} == {"/v1/embeddings"}
    assert {each["model"] for each in server.asked} == {"m"}
    assert server.headers[0]["authorization"] == "Bearer k-1"


def test_without_a_key_none_is_sent(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even the one the environment holds for another server."""
    monkeypatch.setenv("OPENAI_API_KEY", "someone-else")
    monkeypatch.setenv("OPENAI_ORG_ID", "an-organisation")
    with EmbeddingPipeline("m", base_url=server.url) as pipeline:
        pipeline.embed("a text")
    assert "authorization" not in server.headers[0]
    assert "someone-else" not in str(server.headers)
    assert "an-organisation" not in str(server.headers)


def test_the_dimension_is_learnt_or_given(server: Server) -> None:
    """Reading `dim` asks once; a given one is not asked for and is held."""
    with EmbeddingPipeline("m", base_url=server.url, dim=3) as pipeline:
        assert pipeline.dim == 3
        assert server.asked == []
    with EmbeddingPipeline("m", base_url=server.url) as pipeline:
        assert pipeline.dim == pipeline.dim == 3
        assert len(server.asked) == 1
        assert pipeline.embed_batch([]).shape == (0, 3)
    with (
        EmbeddingPipeline("m", base_url=server.url, dim=4) as pipeline,
        pytest.raises(EmbeddingError, match=r"3 numbers.*4"),
    ):
        pipeline.embed("a text")


async def test_a_refused_text_fails_alone(server: Server) -> None:
    """A 400 for a batch is traced to its text."""
    async with EmbeddingPipeline("m", base_url=server.url) as pipeline:
        texts = ["a", "b", "poison", "c"]
        results = await asyncio.gather(*(pipeline.aembed(text) for text in texts), return_exceptions=True)
        assert [isinstance(result, InvalidInputError) for result in results] == [False, False, True, False]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, EmbeddingError),
        (403, EmbeddingError),
        (404, ModelNotFoundError),
        (400, InvalidInputError),
        (422, InvalidInputError),
        (418, EmbeddingError),
        (302, EmbeddingError),
    ],
)
def test_statuses_become_errors_of_the_tree(server: Server, status: int, error: type[SuperAdvancedAgentsError]) -> None:
    """Each status has its meaning; the key and the text are in no message."""
    server.status = status
    server.body = b'{"error": {"message": "no"}}'
    with EmbeddingPipeline("m", base_url=server.url, api_key="secret-key") as pipeline, pytest.raises(error) as caught:
        pipeline.embed("private words")
    assert "secret-key" not in str(caught.value)
    assert "private words" not in str(caught.value)


def test_redirects_are_not_followed(server: Server) -> None:
    """The key goes nowhere but to the server that was named."""
    server.status = 307
    server.extra = {"Location": server.url.replace("127.0.0.1", "localhost") + "/elsewhere"}
    with (
        EmbeddingPipeline("m", base_url=server.url, api_key="k") as pipeline,
        pytest.raises(EmbeddingError, match="307"),
    ):
        pipeline.embed("a text")
    assert {each["path"] for each in server.asked} == {"/v1/embeddings"}


def test_a_busy_server_says_when_to_come_back(server: Server) -> None:
    """A 429 that lasts carries the server's own delay."""
    server.status = 429
    server.extra = {"Retry-After": "0.01"}
    with EmbeddingPipeline("m", base_url=server.url) as pipeline, pytest.raises(RateLimitedError) as caught:
        pipeline.embed("a text")
    assert caught.value.retry_after_s == 0.01


@pytest.mark.parametrize(
    "body",
    [
        b"not json",
        b"[]",
        b"{}",
        b'{"data": null}',
        b'{"data": []}',
        b'{"data": [{"index": 0, "embedding": []}]}',
        b'{"data": [{"index": 0, "embedding": [0, 0, 0]}]}',
        b'{"data": [{"index": 0, "embedding": [1, "a"]}]}',
        b'{"data": [{"index": 0, "embedding": [1e999, 1]}]}',
        b'{"data": [{"index": 7, "embedding": [1, 2, 3]}]}',
    ],
)
def test_an_answer_that_is_no_embedding_is_refused(server: Server, body: bytes) -> None:
    """Whatever a server answers, it is vectors of these texts or one error."""
    server.body = body
    with EmbeddingPipeline("m", base_url=server.url) as pipeline, pytest.raises(EmbeddingError):
        pipeline.embed("a text")


def test_a_server_that_is_not_there_is_named() -> None:
    """The address is in the message, and what to check."""
    with (
        EmbeddingPipeline("m", base_url="http://127.0.0.1:1/v1") as pipeline,
        pytest.raises(EmbeddingError, match=r"127\.0\.0\.1:1.*cannot be reached"),
    ):
        pipeline.embed("a text")


@pytest.mark.parametrize("url", ["ftp://host/v1", "host:80", "", "http://", "http://user:pass@host/v1"])
def test_an_address_that_cannot_be_used_is_refused(url: str) -> None:
    """Only http and https, without credentials in the address."""
    with pytest.raises(ConfigurationError) as caught:
        EmbeddingPipeline("m", base_url=url)
    assert "pass" not in str(caught.value).replace("password", "")
