"""One attempt of one call, whatever carries it: the face that the gRPC and the REST transport share."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from typing import Generic, TypeVar

from google.protobuf.message import Message

from super_advanced_agents._runtime.loops import LoopThread
from super_advanced_agents._runtime.tickets import Ticket
from super_advanced_agents.errors import OverloadedError, ResourceClosedError
from super_advanced_agents.protocol.methods import Method

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)

_MAX_IN_FLIGHT = 1_024
_DRAIN_S = 10.0


class Traffic:
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


class Stream(ABC, Generic[Request, Response]):
    """Requests and answers over one call."""

    @abstractmethod
    def send(self, request: Request) -> None:
        """Send one more; never blocks, so the caller bounds how many are unanswered."""

    @abstractmethod
    def finish(self) -> None:
        """No more requests."""

    @abstractmethod
    def answers(self, *, timeout_s: float) -> AsyncGenerator[Response, None]:
        """What the server sends, waiting `timeout_s` for each at most; raises what a ticket of `Wire.call` raises."""

    @abstractmethod
    def cancel(self) -> None:
        """End the call, at the server as well; does nothing when it has ended."""


class Wire(ABC):
    """A transport. `open` before the first call; safe for use by many threads and loops at once."""

    streams = True
    """Whether `stream` can be used; else one call follows another."""

    @abstractmethod
    def open(self, loop: LoopThread) -> None:
        """Get ready to connect; the connection itself is made by the first call. Blocks."""

    @abstractmethod
    def call(
        self, method: Method[Request, Response], request: Request, *, timeout_s: float, key: str | None
    ) -> Ticket[Response]:
        """Send one request; a cancelled ticket cancels the call, at the server as well.

        The ticket raises:
            EngineUnavailableError: no connection, or no answer in time.
            SuperAdvancedAgentsError: what the server answered.
        """

    @abstractmethod
    def stream(self, method: Method[Request, Response]) -> Stream[Request, Response]:
        """Begin a call of many answers, to one request or to many."""

    @abstractmethod
    def close(self) -> None:
        """Wait for calls under way, then end the connections. Blocks."""
