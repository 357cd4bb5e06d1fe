"""Reception of request bodies: whole, counted, and within bounded memory."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

from super_advanced_agents.server.limits.admission import SMALL_BYTES, Admission, too_many_bytes_error
from super_advanced_agents.server.limits.arriving import ArrivingBody

_IDENTITY = frozenset({b"identity", b""})


class Body:
    """A request's body, received as a whole and counted as it arrives.

    Once more than 64 KiB of a body have arrived, its bytes are reserved from its tenant's share, until `release`. While
    the share is used up, no more of the body is read; and a client that sends too slowly is cut off. A compressed body
    could expand to a thousand times the bytes that were counted, so none is accepted.

    Args:
        headers: the request's headers.
        receive: the request's ASGI channel.
        admission: bounds the bytes of all requests.
        tenant: the tenant of the caller.
    """

    __slots__ = ("_admission", "_content", "_headers", "_receive", "_reservation", "_step_bytes", "_step_s", "_tenant")

    def __init__(
        self, headers: Sequence[tuple[bytes, bytes]], receive: Receive, *, admission: Admission, tenant: str
    ) -> None:
        self._headers = headers
        self._receive = receive
        self._admission = admission
        self._tenant = tenant
        self._reservation: ArrivingBody | None = None
        self._step_s = admission.body_stall_s
        self._step_bytes = 0
        self._content: bytes | None = b""

    async def read(self) -> bool:
        """Receive the body, and return whether it has arrived; False if the client disconnected.

        Raises:
            HTTPException: it is too long (413), compressed (415) or too slow (408).
            OverloadedError: the large requests of its tenant have used up their memory.
        """
        self._check_headers()
        parts: list[bytes] = []
        received = 0
        while True:
            message = await (self._receive() if self._reservation is None else self._receive_in_time())
            if message["type"] == "http.disconnect":
                return False
            part = message.get("body", b"")
            parts.append(part)
            received += len(part)
            self._check_length(received)
            if received > SMALL_BYTES:
                await self._reserve(received)
            if not message.get("more_body", False):
                self._content = parts[0] if len(parts) == 1 else b"".join(parts)
                if self._reservation is not None:
                    self._reservation.arrived(received)
                return True

    async def receive(self) -> Message:
        """Return the whole body as one ASGI message, and then what else the client sends."""
        content, self._content = self._content, None
        if content is None:
            return await self._receive()
        return {"type": "http.request", "body": content, "more_body": False}

    def release(self) -> None:
        """Release the bytes of the body."""
        if self._reservation is not None:
            self._reservation.release()
            self._reservation = None

    async def _reserve(self, received: int) -> None:
        if self._reservation is None:
            self._reservation = self._admission.arriving.begin(self._tenant)
        if not await self._reservation.grow(received):
            raise too_many_bytes_error()

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
