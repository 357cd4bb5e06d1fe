"""Test the embedding engine for OpenAI-compatible servers against a real server on loopback."""

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
    """Record the requests of a test server, and set its answers."""

    url: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    status: int = 200
    extra: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None


def _vector(text: str) -> list[float]:
    return [float(len(text)), float(sum(text.encode()) % 97 + 1), 3.0]


@pytest.fixture
def server() -> Iterator[Server]:
    """Run a server of `/v1/embeddings` that answers in reverse order."""
    state = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state.requests.append({"path": self.path, **request})
            state.headers.append({name.lower(): value for name, value in self.headers.items()})
            rows = [
                {"object": "embedding", "index": i, "embedding": _vector(text)}
                for i, text in enumerate(request["input"])
            ]
            status = state.status
            if any(text.startswith("poison") for text in request["input"]):
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


async def test_embed_batch_orders_rows_by_index_and_normalises_them(server: Server) -> None:
    """The server answers in reverse order with vectors of any length."""
    async with EmbeddingPipeline("m", base_url=server.url, api_key="k-1") as pipeline:
        texts = [f"text {'x' * i}" for i in range(5)]
        rows = await pipeline.aembed_batch(texts)
        expected = np.array([_vector(text) for text in texts], np.float32)
        np.testing.assert_allclose(rows, expected / np.linalg.norm(expected, axis=1, keepdims=True), rtol=1e-6)
        assert pipeline.dim == 3
        assert pipeline.model_id == "m:openai"
    assert {request["path"] for request in server.requests} == {"/v1/embeddings"}
    assert {request["model"] for request in server.requests} == {"m"}
    assert server.headers[0]["authorization"] == "Bearer k-1"


def test_no_key_is_sent_when_no_api_key_is_given(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key in the environment may belong to another server."""
    monkeypatch.setenv("OPENAI_API_KEY", "someone-else")
    monkeypatch.setenv("OPENAI_ORG_ID", "an-organisation")
    with EmbeddingPipeline("m", base_url=server.url) as pipeline:
        pipeline.embed("a text")
    assert "authorization" not in server.headers[0]
    assert "someone-else" not in str(server.headers)
    assert "an-organisation" not in str(server.headers)


def test_dim_is_learnt_with_one_request_unless_given(server: Server) -> None:
    """A vector whose length is not the given `dim` raises an error."""
    with EmbeddingPipeline("m", base_url=server.url, dim=3) as pipeline:
        assert pipeline.dim == 3
        assert server.requests == []
    with EmbeddingPipeline("m", base_url=server.url) as pipeline:
        assert pipeline.dim == pipeline.dim == 3
        assert len(server.requests) == 1
        assert pipeline.embed_batch([]).shape == (0, 3)
    with (
        EmbeddingPipeline("m", base_url=server.url, dim=4) as pipeline,
        pytest.raises(EmbeddingError, match=r"3 numbers.*4"),
    ):
        pipeline.embed("a text")


async def test_text_that_the_server_refuses_fails_only_its_caller(server: Server) -> None:
    """The pipeline finds the text to which the batch's status 400 belongs."""
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
def test_http_status_is_mapped_to_the_error_of_its_meaning(
    server: Server, status: int, error: type[SuperAdvancedAgentsError]
) -> None:
    """No message contains the key or the text."""
    server.status = status
    server.body = b'{"error": {"message": "no: private words, secret-key"}}'
    with EmbeddingPipeline("m", base_url=server.url, api_key="secret-key") as pipeline, pytest.raises(error) as caught:
        pipeline.embed("private words")
    assert "secret-key" not in str(caught.value)
    assert "private words" not in str(caught.value)
    assert caught.value.said == "no: …, …"
    assert caught.value.said not in caught.value.message


def test_tokens_are_refused_where_the_tokenizer_is_unknown(server: Server) -> None:
    """The hint says what to send in their place."""
    with EmbeddingPipeline("m", base_url=server.url) as pipeline, pytest.raises(InvalidInputError) as caught:
        pipeline.decode([[1, 2]])
    assert (caught.value.field, caught.value.hint) == ("tokens", "send the texts")


def test_redirect_is_not_followed(server: Server) -> None:
    """The key is sent to the configured server only."""
    server.status = 307
    server.extra = {"Location": server.url.replace("127.0.0.1", "localhost") + "/elsewhere"}
    with (
        EmbeddingPipeline("m", base_url=server.url, api_key="k") as pipeline,
        pytest.raises(EmbeddingError, match="307"),
    ):
        pipeline.embed("a text")
    assert {request["path"] for request in server.requests} == {"/v1/embeddings"}


def test_status_429_raises_rate_limited_with_the_servers_retry_after(server: Server) -> None:
    """The server answers each retry with 429 too."""
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
def test_malformed_answer_of_the_server_raises_embedding_error(server: Server, body: bytes) -> None:
    """An answer is either vectors of these texts or an error."""
    server.body = body
    with EmbeddingPipeline("m", base_url=server.url) as pipeline, pytest.raises(EmbeddingError):
        pipeline.embed("a text")


def test_unreachable_server_is_named_in_the_error() -> None:
    """The message contains its address."""
    with (
        EmbeddingPipeline("m", base_url="http://127.0.0.1:1/v1") as pipeline,
        pytest.raises(EmbeddingError, match=r"127\.0\.0\.1:1.*cannot be reached"),
    ):
        pipeline.embed("a text")


@pytest.mark.parametrize("url", ["ftp://host/v1", "host:80", "", "http://", "http://user:pass@host/v1"])
def test_invalid_base_url_is_refused(url: str) -> None:
    """Only http and https without credentials are valid, and the message contains no password."""
    with pytest.raises(ConfigurationError) as caught:
        EmbeddingPipeline("m", base_url=url)
    assert "pass" not in str(caught.value).replace("password", "")
