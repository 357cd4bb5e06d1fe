"""One attempt of one call, whatever carries it: the face that the gRPC and the REST transport share."""

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
    """One call of an operation.

    Attributes:
        operation: from the table.
        target: the agent, collection or orchestrator that it is about; empty where there is none.
        request: of the class that the operation names.
    """

    operation: Operation
    target: str
    request: Any

    @property
    def result_type(self) -> Any:
        """The type of what the server answers."""
        return result_type(type(self.request))


class InFlightCalls:
    """Calls under way, counted: bounded while open, and finished before the connections end."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._calls = 0
        self._closed = False

    def enter(self) -> None:
        """Count one call more.

        Raises:
            ResourceClosedError: the client was closed.
            OverloadedError: too many are under way.
        """
        with self._changed:
            if self._closed:
                raise closed()
            if self._calls >= _MAX_IN_FLIGHT:
                raise OverloadedError(
                    f"{self._calls} calls of this client are under way",
                    retry_after_s=0.1,
                    hint="wait for some of them, or send batches",
                )
            self._calls += 1

    def leave(self) -> None:
        """Count one fewer."""
        with self._changed:
            self._calls -= 1
            if self._closed:
                self._changed.notify_all()

    def finish(self) -> None:
        """Let no more in, and wait for those under way, for a while. Blocks."""
        deadline = time.monotonic() + _DRAIN_S
        with self._changed:
            self._closed = True
            while self._calls and (left_s := deadline - time.monotonic()) > 0:
                self._changed.wait(left_s)


def closed() -> ResourceClosedError:
    """The error of calls that the client's end has cut short, or that come after it."""
    return ResourceClosedError("this client is closed", hint="open a new one")


class Stream(ABC, Generic[Result]):
    """Requests and answers over one call."""

    @abstractmethod
    def send(self, call: RemoteCall) -> None:
        """Send one more; never blocks, so the caller bounds how many are unanswered."""

    @abstractmethod
    def finish(self) -> None:
        """No more requests."""

    @abstractmethod
    def answers(self, *, timeout_s: float) -> AsyncGenerator[Result, None]:
        """What the server sends, waiting `timeout_s` for each at most; raises what a future of `Transport.call` raises."""

    @abstractmethod
    def cancel(self) -> None:
        """End the call, at the server as well; does nothing when it has ended."""


class Transport(ABC):
    """A transport. `open` before the first call; safe for use by many threads and loops at once."""

    streams = True
    """Whether `stream` can be used; else one call follows another."""

    @abstractmethod
    def open(self, loop: LoopThread) -> None:
        """Get ready to connect; the connection itself is made by the first call. Blocks."""

    @abstractmethod
    def call(self, call: RemoteCall, *, timeout_s: float, key: str | None) -> Future[Any]:
        """Send one request; a cancelled future cancels the call, at the server as well.

        The future's result is the operation's. It raises:
            EngineUnavailableError: no connection, or no answer in time.
            SuperAdvancedAgentsError: what the server answered.
        """

    @abstractmethod
    def stream(self, operation: Operation, result: Any) -> Stream[Any]:
        """Begin a call of many answers, each of type `result`, to one request or to many."""

    @abstractmethod
    def close(self) -> None:
        """Wait for calls under way, then end the connections. Blocks."""
