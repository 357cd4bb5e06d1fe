"""Test what HTTP requests cost, and the rate limit headers of their responses."""

from __future__ import annotations

import orjson
from tests.unit.server.piped import PipelinedApplication, operation

from super_advanced_agents.server.limits.rate_limit import RateLimiter
from super_advanced_agents.tenancy.context import current_context

SEARCH = operation("POST", "/search")
SCOPE = {"type": "http", "method": "POST", "path": "/search", "headers": []}


async def _app(scope, receive, send):
    await current_context().charge(3)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x", b"y")]})
    await send({"type": "http.response.body", "body": b""})


async def _send_request(middleware):
    sent = []

    async def send(message):
        sent.append(message)

    await middleware(SCOPE, None, send)
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


async def test_request_costs_one_unit_and_the_charge_of_its_route():
    """The headers show what is left after both."""
    middleware = PipelinedApplication(_app, SEARCH, limiter=RateLimiter(per_key=9, per_tenant=100))
    status, headers, _ = await _send_request(middleware)
    assert status == 200
    assert headers[b"x"] == b"y"
    assert (headers[b"ratelimit-limit"], headers[b"ratelimit-remaining"]) == (b"9", b"5")
    assert int(headers[b"ratelimit-reset"]) > 0


async def test_request_beyond_the_limit_is_answered_429_with_retry_after():
    """The refusal has the same headers, and a problem as its body."""
    middleware = PipelinedApplication(_app, SEARCH, limiter=RateLimiter(per_key=4, per_tenant=0))
    await _send_request(middleware)
    status, headers, body = await _send_request(middleware)
    assert status == 429
    assert (headers[b"ratelimit-limit"], headers[b"ratelimit-remaining"]) == (b"4", b"0")
    assert int(headers[b"retry-after"]) >= 1
    problem = orjson.loads(body)
    assert problem["error"] == "RateLimitedError"
    assert problem["retry_after_s"] > 0


async def test_response_has_no_quota_headers_when_limits_are_zero():
    """An operator may switch both limits off."""
    _, headers, _ = await _send_request(
        PipelinedApplication(_app, SEARCH, limiter=RateLimiter(per_key=0, per_tenant=0))
    )
    assert headers == {b"x": b"y"}


async def test_public_request_is_not_charged():
    """It has no principal to charge."""
    sent = []

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message):
        sent.append(message)

    await PipelinedApplication(
        app, operation("POST", "/search", public=True), limiter=RateLimiter(per_key=1, per_tenant=1)
    )(SCOPE, None, send)
    assert sent[0]["headers"] == []
