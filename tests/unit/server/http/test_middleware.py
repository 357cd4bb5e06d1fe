"""Host names and body sizes, refused before a route sees anything."""

from __future__ import annotations

import orjson
import pytest
from starlette.exceptions import HTTPException

from super_advanced_agents.server.http.middleware.bodies import BodyLimit
from super_advanced_agents.server.http.middleware.hosts import AllowedHosts


class _Exchange:
    """One request driven through a middleware by hand."""

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
async def test_known_names_pass(host):
    """With and without a port, in any case."""
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
async def test_other_names_are_refused(headers):
    """Also none, and two of them."""
    exchange = _Exchange(headers)
    await AllowedHosts(exchange.app)(exchange.scope, exchange.receive, exchange.send)
    assert not exchange.reached
    assert exchange.problem["status"] == 421


async def test_a_body_within_the_limit_passes_whole():
    """Counting changes nothing."""
    exchange = _Exchange([], [b"12345", b"67890"])
    await BodyLimit(exchange.app, max_bytes=10)(exchange.scope, exchange.receive, exchange.send)
    assert exchange.body == b"1234567890"


async def test_a_body_is_counted_while_it_streams():
    """Without a Content-Length nothing else tells how long it will be."""
    exchange = _Exchange([], [b"12345", b"678901", b"never read"])
    with pytest.raises(HTTPException) as caught:
        await BodyLimit(exchange.app, max_bytes=10)(exchange.scope, exchange.receive, exchange.send)
    assert caught.value.status_code == 413
    assert exchange.body == b"12345"


@pytest.mark.parametrize("length", [b"11", b"9" * 30])
async def test_a_declared_length_over_the_limit_is_refused_unread(length):
    """Also one that is absurd."""
    exchange = _Exchange([(b"content-length", length)], [b"never read"])
    await BodyLimit(exchange.app, max_bytes=10)(exchange.scope, exchange.receive, exchange.send)
    assert not exchange.reached
    assert exchange.problem["status"] == 413


async def test_an_encoded_body_is_refused():
    """It could unfold to any size."""
    exchange = _Exchange([(b"content-encoding", b"gzip")])
    await BodyLimit(exchange.app, max_bytes=10)(exchange.scope, exchange.receive, exchange.send)
    assert not exchange.reached
    assert exchange.problem["status"] == 415
