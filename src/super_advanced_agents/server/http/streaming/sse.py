"""Server-sent events (WHATWG HTML, section 9.2): a response that is streamed piece by piece."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Self

import orjson
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from super_advanced_agents.errors import SuperAdvancedAgentsError
from super_advanced_agents.protocol.problems import problem_of
from super_advanced_agents.server.http.streaming.disconnect import while_connected
from super_advanced_agents.telemetry import get_logger
from super_advanced_agents.types import JSONValue

MEDIA_TYPE = "text/event-stream"
_log = get_logger("server")


LAST_EVENT_ID = "last-event-id"
"""The header with the id of a client's last event, sent when it connects again."""

NOTHING_NEW = b": nothing new\n\n"
"""A comment, which clients pass over: it opens a stream whose next event may be far off."""


def event(name: str, data: Mapping[str, JSONValue], *, event_id: str = "") -> bytes:
    """Encode one server-sent event: its name, its id if any, and its data as a line of JSON."""
    named = b"event: %s\n" % name.encode() + (b"id: %s\n" % event_id.encode() if event_id else b"")
    return named + b"data: %s\n\n" % orjson.dumps(data)


class EventStream(Response):
    """A response that streams server-sent events from a generator until the client disconnects.

    An error after the first byte is sent as an `error` event that carries the problem document.

    Attributes:
        first_events: the events generated before the response was created; empty where the generator had none.
    """

    media_type = MEDIA_TYPE

    def __init__(self, first_events: list[bytes], events: AsyncGenerator[bytes, None]) -> None:
        super().__init__(headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self.first_events = first_events
        self._events = events

    @classmethod
    async def start(cls, events: AsyncGenerator[bytes, None], receive: Receive, *, ahead: int) -> Self:
        """Generate the first `ahead` events, then create the response; earlier errors are raised."""
        first_events: list[bytes] = []

        async def fill() -> None:
            async for item in events:
                first_events.append(item)
                if len(first_events) >= ahead:
                    return

        try:
            await while_connected(receive, fill())
        except BaseException:
            await events.aclose()
            raise
        return cls(first_events, events)

    def failure(self, error: SuperAdvancedAgentsError) -> bytes:
        """Encode the server-sent event that reports an error after the response has started."""
        return event("error", problem_of(error))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope
        async with aclosing(self._events):
            try:
                await while_connected(receive, self._send_all(send))
            except ClientDisconnect:
                _log.debug("server.stream_left")

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for item in self.first_events:
            await send({"type": "http.response.body", "body": item, "more_body": True})
        try:
            async for item in self._events:
                await send({"type": "http.response.body", "body": item, "more_body": True})
        except SuperAdvancedAgentsError as exc:
            _log.warning("server.stream_failed", extra={"reason": str(exc)})
            await send({"type": "http.response.body", "body": self.failure(exc), "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
