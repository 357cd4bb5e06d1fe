"""Reception of request bodies: whole, counted, and in a bounded room."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

from super_advanced_agents.server.limits.admission import SMALL_BYTES, Admission, no_room_error

_IDENTITY = frozenset({b"identity", b""})


class Body:
    """A request's body, received as a whole and counted as it arrives.

    A body above 64 KiB takes room in its tenant's share before it is read further, and keeps it until `release`; while
    there is none, the client cannot send on. A compressed body could expand to a thousand times the bytes that were
    counted, so none is accepted.

    Args:
        headers: the request's headers.
        receive: the request's ASGI channel.
        admission: bounds the bytes of all requests.
        tenant: the tenant of the caller.
    """

    __slots__ = ("_admission", "_content", "_headers", "_receive", "_room", "_tenant")

    def __init__(
        self, headers: Sequence[tuple[bytes, bytes]], receive: Receive, *, admission: Admission, tenant: str
    ) -> None:
        self._headers = headers
        self._receive = receive
        self._admission = admission
        self._tenant = tenant
        self._room = 0
        self._content: bytes | None = b""

    async def read(self) -> bool:
        """Receive the body, and return whether it has arrived; False if the client disconnected.

        Raises:
            HTTPException: it is too long (413) or compressed (415).
            OverloadedError: there is no room for it.
        """
        length = self._declared_length()
        if length > SMALL_BYTES:
            await self._take_room(length)
        message = await self._receive()
        if message["type"] == "http.disconnect":
            return False
        self._content = message.get("body", b"")
        self._check_length(len(self._content))
        return not message.get("more_body", False) or await self._read_on(self._content)

    async def receive(self) -> Message:
        """Return the whole body as one ASGI message, and then what else the client sends."""
        content, self._content = self._content, None
        if content is None:
            return await self._receive()
        return {"type": "http.request", "body": content, "more_body": False}

    def release(self) -> None:
        """Give the body's room back."""
        if self._room:
            self._admission.room.leave(self._tenant, self._room)
            self._room = 0

    async def _read_on(self, first: bytes) -> bool:
        parts, received = [first], len(first)
        while True:
            if received > SMALL_BYTES and not self._room:
                await self._take_room(self._admission.message_bytes)  # its length is not known before its end
            message = await self._receive()
            if message["type"] == "http.disconnect":
                return False
            part = message.get("body", b"")
            parts.append(part)
            received += len(part)
            self._check_length(received)
            if not message.get("more_body", False):
                self._content = b"".join(parts)
                if self._room > received:
                    surplus, self._room = self._room - received, received
                    self._admission.room.leave(self._tenant, surplus)
                return True

    def _declared_length(self) -> int:
        length = 0
        for name, value in self._headers:
            if name == b"content-encoding" and value.strip().lower() not in _IDENTITY:
                raise HTTPException(
                    HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "request bodies must not be compressed (Content-Encoding)"
                )
            if name == b"content-length" and value.isdigit():
                length = int(value[:19])  # longer ones are too long anyway
        self._check_length(length)
        return length

    def _check_length(self, length: int) -> None:
        if length > self._admission.message_bytes:
            raise HTTPException(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"the request body is longer than {self._admission.message_bytes} bytes",
            )

    async def _take_room(self, amount: int) -> None:
        if not await self._admission.room.enter(self._tenant, amount, patient=True):
            raise no_room_error()
        self._room = amount
