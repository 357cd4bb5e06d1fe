"""Test the deadline of a request, and what its caller gets after it."""

from __future__ import annotations

import asyncio

import orjson
import pytest
from tests.unit.server.piped import PipelinedApplication, operation

OPERATIONS = (operation("POST", "/search"), operation("POST", "/mcp", bounded=False))


class _Exchange:
    """Run one request whose application sends the given messages and then never ends."""

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

    async def run(self, **options):
        await PipelinedApplication(self.app, *OPERATIONS, **options)(self.scope, None, self.send)


def _head(kind):
    return {"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]}


@pytest.mark.parametrize(("headers", "max_timeout_s"), [([(b"request-timeout", b"0.01")], 60), ([], 0.01)])
async def test_request_beyond_its_deadline_is_cancelled_and_answered_504(headers, max_timeout_s):
    """The header or the operator's maximum sets the deadline."""
    exchange = _Exchange(headers=headers)
    await exchange.run(max_timeout_s=max_timeout_s)
    assert exchange.cancelled
    assert exchange.sent[0]["status"] == 504
    problem = orjson.loads(exchange.sent[1]["body"])
    assert problem["type"].endswith(":deadline-exceeded")
    assert "0.01 s" in problem["detail"]


async def test_request_timeout_header_cannot_exceed_the_maximum():
    """A longer timeout counts as the maximum."""
    exchange = _Exchange(headers=[(b"request-timeout", b"3600")])
    await exchange.run(max_timeout_s=0.01)
    assert exchange.sent[0]["status"] == 504


@pytest.mark.parametrize("value", [b"", b"soon", b"0", b"-1", b"nan", b"inf", b"1e999", b"\xff"])
async def test_invalid_request_timeout_header_is_answered_422(value):
    """The problem names the header, and the application is not called."""
    exchange = _Exchange(headers=[(b"request-timeout", value)])
    await exchange.run(max_timeout_s=60)
    assert exchange.sent[0]["status"] == 422
    assert orjson.loads(exchange.sent[1]["body"])["field"] == "Request-Timeout"
    assert not exchange.cancelled


async def test_event_stream_beyond_its_deadline_ends_with_an_error_event():
    """Its status was sent before."""
    first_event = {"type": "http.response.body", "body": b"event: text\n\n", "more_body": True}
    exchange = _Exchange(_head(b"text/event-stream; charset=utf-8"), first_event)
    await exchange.run(max_timeout_s=0.2)
    assert exchange.sent[-1]["body"].startswith(b"event: error\n")
    assert exchange.sent[-1]["more_body"] is False


async def test_response_that_has_begun_is_broken_off_at_its_deadline():
    """The server closes the connection, so no client takes a part for the whole."""
    exchange = _Exchange(_head(b"application/json"))
    with pytest.raises(TimeoutError, match="being sent"):
        await exchange.run(max_timeout_s=0.2)
    assert exchange.cancelled


async def test_timeout_error_of_the_application_is_raised_unchanged():
    """It is not a deadline of the request."""

    async def fail(scope, receive, send):
        raise TimeoutError("upstream")

    with pytest.raises(TimeoutError, match="upstream"):
        await PipelinedApplication(fail, *OPERATIONS)(
            {"type": "http", "method": "POST", "path": "/search", "headers": []}, None, None
        )


async def test_operation_without_bound_has_no_deadline():
    """Streams that wait for messages last as long as their clients want."""
    exchange = _Exchange(path="/mcp")
    work = asyncio.create_task(exchange.run(max_timeout_s=0.001))
    done, _ = await asyncio.wait({work}, timeout=0.05)
    assert not done
    work.cancel()
    await asyncio.wait({work})
