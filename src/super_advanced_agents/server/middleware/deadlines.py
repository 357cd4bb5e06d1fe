"""How long the work on a request may take."""

from __future__ import annotations

import asyncio
import math
from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.protocol.problems import problem_details, problem_of
from super_advanced_agents.server.error_handlers import problem_response
from super_advanced_agents.server.sse import MEDIA_TYPE, event
from super_advanced_agents.types import JSONValue

HEADER = "Request-Timeout"
_HEADER = HEADER.lower().encode()


class RequestDeadline:
    """Cancels the work on a request, down to the model's slot, when its time is over, and answers 504.

    `Request-Timeout: 2.5` asks for so many seconds; more than `longest_s` counts as that. A stream of events that has
    begun ends with an `error` event.

    Args:
        app: what answers.
        longest_s: how long any request may take.
        unbounded: beginnings of paths whose streams last as long as their clients like.
    """

    def __init__(self, app: ASGIApp, *, longest_s: float, unbounded: tuple[str, ...] = ()) -> None:
        self._app = app
        self._longest_s = longest_s
        self._unbounded = unbounded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, for as long as it may take."""
        if scope["type"] != "http" or scope["path"].startswith(self._unbounded):
            await self._app(scope, receive, send)
            return
        try:
            seconds = self._seconds(scope)
        except InvalidInputError as exc:
            await problem_response(problem_of(exc))(scope, receive, send)
            return
        begun: Message | None = None

        async def watched(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = message
            await send(message)

        deadline = asyncio.timeout(seconds)
        try:
            async with deadline:
                await self._app(scope, receive, watched)
        except TimeoutError:
            if not deadline.expired():
                raise
            await _give_up(_too_late(seconds), begun, scope, receive, send)

    def _seconds(self, scope: Scope) -> float:
        for name, value in scope["headers"]:
            if name == _HEADER:
                return min(self._longest_s, _checked_seconds(value))
        return self._longest_s


def _checked_seconds(value: bytes) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise InvalidInputError(f"{HEADER} is not a number of seconds above 0", field=HEADER)
    return seconds


def _too_late(seconds: float) -> dict[str, JSONValue]:
    return problem_details(
        HTTPStatus.GATEWAY_TIMEOUT,
        f"the request took longer than {seconds:g} s and was cancelled ({HEADER})",
        name="deadline-exceeded",
        title="Deadline exceeded",
    )


async def _give_up(
    problem: dict[str, JSONValue], begun: Message | None, scope: Scope, receive: Receive, send: Send
) -> None:
    if begun is None:
        await problem_response(problem)(scope, receive, send)
        return
    streams = any(name == b"content-type" and value.startswith(MEDIA_TYPE.encode()) for name, value in begun["headers"])
    if not streams:
        raise TimeoutError("the deadline passed while the response was being sent")  # the connection is closed
    await send({"type": "http.response.body", "body": event("error", problem), "more_body": False})
