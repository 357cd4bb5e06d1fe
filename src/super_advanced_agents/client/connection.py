"""A client's way to its server: connected at first use, tried again where that is safe, held to a deadline."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any
from uuid import uuid4

from super_advanced_agents._runtime import loop_thread
from super_advanced_agents._runtime.futures import in_thread
from super_advanced_agents.client.address import Address, ConnectionSettings
from super_advanced_agents.client.grpc_transport import GrpcTransport
from super_advanced_agents.client.rest_transport import RestTransport
from super_advanced_agents.client.transport import RemoteCall, Stream, Transport, closed
from super_advanced_agents.errors import (
    ConfigurationError,
    EngineUnavailableError,
    OverloadedError,
    RateLimitedError,
    SuperAdvancedAgentsError,
)
from super_advanced_agents.protocol import operations as ops
from super_advanced_agents.protocol.operations import Operation, Retry
from super_advanced_agents.protocol.requests import result_type
from super_advanced_agents.stores.requests import ScanRequest
from super_advanced_agents.types import Record

_ATTEMPTS = 6
_FIRST_PAUSE_S, _LAST_PAUSE_S = 0.05, 2.0
_WINDOW = 4
"""Requests of a stream that may be unanswered: what hides the network's latency, and bounds memory."""
_WORTH_ANOTHER = (EngineUnavailableError, OverloadedError, RateLimitedError)


