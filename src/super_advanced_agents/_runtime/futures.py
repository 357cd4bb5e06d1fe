"""A result on its way, which a coroutine can await and a thread can wait for."""

from __future__ import annotations

import asyncio
import copy
import threading
from collections.abc import Callable, Generator, Iterable
from typing import Generic, TypeVar, cast

T = TypeVar("T")

_thread_state = threading.local()


def driven_by_thread() -> bool:
    """Whether the coroutine running now is driven by `twins.run_sync`, not by an event loop."""
    return getattr(_thread_state, "driven", False)


def set_driven_by_thread(driven: bool) -> bool:
    """Say who drives the coroutine step that follows; returns what was said before."""
    before = driven_by_thread()
    _thread_state.driven = driven
    return before


class Ticket(Generic[T]):
    """One caller's result on its way: awaited from asyncio, or waited for by a thread. It has one consumer.

    `asyncio.wrap_future` would do the same with one wake-up of the event loop for each result; `settle_all` wakes each
    loop once for a whole batch, which is what keeps 64 concurrent callers from paying for 64 self-pipe writes.
    """

    __slots__ = ("_cancelled", "_error", "_gate", "_lock", "_settled", "_sleeper", "_value")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._settled = False
        self._cancelled = False
        self._value: T | None = None
        self._error: BaseException | None = None
        self._gate: threading.Event | None = None
        self._sleeper: tuple[asyncio.AbstractEventLoop, asyncio.Future[None]] | None = None

    @property
    def settled(self) -> bool:
        """Whether the result, an error or a cancellation has arrived."""
        return self._settled

    @property
    def cancelled(self) -> bool:
        """Whether the caller went away before the result came; work not yet begun may be dropped."""
        return self._cancelled

    def cancel(self) -> None:
        """The caller goes away; a result that comes later is dropped. Whoever still waits gets `CancelledError`."""
        with self._lock:
            if self._settled:
                return
            self._settled = self._cancelled = True
            self._error = asyncio.CancelledError()
            if self._gate is not None:
                self._gate.set()
            sleeper = self._sleeper
        if sleeper is not None and not sleeper[1].done():  # done when it is the sleeper itself that was cancelled
            _wake_in(sleeper[0], [sleeper[1]])

    def settle(self, value: T) -> None:
        """Deliver the result; the first delivery wins."""
        settle_all([(self, value)])

    def fail(self, error: BaseException) -> None:
        """Deliver an error; the first delivery wins."""
        fail_all([self], error)

    def wait(self, timeout_s: float | None = None) -> T:
        """Block this thread until the result is there.

        Raises:
            TimeoutError: nothing came within `timeout_s`; the ticket is cancelled.
        """
        with self._lock:
            if not self._settled and self._gate is None:
                self._gate = threading.Event()
        try:
            if self._gate is not None and not self._settled and not self._gate.wait(timeout_s):
                raise TimeoutError(f"no result within {timeout_s} s")
        except BaseException:  # Ctrl-C included: the caller is gone either way
            self.cancel()
            raise
        return self._outcome()

    def __await__(self) -> Generator[object, None, T]:
        if driven_by_thread():
            yield self  # twins.run_sync waits for the ticket, then resumes
            return self._outcome()
        with self._lock:
            future: asyncio.Future[None] | None = None
            if not self._settled:
                loop = asyncio.get_running_loop()
                future = loop.create_future()
                self._sleeper = (loop, future)
        if future is not None:
            try:
                yield from future
            except asyncio.CancelledError:
                self.cancel()
                raise
        return self._outcome()

    def _outcome(self) -> T:
        if self._error is not None:
            raise self._error
        return cast("T", self._value)

    def _deliver(
        self, value: T | None, error: BaseException | None
    ) -> tuple[asyncio.AbstractEventLoop, asyncio.Future[None]] | None:
        """Store the outcome and open the gate; returns the event loop to wake, if a coroutine sleeps on it."""
        with self._lock:
            if self._settled:
                return None
            self._value, self._error = value, error
            self._settled = True
            if self._gate is not None:
                self._gate.set()
            return self._sleeper


def settle_all(outcomes: Iterable[tuple[Ticket[T], T | BaseException]]) -> None:
    """Deliver many results (an exception counts as an error), waking each event loop once."""
    sleepers: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    told: set[int] = set()
    for ticket, outcome in outcomes:
        if isinstance(outcome, BaseException):
            # Raising writes into an exception's traceback, so no two callers may hold the same one.
            sleeper = ticket._deliver(None, _own_copy(outcome) if id(outcome) in told else outcome)
            told.add(id(outcome))
        else:
            sleeper = ticket._deliver(outcome, None)
        if sleeper is not None:
            sleepers.setdefault(sleeper[0], []).append(sleeper[1])
    for loop, futures in sleepers.items():
        _wake_in(loop, futures)


def fail_all(tickets: Iterable[Ticket[T]], error: BaseException) -> None:
    """Deliver one error to many callers; each gets a copy, since raising writes into an exception's traceback."""
    settle_all((ticket, _own_copy(error)) for ticket in tickets)


def _own_copy(error: BaseException) -> BaseException:
    try:
        own = copy.copy(error)
    except Exception:  # an exception class of another library that cannot be copied
        return error
    own.__cause__, own.__context__ = error.__cause__, error.__context__
    own.__suppress_context__ = error.__suppress_context__  # after the cause, which sets it
    return own.with_traceback(error.__traceback__)  # each copy grows its own on top of what is there


def _wake_in(loop: asyncio.AbstractEventLoop, futures: list[asyncio.Future[None]]) -> None:
    try:
        loop.call_soon_threadsafe(_wake, futures)
    except RuntimeError:  # the loop was closed while its callers waited: nobody is left to wake
        return


def _wake(futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)


def in_thread(work: Callable[[], T], *, name: str) -> Ticket[T]:
    """Run blocking `work` once in a thread of its own: for opening and closing, never for a hot path."""
    ticket: Ticket[T] = Ticket()

    def run() -> None:
        try:
            ticket.settle(work())
        except BaseException as exc:
            ticket.fail(exc)

    threading.Thread(target=run, name=name, daemon=True).start()
    return ticket
