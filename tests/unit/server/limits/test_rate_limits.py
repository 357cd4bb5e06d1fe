"""Costs of requests, and what responses say of them."""

from __future__ import annotations

import orjson
from tests.unit.server.piped import Piped, operation

from super_advanced_agents.server.limits.rate_limit import RateLimiter
from super_advanced_agents.tenancy.context import current_context

SEARCH = operation("POST", "/search")
SCOPE = {"type": "http", "method": "POST", "path": "/search", "headers": []}


async def _app(scope, receive, send):
    await current_context().charge(3)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x", b"y")]})
    await send({"type": "http.response.body", "body": b""})


async def _ask(middleware):
    sent = []

    async def send(message):
        sent.append(message)

    await middleware(SCOPE, None, send)
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


async def test_a_request_costs_one_and_what_its_route_charges():
    """The response says what is left after both."""
    middleware = Piped(_app, SEARCH, limiter=RateLimiter(per_key=9, per_tenant=100))
    status, headers, _ = await _ask(middleware)
    assert status == 200
    assert headers[b"x"] == b"y"
    assert (headers[b"ratelimit-limit"], headers[b"ratelimit-remaining"]) == (b"9", b"5")
    assert int(headers[b"ratelimit-reset"]) > 0


async def test_a_request_too_many_is_refused_before_its_route():
    """With the same headers, and when to come back."""
    middleware = Piped(_app, SEARCH, limiter=RateLimiter(per_key=4, per_tenant=0))
    await _ask(middleware)
    status, headers, body = await _ask(middleware)
    assert status == 429
    assert (headers[b"ratelimit-limit"], headers[b"ratelimit-remaining"]) == (b"4", b"0")
    assert int(headers[b"retry-after"]) >= 1
    problem = orjson.loads(body)
    assert problem["error"] == "RateLimitedError"
    assert problem["retry_after_s"] > 0


async def test_without_limits_nothing_is_counted_or_told():
    """As an operator may have it."""
    _, headers, _ = await _ask(Piped(_app, SEARCH, limiter=RateLimiter(per_key=0, per_tenant=0)))
    assert headers == {b"x": b"y"}


async def test_what_nobody_has_to_authenticate_for_is_free():
    """There is nobody to charge."""
    sent = []

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message):
        sent.append(message)

    await Piped(app, operation("POST", "/search", public=True), limiter=RateLimiter(per_key=1, per_tenant=1))(
        SCOPE, None, send
    )
    assert sent[0]["headers"] == []
