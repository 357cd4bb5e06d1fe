"""The interface of the gRPC and REST transports: one attempt of one call, or one stream."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from super_advanced_agents._runtime.futures import Future
from super_advanced_agents._runtime.loop_thread import LoopThread
from super_advanced_agents.errors import OverloadedError, ResourceClosedError
from super_advanced_agents.protocol.operations import Operation
from super_advanced_agents.protocol.requests import result_type

Result = TypeVar("Result")

_MAX_IN_FLIGHT = 1_024
_DRAIN_S = 10.0


@dataclass(frozen=True, slots=True)
class RemoteCall:
    """One call of a server's operation: the operation, its target and the request.

    Attributes:
        operation: the operation, from the table.
        target: the name of the agent, collection or orchestrator; empty for operations of the tenant.
        request: the request, of the operation's request class.
    """

    operation: Operation
    target: str
    request: Any

    @property
    def result_type(self) -> Any:
        """The type of the operation's result, which the class of the request names."""
        return result_type(type(self.request))


class InFlightCalls:
    """Count a client's unfinished calls, limit their number, and wait for them on close."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._calls = 0
        self._closed = False

    def enter(self) -> None:
        """Count a call that begins, or refuse it.

        Raises:
            ResourceClosedError: the client was closed.
            OverloadedError: 1,024 calls are in flight.
        """
        with self._changed:
            if self._closed:
                raise closed_error()
            if self._calls >= _MAX_IN_FLIGHT:
                raise OverloadedError(
                    f"{self._calls} calls of this client are in flight",
                    retry_after_s=0.1,
                    hint="wait for some of them, or send batches",
                )
            self._calls += 1

    def leave(self) -> None:
        """Count a call that has ended."""
        with self._changed:
            self._calls -= 1
            if self._closed:
                self._changed.notify_all()

    def finish(self) -> None:
        """Refuse new calls, and wait up to 10 seconds for those in flight. Blocks."""
        deadline = time.monotonic() + _DRAIN_S
        with self._changed:
            self._closed = True
            while self._calls and (left_s := deadline - time.monotonic()) > 0:
                self._changed.wait(left_s)


def closed_error() -> ResourceClosedError:
    """Return the error to raise for calls made after, or interrupted by, closing a client."""
    return ResourceClosedError("this client is closed", hint="open a new one")


class Stream(ABC, Generic[Result]):
    """A stream of requests and a stream of answers over one call."""

    @abstractmethod
    def send(self, call: RemoteCall) -> None:
        """Queue one more request without blocking; the caller limits the unanswered requests."""

    @abstractmethod
    def finish(self) -> None:
        """End the stream of requests."""

    @abstractmethod
    def answers(self, *, timeout_s: float) -> AsyncGenerator[Result, None]:
        """Yield the server's answers; wait at most `timeout_s` seconds for each.

        Raises:
            EngineUnavailableError: no connection, or no answer in time.
            SuperAdvancedAgentsError: the error that the server answered with.
        """

    @abstractmethod
    def cancel(self) -> None:
        """Cancel the call, at the server as well; does nothing when the call has ended."""


class Transport(ABC):
    """Send calls to one server. After `open`, any thread and any event loop may use it.

    Attributes:
        streams: False when `stream` takes single requests only; the client then makes one call after another.
    """

    streams = True

    @abstractmethod
    def open(self, loop: LoopThread) -> None:
        """Prepare the transport; the first call connects. Blocks while it reads the certificates."""

    @abstractmethod
    def call(self, call: RemoteCall, *, timeout_s: float, key: str | None) -> Future[Any]:
        """Send one request; cancelling the future cancels the call, at the server as well.

        Args:
            call: the call.
            timeout_s: the timeout of this attempt.
            key: the idempotency key to send; none when None.

        Returns:
            The future of the operation's result. It raises `EngineUnavailableError` without a connection or without an
            answer in time, and otherwise the error that the server answered with.

        Raises:
            ResourceClosedError: the client was closed; the future may raise it as well.
            OverloadedError: too many calls are in flight; the future may raise it as well.
        """

    @abstractmethod
    def stream(self, operation: Operation, result: Any) -> Stream[Any]:
        """Begin a call that answers one request or several requests with a stream of answers.

        Args:
            operation: an operation that answers with a stream.
            result: the type of each answer.
        """

    @abstractmethod
    def close(self) -> None:
        """Wait for calls in flight, then close the connections. Blocks."""
