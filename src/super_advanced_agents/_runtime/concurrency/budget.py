"""Budgets of work in threads: the seconds that it takes, and the bytes of its answer.

The time also ends when nobody waits for the work.

Long loops call `check_budget` between two steps (`gil.yield_gil` does at each pause). A thread without a budget works
on without limits.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Self, TypeVar

from super_advanced_agents.errors import DeadlineExceededError

T = TypeVar("T")

_seconds: ContextVar[float | None] = ContextVar("budget_s", default=None)
_answer_bytes: ContextVar[int | None] = ContextVar("budget_answer_bytes", default=None)
_thread = threading.local()


@contextmanager
def time_limited(seconds: float | None) -> Iterator[None]:
    """Enter a context that sets the seconds of each `Budget.of_call`; None is no limit."""
    token = _seconds.set(seconds)
    try:
        yield
    finally:
        _seconds.reset(token)


@contextmanager
def answers_limited(size_bytes: int | None) -> Iterator[None]:
    """Enter a context that sets the answer bytes of each `Budget.of_call`; None is no limit."""
    token = _answer_bytes.set(size_bytes)
    try:
        yield
    finally:
        _answer_bytes.reset(token)


class Budget:
    """Limit the seconds that threads work for one call, which waits inside this context manager.

    The waiting call leaves its context with the result, or when it is cancelled: the work that still runs for it
    then stops. The time that work waits in a queue does not count.

    Args:
        seconds: the longest time of work; None for no limit.
        answer_bytes: the bytes of the answer that may be read; None for no limit.

    Attributes:
        answer_bytes: the bytes of the answer that may be read; None for no limit.
    """

    __slots__ = ("_abandoned", "_ends_at", "_left_s", "_seconds", "answer_bytes")

    def __init__(self, seconds: float | None = None, answer_bytes: int | None = None) -> None:
        self.answer_bytes = answer_bytes
        self._seconds = self._left_s = seconds
        self._ends_at: float | None = None
        self._abandoned = False

    @classmethod
    def of_call(cls) -> Self:
        """Return a budget with the limits of the contexts in which the caller runs."""
        return cls(_seconds.get(), _answer_bytes.get())

    @property
    def seconds(self) -> float | None:
        """The longest time of work, for work on another machine, which keeps the time itself."""
        return self._seconds

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._abandoned = True

    @property
    def error(self) -> DeadlineExceededError | None:
        """The error that ends the work now; None while time is left and the caller waits."""
        if self._abandoned:
            return DeadlineExceededError("nobody waits for the result any more")
        if self._ends_at is not None and time.monotonic() > self._ends_at:
            return DeadlineExceededError(
                f"the search took more than {self._seconds:g} s of work",
                hint="narrow the filter or the namespace, or ask for fewer matches",
            )
        return None

    @property
    def left_s(self) -> float | None:
        """The seconds that are left of running work; None for no limit."""
        return None if self._ends_at is None else self._ends_at - time.monotonic()

    def _begin(self) -> None:
        self._ends_at = None if self._left_s is None else time.monotonic() + self._left_s

    def _end(self) -> None:
        if self._ends_at is not None:
            self._left_s, self._ends_at = self._ends_at - time.monotonic(), None


@contextmanager
def spending(budgets: Sequence[Budget]) -> Iterator[None]:
    """Enter a context in which this thread works for several calls, each with its budget.

    Raises (from `check_budget` within the context):
        DeadlineExceededError: every budget is spent, or its caller has left.
    """
    before = getattr(_thread, "budgets", None)
    for budget in budgets:
        budget._begin()
    _thread.budgets = budgets
    try:
        check_budget()  # the callers may have left while the work was queued
        yield
    finally:
        _thread.budgets = before
        for budget in budgets:
            budget._end()


def spend(budget: Budget, work: Callable[[], T]) -> T:
    """Return the result of work that this thread does for one call, within its budget."""
    with spending([budget]):
        return work()


@contextmanager
def unlimited() -> Iterator[None]:
    """Enter a context in which this thread works without a budget, on what all callers share.

    An index that is brought up to date must not stop half-way because the caller that began it has left.
    """
    before = getattr(_thread, "budgets", None)
    _thread.budgets = None
    try:
        yield
    finally:
        _thread.budgets = before


def check_budget() -> None:
    """Raise an error if the work of this thread has no time left, or no caller waits for it.

    Raises:
        DeadlineExceededError: every budget is spent, or its caller has left.
    """
    budgets: Sequence[Budget] | None = getattr(_thread, "budgets", None)
    if not budgets:
        return
    error = None
    for budget in budgets:
        error = budget.error
        if error is None:
            return
    assert error is not None
    raise error


def seconds_left() -> float | None:
    """Return the seconds that the work of this thread may still take; None for no limit."""
    budgets: Sequence[Budget] | None = getattr(_thread, "budgets", None)
    left = [budget.left_s for budget in budgets or ()]
    known = [seconds for seconds in left if seconds is not None]
    return max(0.0, *known) if known and len(known) == len(left) else None


def answer_allowance() -> int | None:
    """Return the bytes that this thread may read for the answer of one call; None for no limit."""
    budgets: Sequence[Budget] | None = getattr(_thread, "budgets", None)
    return budgets[0].answer_bytes if budgets else None
