"""Futures that a coroutine can await and a thread can wait for."""

from __future__ import annotations

import asyncio
import copy
import threading
from collections.abc import Callable, Generator, Iterable
from typing import Generic, TypeVar, cast

T = TypeVar("T")

_thread_state = threading.local()


def driven_by_thread() -> bool:
    """Return whether a blocking call, not an event loop, runs the current coroutine.

    `sync_bridge.run_sync` is such a call: it runs a coroutine in the calling thread.
    """
    return getattr(_thread_state, "driven", False)


def set_driven_by_thread(driven: bool) -> bool:
    """Set this thread's flag that a blocking call runs the coroutine; return the old flag."""
    before = driven_by_thread()
    _thread_state.driven = driven
    return before


class Future(Generic[T]):
    """Deliver a result to its one consumer: a coroutine that awaits it, or a waiting thread.

    `asyncio.wrap_future` would do the same, but wake the event loop once for each result. `set_results` wakes each loop
    once for a whole batch, which saves 64 concurrent callers 64 writes to the self-pipe.
    """

    __slots__ = ("_cancelled", "_done", "_error", "_event", "_lock", "_value", "_waiter")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._done = False
        self._cancelled = False
        self._value: T | None = None
        self._error: BaseException | None = None
        self._event: threading.Event | None = None
        self._waiter: tuple[asyncio.AbstractEventLoop, asyncio.Future[None]] | None = None

    def done(self) -> bool:
        """Return whether a result, an error or a cancellation has arrived."""
        return self._done

    def cancelled(self) -> bool:
        """Return whether the future was cancelled before its result arrived.

        Work for it that has not begun may then be dropped.
        """
        return self._cancelled

    def cancel(self) -> None:
        """Cancel the future; a result that arrives later is dropped.

        A consumer that still waits gets `CancelledError`.
        """
        with self._lock:
            if self._done:
                return
            self._done = self._cancelled = True
            self._error = asyncio.CancelledError()
            if self._event is not None:
                self._event.set()
            waiter = self._waiter
        if waiter is not None and not waiter[1].done():  # done when the awaiting task was cancelled
            _wake_in(waiter[0], [waiter[1]])

    def set_result(self, value: T) -> None:
        """Set the future's result and wake its consumer; do nothing if the future is done."""
        set_results([(self, value)])

    def set_exception(self, error: BaseException) -> None:
        """Set the future's error and wake its consumer; do nothing if the future is done."""
        set_exceptions([self], error)

    def wait(self, timeout_s: float | None = None) -> T:
        """Block this thread until the future is done; return its result or raise its error.

        Raises:
            TimeoutError: no result came within `timeout_s` seconds; the future is cancelled.
        """
        with self._lock:
            if not self._done and self._event is None:
                self._event = threading.Event()
        try:
            if self._event is not None and not self._done and not self._event.wait(timeout_s):
                raise TimeoutError(f"no result within {timeout_s} s")
        except BaseException:  # Ctrl-C included: the caller gives up either way
            self.cancel()
            raise
        return self._outcome()

    def __await__(self) -> Generator[object, None, T]:
        if driven_by_thread():
            yield self  # sync_bridge.run_sync waits for the future, then resumes
            return self._outcome()
        with self._lock:
            waiter: asyncio.Future[None] | None = None
            if not self._done:
                loop = asyncio.get_running_loop()
                waiter = loop.create_future()
                self._waiter = (loop, waiter)
        if waiter is not None:
            try:
                yield from waiter
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
        # Returns the event loop and the asyncio future that the caller has to wake, or None.
        with self._lock:
            if self._done:
                return None
            self._value, self._error = value, error
            self._done = True
            if self._event is not None:
                self._event.set()
            return self._waiter


def set_results(outcomes: Iterable[tuple[Future[T], T | BaseException]]) -> None:
    """Set the results of many futures; wake each event loop only once, not once per future.

    A result that is an exception is set as the future's error.
    """
    waiting: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    delivered: set[int] = set()
    for future, outcome in outcomes:
        if isinstance(outcome, BaseException):
            # Raising writes into an exception's traceback, so no two callers may hold the same one.
            waiter = future._deliver(None, _copy_exception(outcome) if id(outcome) in delivered else outcome)
            delivered.add(id(outcome))
        else:
            waiter = future._deliver(outcome, None)
        if waiter is not None:
            waiting.setdefault(waiter[0], []).append(waiter[1])
    for loop, waiters in waiting.items():
        _wake_in(loop, waiters)


def set_exceptions(futures: Iterable[Future[T]], error: BaseException) -> None:
    """Fail many futures with one error, and give each future its own copy of it.

    Raising writes into an exception's traceback, so callers must not share one.
    """
    set_results((future, _copy_exception(error)) for future in futures)


def _copy_exception(error: BaseException) -> BaseException:
    try:
        own = copy.copy(error)
    except Exception:  # an exception class of another library that cannot be copied
        return error
    own.__cause__, own.__context__ = error.__cause__, error.__context__
    own.__suppress_context__ = error.__suppress_context__  # after the cause, which sets it
    return own.with_traceback(error.__traceback__)  # each copy extends its own traceback from here


def _wake_in(loop: asyncio.AbstractEventLoop, waiters: list[asyncio.Future[None]]) -> None:
    try:
        loop.call_soon_threadsafe(_wake, waiters)
    except RuntimeError:  # the loop was closed while its callers waited: nobody is left to wake
        return


def _wake(waiters: list[asyncio.Future[None]]) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)


def in_thread(work: Callable[[], T], *, name: str) -> Future[T]:
    """Call the blocking function `work` in a new thread, and return the future of its result.

    For opening and closing; starting a thread is too slow for a hot path.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as exc:
            future.set_exception(exc)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future