class Connection:
    """One client's connections. Everything but `close` may be called from any number of threads and loops.

    Args:
        url: `grpc://host:port`, `grpcs://`, `http://` or `https://host`.
        api_key: sent with every call.
        timeout_s: for a call with all its attempts; in streams, for each answer.
        ca_file: certificates that a secure server's must come from.

    Raises:
        ConfigurationError: an argument is wrong.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None,
        timeout_s: float,
        ca_file: str | Path | None,
    ) -> None:
        if isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float) or not 0 < timeout_s <= 86_400:
            raise ConfigurationError(f"timeout_s must be a number of seconds, at most a day, not {timeout_s!r}")
        address = Address.parsed(url)
        settings = ConnectionSettings(
            address=address, api_key=api_key, ca_file=None if ca_file is None else Path(ca_file)
        )
        self.url = address.url
        self._timeout_s = float(timeout_s)
        self._transport: Transport = GrpcTransport(settings) if address.is_grpc else RestTransport(settings)
        self._changing = threading.Lock()
        self._loop: loop_thread.LoopThread | None = None
        self._closed = False

    async def acall(self, call: RemoteCall) -> Any:
        """Ask once, and again where nobody answered or the server was too busy, until the time is up.

        Every operation may be sent again: reads change nothing, writes carry the uids of what they write, and what
        would answer otherwise the second time (see the table) carries an idempotency key.

        Raises:
            EngineUnavailableError: the server could not be reached, or gave no answer in time.
            SuperAdvancedAgentsError: what it answered.
        """
        deadline = time.monotonic() + self._timeout_s
        key = uuid4().hex if call.operation.retry is Retry.WITH_KEY else None
        loop = self._loop or await self._aopen()
        try:
            return await self._transport.call(call, timeout_s=self._timeout_s, key=key)
        except _WORTH_ANOTHER as exc:
            first = exc

        async def again() -> Any:
            return await self._again(call, deadline, key, first)

        return await loop.submit(again)

    async def _again(self, call: RemoteCall, deadline: float, key: str | None, first: SuperAdvancedAgentsError) -> Any:
        """The attempts after the first, in the loop that can wait between them."""
        import stamina

        failed = [first]
        async for attempt in stamina.retry_context(
            on=lambda exc: _pause(exc, deadline),
            attempts=_ATTEMPTS,
            timeout=None,
            wait_initial=_FIRST_PAUSE_S,
            wait_max=_LAST_PAUSE_S,
            wait_jitter=_FIRST_PAUSE_S,
        ):
            with attempt:
                if failed:
                    raise failed.pop()
                left_s = max(0.001, deadline - time.monotonic())
                return await self._transport.call(call, timeout_s=left_s, key=key)
        raise AssertionError("the last attempt returns or raises")

    async def aexchange(
        self, operation: Operation, single: Operation, calls: AsyncIterator[RemoteCall]
    ) -> AsyncGenerator[Any, None]:
        """One answer for each call, in order, with at most four unanswered, so memory is bounded.

        A stream that breaks is begun again with what was not answered, which must be safe to send twice.

        Args:
            operation: takes and gives streams.
            single: the same for one request, for transports without streams.
            calls: of `single`; taken one by one, as answers come.
        """
        loop = self._loop or await self._aopen()
        if not self._transport.streams:
            async for call in calls:
                yield await self.acall(call)
            return
        waiting: deque[RemoteCall] = deque()
        failures, more = 0, True
        while more or waiting:
            stream = self._transport.stream(operation, result_type(single.request or object))
            try:
                for call in waiting:
                    stream.send(call)
                async with aclosing(stream.answers(timeout_s=self._timeout_s)) as answers:
                    while True:
                        more = more and await _fill(stream, calls, waiting)
                        if not waiting:
                            break
                        answer = await _next(answers, self.url)
                        waiting.popleft()
                        failures = 0
                        yield answer
            except _SourceFailed as exc:
                raise exc.error from exc.error.__cause__
            except _WORTH_ANOTHER as exc:
                failures += 1
                await loop.later(_stream_pause(exc, failures), _nothing)
            finally:
                stream.cancel()

    async def areceive(self, call: RemoteCall, result: Any) -> AsyncGenerator[Any, None]:
        """Many answers to one request; before the first of them it is made again as `acall` would.

        Args:
            call: of an operation that gives a stream.
            result: the type of each answer.
        """
        loop = self._loop or await self._aopen()
        failures, begun = 0, False
        while True:
            stream = self._transport.stream(call.operation, result)
            try:
                stream.send(call)
                stream.finish()
                async with aclosing(stream.answers(timeout_s=self._timeout_s)) as answers:
                    async for answer in answers:
                        begun = True
                        yield answer
                return
            except _WORTH_ANOTHER as exc:
                if begun:
                    raise
                failures += 1
                await loop.later(_stream_pause(exc, failures), _nothing)
            finally:
                stream.cancel()

    async def apages(self, target: str, request: ScanRequest) -> AsyncGenerator[list[Record], None]:
        """Page after page of a collection; a stream that breaks is begun again behind the last one."""
        if self._loop is None:
            await self._aopen()
        failures, whole = 0, False
        while not whole:
            try:
                async with aclosing(self._pages(target, request)) as pages:
                    async for page in pages:
                        failures = 0
                        yield page
                        if page:
                            request = request.replaced(after=page[-1].uid)
                whole = True
            except _WORTH_ANOTHER as exc:
                failures += 1
                assert self._loop is not None
                await self._loop.later(_stream_pause(exc, failures), _nothing)

    async def _pages(self, target: str, request: ScanRequest) -> AsyncGenerator[list[Record], None]:
        if self._transport.streams:
            call = RemoteCall(ops.SCAN_STREAM, target, request)
            async with aclosing(self.areceive(call, list[Record])) as pages:
                async for page in pages:
                    yield page
            return
        while page := await self.acall(RemoteCall(ops.SCAN, target, request)):
            yield page
            if len(page) < request.limit:
                return
            request = request.replaced(after=page[-1].uid)

    def close(self) -> None:
        """Wait for calls under way, then end the connections. Blocks."""
        with self._changing:
            self._closed = True
            loop, self._loop = self._loop, None
        if loop is not None:
            try:
                self._transport.close()
            finally:
                loop_thread.release_loop()

    async def _aopen(self) -> loop_thread.LoopThread:
        """Get ready in a thread: the libraries are imported now, and files are read."""
        return await in_thread(self._open, name="open client")

    def _open(self) -> loop_thread.LoopThread:
        with self._changing:
            if self._closed:
                raise closed()
            if self._loop is None:
                loop = loop_thread.acquire_loop()
                try:
                    self._transport.open(loop)
                except BaseException:
                    loop_thread.release_loop()
                    raise
                self._loop = loop
            return self._loop


class _SourceFailed(Exception):  # noqa: N818  # a signal
    """Where the requests of a stream come from has failed: not the stream, which would otherwise be begun again."""

    def __init__(self, error: SuperAdvancedAgentsError) -> None:
        super().__init__()
        self.error = error


def _pause(error: Exception, deadline: float) -> bool | float:
    """Whether to try again, and when, where the server has said so."""
    if not isinstance(error, _WORTH_ANOTHER):
        return False
    left_s = deadline - time.monotonic()
    if isinstance(error, OverloadedError | RateLimitedError):
        wait_s = error.retry_after_s * (1 + random.random() / 4)  # noqa: S311  # so that all do not come back at once
        return wait_s if wait_s < left_s else False
    return left_s > _FIRST_PAUSE_S


def _stream_pause(error: SuperAdvancedAgentsError, failures: int) -> float:
    """How long to wait before a stream is begun again; raises the error when it has failed as often as a call may."""
    if failures >= _ATTEMPTS:
        raise error
    told = error.retry_after_s if isinstance(error, OverloadedError | RateLimitedError) else 0.0
    grown: float = min(_LAST_PAUSE_S, _FIRST_PAUSE_S * 2**failures)
    return max(told, grown) * (1 + random.random() / 4)  # noqa: S311


async def _fill(stream: Stream[Any], calls: AsyncIterator[RemoteCall], waiting: deque[RemoteCall]) -> bool:
    """Send until the window is full; False when there are no more."""
    while len(waiting) < _WINDOW:
        try:
            call = await anext(calls)
        except StopAsyncIteration:
            stream.finish()
            return False
        except _WORTH_ANOTHER as exc:
            raise _SourceFailed(exc) from exc
        waiting.append(call)
        stream.send(call)
    return True


async def _next(answers: AsyncIterator[Any], url: str) -> Any:
    try:
        return await anext(answers)
    except StopAsyncIteration:
        raise EngineUnavailableError(f"the server {url!r} ended a stream too early", hint="try again") from None


def _nothing() -> None:
    pass
