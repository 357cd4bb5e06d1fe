"""The stages of a request, such as `embed` and `search`: how long each took, and its span."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import perf_counter
from types import TracebackType
from typing import Self

from super_advanced_agents.telemetry import tracing
from super_advanced_agents.telemetry.instruments import Histogram


class StageClock:
    """Add up the seconds of each stage of one request.

    Stages that run at the same time both count, so the sum may exceed the request's time.

    Attributes:
        seconds: the seconds by the name of the stage.
    """

    __slots__ = ("seconds",)

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}


_clock: ContextVar[StageClock | None] = ContextVar("stage_clock", default=None)
_request_id: ContextVar[str] = ContextVar("request_id", default="")


def current_request_id() -> str:
    """Return the id of the request that is being handled; empty outside of requests."""
    return _request_id.get()


def outgoing_headers() -> dict[str, str]:
    """Return the headers that name the current request and span to another server, if any."""
    request = _request_id.get()
    if not request and not tracing.on:
        return {}
    headers = tracing.trace_headers()
    return {**headers, "x-request-id": request} if request else headers


@contextmanager
def request_id(name: str, clock: StageClock | None = None) -> Iterator[None]:
    """Enter a context of one request: its id is current, and its stages are timed.

    Args:
        name: the id of the request.
        clock: adds up the seconds of the stages; None to time none.
    """
    token, clock_token = _request_id.set(name), _clock.set(clock)
    try:
        yield
    finally:
        _request_id.reset(token)
        _clock.reset(clock_token)


class stage:  # noqa: N801  # used like a function, and as a class half as slow as a generator
    """Enter a context that is one stage of the current request, and a span while traces are on.

    It takes 0.3 us when there is neither a request nor traces.

    Args:
        name: the name of the stage, which the code gives; `docs/observability.md` lists it.
    """

    __slots__ = ("_began", "_clock", "_name", "_span")

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> Self:
        self._span = tracing.begin_span(self._name) if tracing.on else None
        clock = self._clock = _clock.get()
        if clock is not None:
            self._began = perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        clock = self._clock
        if clock is not None:
            seconds = clock.seconds
            seconds[self._name] = seconds.get(self._name, 0.0) + perf_counter() - self._began
        if self._span is not None:
            self._span.end(error)


class timed:  # noqa: N801  # used like a function
    """Enter a context whose seconds a histogram counts, and which is a span while traces are on.

    Args:
        name: the name of the span.
        seconds: counts the seconds; also when the block fails.
    """

    __slots__ = ("_began", "_name", "_seconds", "_span")

    def __init__(self, name: str, seconds: Histogram) -> None:
        self._name = name
        self._seconds = seconds

    def __enter__(self) -> Self:
        self._span = tracing.begin_span(self._name) if tracing.on else None
        self._began = perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._seconds.observe(perf_counter() - self._began)
        if self._span is not None:
            self._span.end(error)
