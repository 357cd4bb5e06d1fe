"""Test that wrong host names and bodies are refused before a route runs."""

from __future__ import annotations

import orjson
import pytest
from starlette.exceptions import HTTPException

from super_advanced_agents.server.http.middleware.bodies import Body
from super_advanced_agents.server.http.middleware.hosts import AllowedHosts, CrossOrigin
from super_advanced_agents.server.limits.admission import Admission


class _Exchange:
    """Drive one request through a middleware by hand."""

    def __init__(self, headers, chunks=(b"",)):
        self.scope = {"type": "http", "method": "POST", "path": "/", "headers": headers}
        self._chunks = list(chunks)
        self.sent = []
        self.reached = False

    @property
    def left(self):
        """The number of chunks that were not received."""
        return len(self._chunks)

    async def app(self, scope, receive, send):
        self.reached = True

    async def receive(self):
        chunk = self._chunks.pop(0)
        return {"type": "http.request", "body": chunk, "more_body": bool(self._chunks)}

    async def send(self, message):
        self.sent.append(message)

    @property
    def problem(self):
        return orjson.loads(self.sent[1]["body"])


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
@pytest.mark.parametrize("headers", [[], [(b"host", b"10.9.8.7:8000")], [(b"host", b"[2001:db8::1]:8000")]])
async def test_probes_are_answered_under_any_host(path, headers):
    """Orchestrators send the address of the container, and load balancers none."""
    exchange = _Exchange(headers)
    exchange.scope["path"] = path
    await AllowedHosts(exchange.app)(exchange.scope, exchange.receive, exchange.send)
    assert exchange.reached


async def test_probe_of_a_foreign_page_is_refused():
    """A page under the name that it controls would have its own origin."""
    exchange = _Exchange([(b"host", b"evil.example"), (b"origin", b"http://evil.example.org")])
    exchange.scope["path"] = "/readyz"
    await AllowedHosts(exchange.app)(exchange.scope, exchange.receive, exchange.send)
    assert exchange.problem["status"] == 403


@pytest.mark.parametrize("names", ["x-stainless-arch,x-stainless-lang,authorization", "mcp-protocol-version,anything"])
async def test_preflight_of_an_allowed_origin_allows_every_header(names):
    """Clients of OpenAI and MCP send headers of their own; another origin gets no answer that it may read."""
    for origin, allowed in ((b"https://app.example.org", True), (b"https://evil.example", False)):
        exchange = _Exchange(
            [
                (b"host", b"localhost"),
                (b"origin", origin),
                (b"access-control-request-method", b"POST"),
                (b"access-control-request-headers", names.encode()),
            ]
        )
        exchange.scope["method"] = "OPTIONS"
        app = CrossOrigin(exchange.app, origins=["https://app.example.org"])
        await app(exchange.scope, exchange.receive, exchange.send)
        headers = dict(exchange.sent[0]["headers"])
        assert (exchange.sent[0]["status"] == 200) is allowed
        assert (b"access-control-allow-origin" in headers) is allowed
        if allowed:
            assert headers[b"access-control-allow-headers"].decode() == names


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


def _body(exchange, *, message_bytes=10, tenant="acme", admission=None):
    admission = admission or Admission(permits={}, message_bytes=message_bytes)
    return Body(exchange.scope["headers"], exchange.receive, admission=admission, tenant=tenant)


async def test_body_within_the_limit_is_received_whole_and_unchanged():
    """What the client sends afterwards follows it."""
    exchange = _Exchange([], [b"12345", b"67890"])
    body = _body(exchange)
    assert await body.read()
    assert await body.receive() == {"type": "http.request", "body": b"1234567890", "more_body": False}
    with pytest.raises(IndexError):  # the exchange has no more
        await body.receive()


async def test_streamed_body_beyond_the_limit_is_refused_with_413():
    """Without a Content-Length its length is known only while it is read."""
    exchange = _Exchange([], [b"12345", b"678901", b"never read"])
    with pytest.raises(HTTPException) as caught:
        await _body(exchange).read()
    assert caught.value.status_code == 413
    assert exchange.left == 1


@pytest.mark.parametrize("length", [b"11", b"9" * 30])
async def test_content_length_beyond_the_limit_is_refused_with_413_unread(length):
    """The body is not read, even if the length is absurd."""
    exchange = _Exchange([(b"content-length", length)], [b"never read"])
    with pytest.raises(HTTPException) as caught:
        await _body(exchange).read()
    assert (caught.value.status_code, exchange.left) == (413, 1)


async def test_body_with_a_content_encoding_is_refused_with_415():
    """A compressed body could expand to any size."""
    exchange = _Exchange([(b"content-encoding", b"gzip")])
    with pytest.raises(HTTPException) as caught:
        await _body(exchange).read()
    assert (caught.value.status_code, exchange.left) == (415, 1)
