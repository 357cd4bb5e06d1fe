"""A client's connection to its server: opened at first use, with retries and deadlines."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

from super_advanced_agents._runtime.concurrency import loop_thread
from super_advanced_agents._runtime.concurrency.futures import in_thread
from super_advanced_agents._runtime.concurrency.lifecycle import Resource
from super_advanced_agents.client.transports.address import Address, ConnectionSettings
from super_advanced_agents.client.transports.base import RemoteCall, Stream, Transport, closed_error
from super_advanced_agents.client.transports.grpc import GrpcTransport
from super_advanced_agents.client.transports.rest import RestTransport
from super_advanced_agents.client.transports.retries import RETRYABLE, Retries
from super_advanced_agents.errors import (
    ConfigurationError,
    EngineUnavailableError,
    SuperAdvancedAgentsError,
)
from super_advanced_agents.protocol import operations as ops
from super_advanced_agents.protocol.operations import Operation, Retry
from super_advanced_agents.protocol.requests import result_type
from super_advanced_agents.stores.requests import ScanRequest
from super_advanced_agents.telemetry import tracing
from super_advanced_agents.types import Record

R = TypeVar("R")
T = TypeVar("T")

_WINDOW = 4
"""The maximum of unanswered requests of a stream, which hides latency and bounds memory."""


class Connection:
    """Send calls to one server, and retry them while the server is unreachable or too busy.

    All methods but `close` may be used by any number of threads and event loops.

    Args:
        url: `grpc://host:port`, `grpcs://`, `http://` or `https://host`.
        api_key: an API key or a JWT, sent with every call.
        timeout_s: seconds for a call with all its attempts; in streams, for each answer.
        ca_file: the certificates (PEM) of the trusted authorities; the system's when None.

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

    async def acall(self, call: RemoteCall[R]) -> R:
        """Send a call and return its result; retry it while the server is unreachable or too busy.

        Attempts are made until the timeout of the connection has passed.

        Every operation may be repeated: reads change nothing, writes to a store carry a `write_id`, and other
        operations whose second result would differ (`Retry.WITH_KEY`) carry an idempotency key.

        Raises:
            EngineUnavailableError: the server could not be reached, or did not answer in time.
            SuperAdvancedAgentsError: the error that the server answered with.
        """
        if not tracing.on:
            return await self._acall(call)
        span, error = tracing.begin_client_span(call.operation.name), None
        try:
            return await self._acall(call)
        except BaseException as exc:
            error = exc
            raise
        finally:
            if span is not None:
                span.end(error)

    async def _acall(self, call: RemoteCall[R]) -> R:
        retries = Retries(self._timeout_s)
        key = uuid4().hex if call.operation.retry is Retry.WITH_KEY else None
        loop = self._loop or await self._aopen()
        try:
            return await self._transport.call(call, timeout_s=self._timeout_s, key=key)
        except RETRYABLE as exc:
            first = exc

        async def retry() -> R:
            return await self._retry(call, retries, key, first)

        return await loop.submit(retry)  # in the shared loop, since a caller without a loop cannot sleep

    async def _retry(
        self, call: RemoteCall[R], retries: Retries, key: str | None, error: SuperAdvancedAgentsError
    ) -> R:
        while True:
            await asyncio.sleep(retries.pause_s(error))
            try:
                return await self._transport.call(call, timeout_s=retries.left_s, key=key)
            except RETRYABLE as exc:
                error = exc

    async def aexchange(
        self, operation: Operation, single: Operation, calls: AsyncIterator[RemoteCall[R]]
    ) -> AsyncGenerator[R, None]:
        """Send calls over one stream, at most four unanswered at a time, and yield the answers.

        A stream that breaks is restarted with the unanswered calls, which must be safe to repeat.

        Args:
            operation: the streaming operation.
            single: its form for one request, for transports without streams.
            calls: calls of `single`, taken one by one as answers arrive.

        Raises:
            EngineUnavailableError: the stream broke, and there was no answer for the timeout of the connection.
            SuperAdvancedAgentsError: the error that the server answered with, or that `calls` raised.
        """
        loop = self._loop or await self._aopen()
        if not self._transport.streams:
            async for call in calls:
                yield await self.acall(call)
            return
        waiting: deque[RemoteCall[R]] = deque()
        retries, more = Retries(self._timeout_s), True
        while more or waiting:
            stream = self._transport.stream(operation, result_type(single.request or object))
            try:
                for call in waiting:
                    stream.send(call)
                async with aclosing(stream.answers(timeout_s=self._timeout_s)) as answers:
                    while True:
                        more = more and await _fill_window(stream, calls, waiting)
                        if not waiting:
                            break
                        answer = await _next_answer(answers, self.url)
                        waiting.popleft()
                        retries.restart()
                        yield answer
                        retries.restart()  # the time of the caller does not count
            except _SourceFailed as exc:
                raise exc.error from exc.error.__cause__
            except RETRYABLE as exc:
                await loop.call_later(retries.pause_s(exc), _noop)
            finally:
                stream.cancel()

    async def areceive(self, call: RemoteCall[object], result: type[T]) -> AsyncGenerator[T, None]:
        """Send a call and yield its streamed answers; retry if it fails before the first answer.

        Args:
            call: a call of an operation that answers with a stream.
            result: the type of each answer.

        Raises:
            EngineUnavailableError: the server could not be reached, or the stream broke.
            SuperAdvancedAgentsError: the error that the server answered with.
        """
        loop = self._loop or await self._aopen()
        retries, begun = Retries(self._timeout_s), False
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
            except RETRYABLE as exc:
                if begun:
                    raise
                await loop.call_later(retries.pause_s(exc), _noop)
            finally:
                stream.cancel()

    async def ascan_pages(self, target: str, request: ScanRequest) -> AsyncGenerator[list[Record], None]:
        """Fetch the records that match a scan request and yield them page by page.

        When the stream breaks, the scan resumes after the last record received.

        Args:
            target: the collection's name.
            request: the first page's request.

        Raises:
            EngineUnavailableError: the server could not be reached, or there was no page for the connection's timeout.
            SuperAdvancedAgentsError: the error that the server answered with.
        """
        if self._loop is None:
            await self._aopen()
        retries, complete = Retries(self._timeout_s), False
        while not complete:
            try:
                async with aclosing(self._pages(target, request)) as pages:
                    async for page in pages:
                        yield page
                        retries.restart()
                        if page:
                            request = request.replaced(after=page[-1].uid)
                complete = True
            except RETRYABLE as exc:
                assert self._loop is not None
                await self._loop.call_later(retries.pause_s(exc), _noop)

    async def _pages(self, target: str, request: ScanRequest) -> AsyncGenerator[list[Record], None]:
        if self._transport.streams:
            call = RemoteCall(ops.SCAN_STREAM, target, request)
            async with aclosing(self.areceive(call, list[Record])) as pages:
                async for page in pages:
                    yield page
            return
        while page := await self.acall(RemoteCall(ops.SCAN, target, request)):
            yield page  # it may be short although more records follow: a page ends early when it has many bytes
            request = request.replaced(after=page[-1].uid)

    def close(self) -> None:
        """Refuse new calls, wait up to 10 seconds for those in flight, then disconnect. Blocks."""
        with self._changing:
            self._closed = True
            loop, self._loop = self._loop, None
        if loop is not None:
            try:
                self._transport.close()
            finally:
                loop_thread.release_loop()

    async def _aopen(self) -> loop_thread.LoopThread:
        # in a thread: opening imports libraries and reads certificate files
        return await in_thread(self._open, name="open client")

    def _open(self) -> loop_thread.LoopThread:
        with self._changing:
            if self._closed:
                raise closed_error()
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
    # the caller's iterator of calls failed, and not the stream, which must not be restarted

    def __init__(self, error: SuperAdvancedAgentsError) -> None:
        super().__init__()
        self.error = error


