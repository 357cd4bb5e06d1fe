"""Replay of stored responses to REST writes that repeat an `Idempotency-Key`."""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from super_advanced_agents.protocol.operations import Operation
from super_advanced_agents.server.http.body import read_body, replayed
from super_advanced_agents.server.http.middleware.calls import INCOMING
from super_advanced_agents.server.idempotency.results import MAX_REPLY_BYTES, Reply

_UNSTORED_HEADERS = frozenset({"date", "server", "content-length", "idempotency-replayed"})
"""Headers that belong to one sending of a response, so they are not stored with it."""


class IdempotentWrites:
    """Middleware that answers a write with a repeated `Idempotency-Key` by the stored response.

    A response that shows a memory is not stored: a repeated write is found done, and the memory is shown as it is then.
    The stored response has the header `Idempotency-Replayed: true`. A key whose first request is still running gets
    409, and a key that was used for another request gets 422. Request bodies are held in memory until they are
    complete, up to the body limit. `PipelineMiddleware` must stand outside of this middleware: it reads the key, and
    turns the errors raised here into responses.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        key = scope[INCOMING].key if INCOMING in scope else None
        if key is None:
            await self._app(scope, receive, send)
            return
        body = await read_body(receive)
        if body is None:  # the client disconnected
            return
        response = _BufferedResponse(send)
        operation = scope[INCOMING].operation
        shows_memory = isinstance(operation, Operation) and operation.shows_memory

        async def execute() -> Reply:
            await self._app(scope, replayed(body, receive), response.send)
            return replace(response.reply(), complete=False) if shows_memory else response.reply()

        request_parts = (
            scope["method"].encode(),
            scope["path"].encode(errors="surrogatepass"),
            scope["query_string"],
            body,
        )
        reply = await scope["app"].state.pipeline.reply_once(key, request_parts, execute)
        if reply.replayed:
            await _send_reply(reply, send)
        else:
            await response.flush()


class _BufferedResponse:
    # Streams and long responses are passed on at once, and not stored.

    def __init__(self, send: Send) -> None:
        self._send = send
        self._buffer: list[Message] = []
        self._size = 0
        self._ended = False
        self._passing_through = False

    async def send(self, message: Message) -> None:
        if self._passing_through:
            await self._send(message)
            return
        self._buffer.append(message)
        if message["type"] == "http.response.body":
            self._size += len(message.get("body", b""))
            self._ended = not message.get("more_body", False)
        if self._size > MAX_REPLY_BYTES or _is_stream(self._buffer[0]):
            self._passing_through = True
            await self.flush()

    def reply(self) -> Reply:
        if not self._ended or self._passing_through:
            return Reply(status=HTTPStatus.OK, body=b"", complete=False)
        headers = tuple(
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in self._buffer[0].get("headers", ())
            if name.decode("latin-1").lower() not in _UNSTORED_HEADERS
        )
        body = b"".join(message.get("body", b"") for message in self._buffer[1:])
        return Reply(status=self._buffer[0]["status"], headers=headers, body=body)

    async def flush(self) -> None:
        messages, self._buffer = self._buffer, []
        for message in messages:
            await self._send(message)


async def _send_reply(reply: Reply, send: Send) -> None:
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in reply.headers]
    headers += [(b"idempotency-replayed", b"true")]
    if reply.status != HTTPStatus.NO_CONTENT:
        headers.append((b"content-length", str(len(reply.body)).encode()))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


def _is_stream(start: Message) -> bool:
    return any(
        name.lower() == b"content-type" and value.startswith(b"text/event-stream")
        for name, value in start.get("headers", ())
    )
