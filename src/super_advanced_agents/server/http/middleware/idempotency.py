"""`Idempotency-Key` on REST writes."""

from __future__ import annotations

from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from super_advanced_agents.server.http.middleware.calls import INCOMING
from super_advanced_agents.server.idempotency.results import MOST_REPLY_BYTES, Reply

_OWN_HEADERS = frozenset({"date", "server", "content-length", "idempotency-replayed"})
"""Not kept: they are of one response, not of the answer."""


class IdempotentWrites:
    """Answers a write that was answered before by that key with the same reply, marked `Idempotency-Replayed: true`.

    A key whose first request is still under way gets 409, one that was used for something else 422. Bodies are held in
    memory until they are whole, up to what the body limit lets through. `CallPipeline` stands outside of it, read the
    key, and tells what it raises.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it from memory."""
        key = scope[INCOMING].key if INCOMING in scope else None
        if key is None:
            await self._app(scope, receive, send)
            return
        body = await _body(receive)
        if body is None:  # the client went away
            return
        kept = _Response(send)

        async def make() -> Reply:
            await self._app(scope, _once(body, receive), kept.send)
            return kept.reply()

        asked = (scope["method"].encode(), scope["path"].encode(), scope["query_string"], body)
        reply = await scope["app"].state.pipeline.reply_once(key, asked, make)
        if reply.replayed:
            await _replay(reply, send)
        else:
            await kept.flush()


class _Response:
    """Holds a response back until it was written down; one that is streamed or long goes through as it comes."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._held: list[Message] = []
        self._size = 0
        self._ended = False
        self._passing = False

    async def send(self, message: Message) -> None:
        """Take a message of the application."""
        if self._passing:
            await self._send(message)
            return
        self._held.append(message)
        if message["type"] == "http.response.body":
            self._size += len(message.get("body", b""))
            self._ended = not message.get("more_body", False)
        if self._size > MOST_REPLY_BYTES or _is_stream(self._held[0]):
            self._passing = True
            await self.flush()

    def reply(self) -> Reply:
        """What was answered."""
        if not self._ended or self._passing:
            return Reply(status=HTTPStatus.OK, body=b"", whole=False)
        headers = tuple(
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in self._held[0].get("headers", ())
            if name.decode("latin-1").lower() not in _OWN_HEADERS
        )
        body = b"".join(message.get("body", b"") for message in self._held[1:])
        return Reply(status=self._held[0]["status"], headers=headers, body=body)

    async def flush(self) -> None:
        """Send what was held back."""
        held, self._held = self._held, []
        for message in held:
            await self._send(message)


async def _replay(reply: Reply, send: Send) -> None:
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in reply.headers]
    headers += [(b"idempotency-replayed", b"true")]
    if reply.status != HTTPStatus.NO_CONTENT:
        headers.append((b"content-length", str(len(reply.body)).encode()))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


async def _body(receive: Receive) -> bytes | None:
    """The request's body, whole; None when the client went away before."""
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _once(body: bytes, receive: Receive) -> Receive:
    """A channel that brings the body again, then whatever else comes."""
    brought = False

    async def again() -> Message:
        nonlocal brought
        if brought:
            return await receive()
        brought = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _is_stream(start: Message) -> bool:
    return any(
        name.lower() == b"content-type" and value.startswith(b"text/event-stream")
        for name, value in start.get("headers", ())
    )
