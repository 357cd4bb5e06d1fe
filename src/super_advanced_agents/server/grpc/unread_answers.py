"""Answers on their way to gRPC clients: their bytes, and the time in which they are read.

gRPC copies a message, and keeps it until the windows of HTTP/2 have let all of it through. A call has ended, for gRPC,
once that is so or its client has gone.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc

from super_advanced_agents.server.grpc.peers import Peers
from super_advanced_agents.server.limits.sending import AnswerReservation, SendingAnswers
from super_advanced_agents.server.pipeline import IncomingRequest
from super_advanced_agents.telemetry import get_logger

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

_log = get_logger("server")


class UnreadAnswers:
    """Count the answers that gRPC clients have not read yet.

    It ends the connections of clients that never read them.

    Args:
        sending: bounds the bytes, together with those of REST.
        peers: the connections.
        timeout_s: the time within which a client must read what waits for it, in seconds.
    """

    def __init__(self, sending: SendingAnswers, peers: Peers, *, timeout_s: float) -> None:
        self._sending = sending
        self._peers = peers
        self._timeout_s = timeout_s
        self._unread: dict[_LastAnswer, None] = {}  # by the time at which they are due
        self._timer: asyncio.TimerHandle | None = None  # one for all, since one for each call takes 2.4 us

    def send_last(self, context: Context, incoming: IncomingRequest, size_bytes: int) -> None:
        """Count the only answer of a call, and the bytes reserved for it, until the call ends.

        Its client's connection is closed after the time limit, unless other tenants call over it too: then the answer
        counts until the call ends.

        Raises:
            OverloadedError: too many bytes are being sent already.
        """
        self._sending.enter(incoming.tenant, size_bytes)
        due = asyncio.get_running_loop().time() + self._timeout_s
        answer = _LastAnswer(context, incoming.tenant, due)
        reservation = None
        if incoming.reservation is not None:
            incoming.reservation.shrink(2 * size_bytes)  # Python keeps the answer, and gRPC a copy
            reservation = incoming.reservation.transfer()
        self._count_until_end(context, incoming.tenant, size_bytes, answer, reservation)
        self._unread[answer] = None
        if self._timer is None:
            self._look_at(due)

    async def write(self, context: Context, tenant: str, message: bytes) -> asyncio.Future[None] | None:
        """Write one message of a stream, and return None once the client has read those before.

        Returns:
            The write, if the time limit passed first; its bytes then count until the call ends.

        Raises:
            OverloadedError: too many bytes are being sent already.
        """
        size_bytes = len(message)
        self._sending.enter(tenant, size_bytes)
        write = asyncio.ensure_future(context.write(message))
        try:
            await asyncio.wait({write}, timeout=self._timeout_s)
        finally:
            if not write.done():
                self._count_until_end(context, tenant, size_bytes)
            else:
                self._sending.leave(tenant, size_bytes)
        if write.done():
            write.result()
            return None
        return write

    def _count_until_end(
        self,
        context: Context,
        tenant: str,
        size_bytes: int,
        answer: _LastAnswer | None = None,
        reservation: AnswerReservation | None = None,
    ) -> None:
        def end(_: Context) -> None:
            if answer is not None:
                del self._unread[answer]
            if reservation is not None:
                reservation.release()
            self._sending.leave(tenant, size_bytes)

        context.add_done_callback(end)  # type: ignore[arg-type]  # the stubs name another context

    def _look_at(self, due: float) -> None:
        self._timer = asyncio.get_running_loop().call_at(due, self._look)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        while self._unread and (answer := next(iter(self._unread))).due <= loop.time():
            if self._peers.end(answer.context.peer(), answer.tenant):
                _log.info("server.reader_disconnected", extra={"protocol": "grpc"})
            del self._unread[answer]
            answer.due = loop.time() + self._timeout_s
            self._unread[answer] = None
        self._timer = None
        if self._unread:
            self._look_at(next(iter(self._unread)).due)


@dataclass(slots=True, eq=False)
class _LastAnswer:
    context: Context
    tenant: str
    due: float
