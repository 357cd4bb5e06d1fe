"""Test that wrong host names and bodies are refused before a route runs."""

from __future__ import annotations

import orjson
import pytest
from starlette.exceptions import HTTPException

from super_advanced_agents.server.http.middleware.bodies import BodyLimit
from super_advanced_agents.server.http.middleware.hosts import AllowedHosts


class _Exchange:
    """Drive one request through a middleware by hand."""

    def __init__(self, headers, chunks=(b"",)):
        self.scope = {"type": "http", "method": "POST", "path": "/", "headers": headers}
        self._chunks = list(chunks)
        self.sent = []
        self.reached = False
        self.body = b""

    async def app(self, scope, receive, send):
        self.reached = True
        while True:
            message = await receive()
            self.body += message["body"]
            if not message["more_body"]:
                return

    async def receive(self):
        chunk = self._chunks.pop(0)
        return {"type": "http.request", "body": chunk, "more_body": bool(self._chunks)}

    async def send(self, message):
        self.sent.append(message)

    @property
    def problem(self):
        return orjson.loads(self.sent[1]["body"])


@pytest.mark.parametrize("host", [b"localhost", b"LOCALHOST:8000", b"127.0.0.1:1", b"[::1]:8000", b"[::1]", b"box"])
async def test_request_with_an_allowed_host_passes(host):
    """A port and upper case make no difference."""
    exchange = _Exchange([(b"host", host)])
    await AllowedHosts(exchange.app, names=["Box"])(exchange.scope, exchange.receive, exchange.send)
    assert exchange.reached


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"host", b"evil.example")],
        [(b"host", b"localhost.evil.example")],
        [(b"host", b"localhost"), (b"host", b"evil.example")],
        [(b"host", b"localhost@evil")],
    ],
)
async def test_request_with_a_missing_repeated_or_unknown_host_is_answered_421(headers):
    """The application is not reached."""
    exchange = _Exchange(headers)
    await AllowedHosts(exchange.app)(exchange.scope, exchange.receive, exchange.send)
    assert not exchange.reached
    assert exchange.problem["status"] == 421


async def test_body_within_the_limit_passes_unchanged():
    """Counting its bytes does not change it."""
    exchange = _Exchange([], [b"12345", b"67890"])
    await BodyLimit(exchange.app, max_bytes=10)(exchange.scope, exchange.receive, exchange.send)
    assert exchange.body == b"1234567890"


async def test_streamed_body_beyond_the_limit_is_refused_with_413():
    """Without a Content-Length its length is known only while it is read."""
    exchange = _Exchange([], [b"12345", b"678901", b"never read"])
    with pytest.raises(HTTPException) as caught:
        await BodyLimit(exchange.app, max_bytes=10)(exchange.scope, exchange.receive, exchange.send)
    assert caught.value.status_code == 413
    assert exchange.body == b"12345"


@pytest.mark.parametrize("length", [b"11", b"9" * 30])
async def test_content_length_beyond_the_limit_is_answered_413_unread(length):
    """The body is not read, even if the length is absurd."""
    exchange = _Exchange([(b"content-length", length)], [b"never read"])
    await BodyLimit(exchange.app, max_bytes=10)(exchange.scope, exchange.receive, exchange.send)
    assert not exchange.reached
    assert exchange.problem["status"] == 413


async def test_body_with_a_content_encoding_is_answered_415():
    """A compressed body could expand to any size."""
    exchange = _Exchange([(b"content-encoding", b"gzip")])
    await BodyLimit(exchange.app, max_bytes=10)(exchange.scope, exchange.receive, exchange.send)
    assert not exchange.reached
    assert exchange.problem["status"] == 415
