"""The interface of a client's gRPC and REST transports, which send calls without retries."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from super_advanced_agents._runtime.concurrency.futures import Future
from super_advanced_agents._runtime.concurrency.loop_thread import LoopThread
from super_advanced_agents.errors import OverloadedError, ResourceClosedError
from super_advanced_agents.protocol.operations import Operation
from super_advanced_agents.protocol.requests import ServedRequest, result_type
from super_advanced_agents.stores.requests import Request

R = TypeVar("R", covariant=True)  # noqa: PLC0105  # the result
Result = TypeVar("Result")

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""The bytes after which a client stops reading an answer; a server's own limit is lower."""

_MAX_IN_FLIGHT = 1_024
_DRAIN_S = 10.0


@dataclass(frozen=True, slots=True)
class RemoteCall(Generic[R]):
    """Describe one call to a server: the operation, the resource that it addresses, the request.

    `R` is the type of the result, which the class of the request names.

    Attributes:
        operation: the operation, from the table.
        target: the name of the agent, collection or orchestrator; empty for operations of the tenant.
        request: the request, of the operation's request class.
    """

    operation: Operation
    target: str
    request: ServedRequest[R] | Request[R]

    @property
    def result_type(self) -> Any:
        """The type of the call's result, such as `list[Record]`, taken from the request's class."""
        return result_type(type(self.request))


class InFlightCalls:
    """Count a client's unfinished calls, limit their number, and wait for them on close."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._calls = 0
        self._closed = False

    def enter(self) -> None:
        """Count one more call in flight, or raise an error when there are too many.

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
        """Count one call in flight less, since it has ended."""
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
    """Return the `ResourceClosedError` that calls of a closed client raise."""
    return ResourceClosedError("this client is closed", hint="open a new one")


class Stream(ABC, Generic[Result]):
    """Send the requests and receive the answers of one streaming call to a server."""

    @abstractmethod
    def send(self, call: RemoteCall[object]) -> None:
        """Queue a request for sending, without blocking; the caller must limit unanswered ones."""

    @abstractmethod
    def finish(self) -> None:
        """End the stream of requests; the server's answers still arrive."""

    @abstractmethod
    def answers(self, *, timeout_s: float) -> AsyncGenerator[Result, None]:
        """Yield the server's answers; wait at most `timeout_s` seconds for each.

        Raises:
            EngineUnavailableError: no connection, or no answer in time.
            SuperAdvancedAgentsError: the error that the server answered with.
        """

    @abstractmethod
    def cancel(self) -> None:
        """Cancel the call, at the server as well; do nothing when the call has ended."""


class Transport(ABC):
    """Send calls to one server; the base class of the gRPC and the REST transport.

    After `open`, any thread and any event loop may use it.

    Attributes:
        streams: False when `stream` takes single requests only; the client then makes one call after another.
    """

    streams = True

    @abstractmethod
    def open(self, loop: LoopThread) -> None:
        """Prepare for calls; the first call connects. Blocks while it reads certificates."""

    @abstractmethod
    def call(self, call: RemoteCall[Result], *, timeout_s: float, key: str | None) -> Future[Result]:
        """Send one request and return the future of its result; cancelling it cancels the call.

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
        """Begin a streaming call and return its `Stream`, to send requests and read answers.

        Args:
            operation: an operation that answers with a stream.
            result: the type of each answer.
        """

    @abstractmethod
    def close(self) -> None:
        """Refuse new calls, wait up to 10 seconds for those in flight, then disconnect. Blocks."""
