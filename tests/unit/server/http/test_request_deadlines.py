"""How long the work on a request may take, and what its caller learns."""

from __future__ import annotations

import asyncio

import orjson
import pytest
from tests.unit.server.piped import Piped, operation

OPERATIONS = (operation("POST", "/search"), operation("POST", "/mcp", bounded=False))


class _Exchange:
    """One request whose application never ends by itself once it has sent what it is given."""

    def __init__(self, *first, headers=(), path="/search"):
        self.scope = {"type": "http", "method": "POST", "path": path, "headers": list(headers)}
        self.sent = []
        self.cancelled = False
        self._first = first

    async def app(self, scope, receive, send):
        del scope, receive
        for message in self._first:
            await send(message)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise

    async def send(self, message):
        self.sent.append(message)

    async def through(self, **options):
        await Piped(self.app, *OPERATIONS, **options)(self.scope, None, self.send)


def _head(kind):
    return {"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]}


@pytest.mark.parametrize(("asked", "max_timeout_s"), [([(b"request-timeout", b"0.01")], 60), ([], 0.01)])
async def test_work_is_cancelled_in_time_and_answered_504(asked, max_timeout_s):
    """As the header asks, or as the operator allows at most."""
    exchange = _Exchange(headers=asked)
    await exchange.through(max_timeout_s=max_timeout_s)
    assert exchange.cancelled
    assert exchange.sent[0]["status"] == 504
    problem = orjson.loads(exchange.sent[1]["body"])
    assert problem["type"].endswith(":deadline-exceeded")
    assert "0.01 s" in problem["detail"]


async def test_more_than_is_allowed_counts_as_that():
    """A header cannot lengthen anything."""
    exchange = _Exchange(headers=[(b"request-timeout", b"3600")])
    await exchange.through(max_timeout_s=0.01)
    assert exchange.sent[0]["status"] == 504


@pytest.mark.parametrize("value", [b"", b"soon", b"0", b"-1", b"nan", b"inf", b"1e999", b"\xff"])
async def test_what_is_no_time_is_refused(value):
    """By its name, with nothing begun."""
    exchange = _Exchange(headers=[(b"request-timeout", value)])
    await exchange.through(max_timeout_s=60)
    assert exchange.sent[0]["status"] == 422
    assert orjson.loads(exchange.sent[1]["body"])["field"] == "Request-Timeout"
    assert not exchange.cancelled


async def test_a_stream_of_events_ends_with_an_error():
    """Its status was sent long ago."""
    begun = {"type": "http.response.body", "body": b"event: text\n\n", "more_body": True}
    exchange = _Exchange(_head(b"text/event-stream; charset=utf-8"), begun)
    await exchange.through(max_timeout_s=0.01)
    assert exchange.sent[-1]["body"].startswith(b"event: error\n")
    assert exchange.sent[-1]["more_body"] is False


async def test_any_other_response_that_has_begun_is_broken_off():
    """The server closes the connection, so nobody takes half of it for all of it."""
    exchange = _Exchange(_head(b"application/json"))
    with pytest.raises(TimeoutError, match="being sent"):
        await exchange.through(max_timeout_s=0.01)
    assert exchange.cancelled


async def test_a_timeout_of_the_work_itself_is_not_ours():
    """It stays what it is."""

    async def fail(scope, receive, send):
        raise TimeoutError("upstream")

    with pytest.raises(TimeoutError, match="upstream"):
        await Piped(fail, *OPERATIONS)({"type": "http", "method": "POST", "path": "/search", "headers": []}, None, None)


async def test_streams_that_wait_for_messages_have_no_deadline():
    """They last as long as their clients like."""
    exchange = _Exchange(path="/mcp")
    work = asyncio.create_task(exchange.through(max_timeout_s=0.001))
    done, _ = await asyncio.wait({work}, timeout=0.05)
    assert not done
    work.cancel()
    await asyncio.wait({work})