async def _fill_window(stream: Stream[R], calls: AsyncIterator[RemoteCall[R]], waiting: deque[RemoteCall[R]]) -> bool:
    # returns False when `calls` is exhausted
    while len(waiting) < _WINDOW:
        try:
            call = await anext(calls)
        except StopAsyncIteration:
            stream.finish()
            return False
        except RETRYABLE as exc:
            raise _SourceFailed(exc) from exc
        waiting.append(call)
        stream.send(call)
    return True


async def _next_answer(answers: AsyncIterator[R], url: str) -> R:
    try:
        return await anext(answers)
    except StopAsyncIteration:
        raise EngineUnavailableError(f"the server {url!r} ended a stream too early", hint="try again") from None


def _noop() -> None:
    pass


class ConnectedClient(Resource):
    """Own a connection to a server, by which a subclass sends its calls.

    Args:
        url: the server's URL; see `RemoteAgent`.
        api_key: an API key or a JWT, which determines the tenant.
        timeout_s: seconds for one call with all its attempts.
        ca_file: the certificates (PEM) of the trusted authorities; the system's when None.

    Raises:
        ConfigurationError: an argument is wrong.
    """

    def __init__(
        self, url: str, *, api_key: str | None = None, timeout_s: float = 60.0, ca_file: str | Path | None = None
    ) -> None:
        self._connection = Connection(url, api_key=api_key, timeout_s=timeout_s, ca_file=ca_file)
        super().__init__()

    async def _acall(self, call: RemoteCall[R]) -> R:
        self._check_open()
        return await self._connection.acall(call)

    def _release(self) -> None:
        self._connection.close()
