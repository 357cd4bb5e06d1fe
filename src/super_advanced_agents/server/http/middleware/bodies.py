"""Reception of request bodies: whole, counted, and in a bounded room."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

from super_advanced_agents.server.limits.admission import SMALL_BYTES, Admission, no_room_error
from super_advanced_agents.server.limits.arriving import ArrivingBody

_IDENTITY = frozenset({b"identity", b""})


class Body:
    """A request's body, received as a whole and counted as it arrives.

    A body of which more than 64 KiB have come takes room in its tenant's share for what has come, and keeps it until
    `release`. While there is none, the client cannot send on; and a client that sends too slowly is cut off. A
    compressed body could expand to a thousand times the bytes that were counted, so none is accepted.

    Args:
        headers: the request's headers.
        receive: the request's ASGI channel.
        admission: bounds the bytes of all requests.
        tenant: the tenant of the caller.
    """

    __slots__ = ("_admission", "_content", "_headers", "_receive", "_room", "_step_bytes", "_step_s", "_tenant")

    def __init__(
        self, headers: Sequence[tuple[bytes, bytes]], receive: Receive, *, admission: Admission, tenant: str
    ) -> None:
        self._headers = headers
        self._receive = receive
        self._admission = admission
        self._tenant = tenant
        self._room: ArrivingBody | None = None
        self._step_s = admission.body_stall_s
        self._step_bytes = 0
        self._content: bytes | None = b""

    async def read(self) -> bool:
        """Receive the body, and return whether it has arrived; False if the client disconnected.

        Raises:
            HTTPException: it is too long (413), compressed (415) or too slow (408).
            OverloadedError: there is no room for it.
        """
        self._check_headers()
        parts: list[bytes] = []
        received = 0
        while True:
            message = await (self._receive() if self._room is None else self._receive_in_time())
            if message["type"] == "http.disconnect":
                return False
            part = message.get("body", b"")
            parts.append(part)
            received += len(part)
            self._check_length(received)
            if received > SMALL_BYTES:
                await self._take_room(received)
            if not message.get("more_body", False):
                self._content = parts[0] if len(parts) == 1 else b"".join(parts)
                if self._room is not None:
                    self._room.arrived(received)
                return True

    async def receive(self) -> Message:
        """Return the whole body as one ASGI message, and then what else the client sends."""
        content, self._content = self._content, None
        if content is None:
            return await self._receive()
        return {"type": "http.request", "body": content, "more_body": False}

    def release(self) -> None:
        """Give the body's room back."""
        if self._room is not None:
            self._room.release()
            self._room = None

    async def _take_room(self, received: int) -> None:
        if self._room is None:
            self._room = self._admission.arriving.begin(self._tenant)
        if not await self._room.grow(received):
            raise no_room_error()

    async def _receive_in_time(self) -> Message:
        # Only the time in which the client is awaited counts, not the one in which it may not send.
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(self._step_s):
                message = await self._receive()
        except TimeoutError:
            raise HTTPException(
                HTTPStatus.REQUEST_TIMEOUT,
                f"the next {SMALL_BYTES} bytes of the request's body did not arrive"
                f" within {self._admission.body_stall_s:g} s",
            ) from None
        self._step_s -= loop.time() - began
        self._step_bytes += len(message.get("body", b""))
        if self._step_bytes >= SMALL_BYTES:
            self._step_s, self._step_bytes = self._admission.body_stall_s, 0
        return message

    def _check_headers(self) -> None:
        for name, value in self._headers:
            if name == b"content-encoding" and value.strip().lower() not in _IDENTITY:
                raise HTTPException(
                    HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "request bodies must not be compressed (Content-Encoding)"
                )
            if name == b"content-length" and value.isdigit():
                self._check_length(int(value[:19]))  # longer ones are too long anyway

    def _check_length(self, length: int) -> None:
        if length > self._admission.message_bytes:
            raise HTTPException(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"the request body is longer than {self._admission.message_bytes} bytes",
            )
