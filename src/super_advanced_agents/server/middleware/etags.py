"""Reads that a client has already need not travel again."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from hashlib import blake2b
from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

LONGEST_BYTES = 1024 * 1024
"""A longer body goes out as it is: reading a hash of it would hold up the event loop."""

_PRIVATE = [(b"cache-control", b"private, no-cache"), (b"vary", b"Authorization, X-API-Key")]


class ETags:
    """Names each JSON body that a GET below `/v1/` answers with, and answers 304 to those who name it back.

    The work is done all the same, so that the answer is never stale; what is saved is the way.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and name what comes back."""
        if scope["type"] != "http" or scope["method"] != "GET" or not scope["path"].startswith("/v1/"):
            await self._app(scope, receive, send)
            return
        known = b",".join(value for name, value in scope["headers"] if name == b"if-none-match")
        await self._app(scope, receive, _Naming(send, known))


class _Naming:
    """Holds the response's head back until its body is there."""

    def __init__(self, send: Send, known: bytes) -> None:
        self._send = send
        self._known = known
        self._head: Message | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and _can_be_named(message):
            self._head = message
            return
        if self._head is not None:
            head, self._head = self._head, None
            if not message.get("more_body", False):
                await self._send_named(head, message)
                return
            await self._send(head)
        await self._send(message)

    async def _send_named(self, head: Message, message: Message) -> None:
        tag = b'"%s"' % urlsafe_b64encode(blake2b(message.get("body", b""), digest_size=15).digest())
        named = [(b"etag", tag), *_PRIVATE]
        if self._known and _names(self._known, tag):
            kept = [(name, value) for name, value in head["headers"] if not name.startswith(b"content-")]
            await self._send({**head, "status": HTTPStatus.NOT_MODIFIED.value, "headers": [*kept, *named]})
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        else:
            await self._send({**head, "headers": [*head["headers"], *named]})
            await self._send(message)


def _can_be_named(head: Message) -> bool:
    """Whole JSON bodies only: what streams says no length."""
    if head["status"] != HTTPStatus.OK:
        return False
    headers = dict(head["headers"])
    length = headers.get(b"content-length", b"")
    return (
        headers.get(b"content-type", b"").startswith(b"application/json")
        and length.isdigit()
        and int(length) <= LONGEST_BYTES
        and b"etag" not in headers
    )


def _names(known: bytes, tag: bytes) -> bool:
    """Whether `If-None-Match` holds the tag; a proxy may have made it weak (RFC 9110, section 13.1.2)."""
    given = {each.strip().removeprefix(b"W/") for each in known.split(b",")}
    return tag in given or b"*" in given
