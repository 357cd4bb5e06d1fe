"""What every request costs, and what is left told in every response."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from super_advanced_agents.errors import RateLimitedError, SuperAdvancedAgentsError
from super_advanced_agents.protocol.problems import problem_of, retry_after
from super_advanced_agents.server.error_handlers import problem_response
from super_advanced_agents.server.limiting import Quota, RateLimiter, quota_headers
from super_advanced_agents.tenancy.context import Call, current_call

_NOTE = "quota"


class RateLimits:
    """Charges one unit for a request and lets the route charge more (`Call.charge`); 429 when an allowance is used up.

    Every response says what is left, in `RateLimit-Limit`, `RateLimit-Remaining` and `RateLimit-Reset`. What nobody has
    to authenticate for is free.
    """

    def __init__(self, app: ASGIApp, *, limiter: RateLimiter) -> None:
        self._app = app
        self._limiter = limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        call = _caller() if scope["type"] == "http" else None
        if call is None:
            await self._app(scope, receive, send)
            return
        call.limiter = self._limiter

        async def telling(message: Message) -> None:
            quota = call.notes.get(_NOTE)
            if message["type"] == "http.response.start" and isinstance(quota, Quota):
                message["headers"] = [*message.get("headers", ()), *quota_headers(quota)]
            await send(message)

        try:
            call.notes[_NOTE] = await self._limiter.charge(call.principal, 1)
        except SuperAdvancedAgentsError as exc:
            if isinstance(exc, RateLimitedError):
                call.notes[_NOTE] = await self._limiter.charge(call.principal, 0)
            await problem_response(problem_of(exc), retry_after(exc))(scope, receive, telling)
        else:
            await self._app(scope, receive, telling)


def _caller() -> Call | None:
    try:
        return current_call()
    except LookupError:
        return None
