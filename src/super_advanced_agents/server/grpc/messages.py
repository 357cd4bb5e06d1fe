"""Reception of the messages of a gRPC call: in time, and within bounded memory.

A message is read only once the caller is known: until then gRPC keeps at most 64 KiB of it. While it is awaited, gRPC
lets the client send all of it, and does not say how much has arrived; so a message that is awaited for long counts as
the largest one. A message of a stream may be awaited for a minute, so it counts once part of it seems to have come.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from http import HTTPStatus
from typing import Any, TypeAlias, cast

import grpc

from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.server.grpc.peers import Traffic
from super_advanced_agents.server.limits.admission import NOBODY, SMALL_BYTES, Admission, too_many_bytes_error
from super_advanced_agents.server.pipeline import _RefusedError

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

_FREE_S = 0.1
"""The time for which a message is awaited before it counts; most come with their metadata."""

_LOOK_S = 0.5
"""The pause between two looks at a stream whose message is awaited."""

_PART_BYTES = 128 * 1024
"""The bytes on a connection beyond which part of an awaited message seems to have come."""

_PUBLIC_TIMEOUT_S = 2.0
"""The time within which a public method's message must arrive; such messages are short."""


class CallMessages:
    """Receive the messages of one call, in time and within their tenant's share of memory.

    Args:
        context: grpc's object for the call.
        admission: bounds the bytes of all requests.
        tenant: the tenant of the caller.
        traffic: what came over the connection; None for public methods.
        timeout_s: the time within which the only message of a call must arrive, in seconds.
        idle_s: the time within which a stream's next message must arrive, once all earlier ones are answered.

    Attributes:
        received_bytes: the bytes of all messages so far.
    """

    def __init__(
        self,
        context: Context,
        *,
        admission: Admission,
        tenant: str,
        timeout_s: float,
        idle_s: float,
        traffic: Traffic | None = None,
    ) -> None:
        self._context = context
        self._admission = admission
        self._tenant = tenant
        self._timeout_s = min(timeout_s, _PUBLIC_TIMEOUT_S) if tenant == NOBODY else timeout_s
        self._idle_s = idle_s
        self._traffic = traffic
        self.received_bytes = 0
        self._untaken = 0
        self._loop = asyncio.get_running_loop()
        self._reserved = 0  # the bytes that are counted for the message that is awaited
        self._unanswered: deque[int] = deque()  # the bytes of each message of a stream that has no answer yet
        self._active_at = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None

    async def one(self) -> bytes:
        """Receive the only message of a call.

        Raises:
            InvalidInputError: there is none.
            OverloadedError: the large requests of its tenant have used up their memory.
            _RefusedError: it did not arrive in time.
        """
        try:
            async with asyncio.timeout(None) as limit:
                self._timer = self._loop.call_later(_FREE_S, self._on_slow, limit)
                frame = await self._read()
        except TimeoutError:
            if not self._reserved:
                raise too_many_bytes_error() from None
            raise _late_error("message", self._timeout_s) from None
        if frame is None:
            raise InvalidInputError("the call has no message", field="message", hint="send one message")
        size = len(frame)
        if self._reserved > size:
            self._reserved, surplus = size, self._reserved - size
            self._admission.request_bytes.leave(self._tenant, surplus)
        elif size > SMALL_BYTES and not self._reserved:
            if not self._admission.request_bytes.enter_now(self._tenant, size):
                raise too_many_bytes_error()
            self._reserved = size
        return frame

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """Yield the messages of a stream, until the client ends it.

        Raises:
            OverloadedError: the large requests of the tenant have used up their memory.
            _RefusedError: the client sent nothing for too long.
        """
        while True:
            try:
                async with asyncio.timeout(None) as limit:
                    self._untaken = 0 if self._traffic is None else self._traffic.untaken()
                    self._timer = self._loop.call_later(min(_FREE_S, self._idle_s), self._on_wait, limit)
                    frame = await self._read()
            except TimeoutError:
                if self._seems_to_come() and not self._reserved:
                    raise too_many_bytes_error() from None
                raise _late_error(
                    "stream's next message", self._timeout_s if self._reserved else self._idle_s
                ) from None
            self._release_reserved()
            if frame is None:
                return
            size = len(frame) if len(frame) > SMALL_BYTES else 0
            if size and not await self._admission.request_bytes.enter(self._tenant, size, patient=True):
                raise too_many_bytes_error()
            self._unanswered.append(size)
            yield frame

    def answered(self) -> None:
        """Note that the oldest message of a stream without an answer got one."""
        self._active_at = self._loop.time()
        if self._unanswered and (size := self._unanswered.popleft()):
            self._admission.request_bytes.leave(self._tenant, size)

    def release(self) -> None:
        """Release the bytes of all messages."""
        while self._unanswered:
            self.answered()
        self._release_reserved()

    def _release_reserved(self) -> None:
        reserved, self._reserved = self._reserved, 0
        if reserved:
            self._admission.request_bytes.leave(self._tenant, reserved)

    async def _read(self) -> bytes | None:
        try:
            frame = await self._context.read()
        finally:
            if self._timer is not None:
                self._timer.cancel()
        if frame is grpc.aio.EOF:
            return None
        size = len(cast("bytes", frame))
        self.received_bytes += size
        if self._traffic is not None:
            self._traffic.take(size)
        return cast("bytes", frame)

    def _on_slow(self, limit: asyncio.Timeout) -> None:
        if self._admission.request_bytes.enter_now(self._tenant, self._admission.message_bytes):
            self._reserved = self._admission.message_bytes
            limit.reschedule(self._loop.time() + self._timeout_s)
        else:
            limit.reschedule(self._loop.time())

    def _seems_to_come(self) -> bool:
        return self._traffic is not None and self._traffic.untaken() - self._untaken > _PART_BYTES

    def _on_wait(self, limit: asyncio.Timeout) -> None:
        now = self._loop.time()
        if self._seems_to_come():
            self._on_slow(limit)
            return
        # A client that waits for answers is not idle, however long the work takes.
        left_s = self._idle_s if self._unanswered else self._active_at + self._idle_s - now
        if left_s > 0:
            self._timer = self._loop.call_later(min(left_s, _LOOK_S), self._on_wait, limit)
        else:
            limit.reschedule(now)


def _late_error(what: str, seconds: float) -> _RefusedError:
    return _RefusedError(HTTPStatus.GATEWAY_TIMEOUT, f"the {what} did not arrive within {seconds:g} s")
