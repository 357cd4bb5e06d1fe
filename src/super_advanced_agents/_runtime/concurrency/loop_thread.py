"""One shared asyncio event loop in a background thread, for libraries that need such a loop.

The loop runs from the first `acquire_loop` to the last `release_loop`. A native operation awaits only futures (see
`sync_bridge`), so that a thread can drive it too. Work that needs a lasting event loop, such as an HTTP connection kept
between calls, runs here, and its result comes back as a future.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import uvloop

from super_advanced_agents._runtime.concurrency.futures import Future
from super_advanced_agents.errors import ResourceClosedError

T = TypeVar("T")


class CancellableFuture(Future[T]):
    """Represent a future whose cancellation also stops the work that computes its result."""

    __slots__ = ()

    def cancel(self) -> None:
        """Cancel the future, and stop the work that computes its result."""
        if self.done():
            return
        super().cancel()
        if self.cancelled():
            self._abort()

    def _abort(self) -> None:
        # Stops the work. Called in the cancelling thread, perhaps after the work is done; must not block.
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class LoopThread:
    """Run coroutines in a background event loop, for callers in other threads and event loops.

    `acquire_loop` makes it.
    """

    _loop: asyncio.AbstractEventLoop

    def submit(self, operation: Callable[[], Coroutine[Any, Any, T]]) -> Future[T]:
        """Start the coroutine `operation()` in the event loop and return the future of its result.

        Cancelling the future cancels the coroutine.

        Raises:
            ResourceClosedError: the loop was closed.
        """
        run = _Run(self._loop, operation)
        try:
            self._loop.call_soon_threadsafe(run.begin)
        except RuntimeError as exc:  # the loop was closed
            raise _closed_error() from exc
        return run

    def call_later(self, delay_s: float, callback: Callable[[], object]) -> Future[None]:
        """Call `callback` in the loop after `delay_s` seconds; the returned future can cancel it.

        `callback` must not block.
        """

        async def wait() -> None:
            await asyncio.sleep(delay_s)
            callback()

        return self.submit(wait)


class _Run(CancellableFuture[T]):
    __slots__ = ("_loop", "_operation", "_task")

    def __init__(self, loop: asyncio.AbstractEventLoop, operation: Callable[[], Coroutine[Any, Any, T]]) -> None:
        super().__init__()
        self._loop = loop
        self._operation = operation
        self._task: asyncio.Task[T] | None = None

    def begin(self) -> None:
        # Called in the loop's thread.
        if not self.cancelled():
            self._task = self._loop.create_task(self._operation())
            self._task.add_done_callback(self._task_done)

    def _abort(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._cancel_task)
        except RuntimeError:  # the loop was closed, which cancelled all its tasks
            return

    def _cancel_task(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _task_done(self, task: asyncio.Task[T]) -> None:
        self._task = None
        if task.cancelled():
            self.set_exception(_closed_error())  # ignored when the caller cancelled: the first outcome wins
        elif (error := task.exception()) is not None:
            self.set_exception(error)
        else:
            self.set_result(task.result())


def _closed_error() -> ResourceClosedError:
    return ResourceClosedError("the client was closed before this was done", hint="open a new one")


class _SharedLoop:
    # The event loop, its thread and the number of its holders.
    #
    # The thread ends with the interpreter where a holder never releases the loop; nothing here waits for it then.

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def acquire(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                started: Future[asyncio.AbstractEventLoop] = Future()
                self._thread = threading.Thread(target=_run_loop, args=(started,), name="event loop", daemon=True)
                self._thread.start()
                self._loop = started.wait()
            self._holders += 1
            return self._loop

    def release(self) -> None:
        with self._lock:
            self._holders -= 1
            if self._holders:
                return
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        assert loop is not None
        assert thread is not None
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def _run_loop(started: Future[asyncio.AbstractEventLoop]) -> None:
    # The runner cancels what still runs when the loop has been stopped.
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        loop = runner.get_loop()
        loop.call_soon(started.set_result, loop)
        loop.run_forever()


_shared = _SharedLoop()


def _renew_loop() -> None:
    # The child has no threads, and the lock may be held.
    global _shared
    _shared = _SharedLoop()


os.register_at_fork(after_in_child=_renew_loop)


def acquire_loop() -> LoopThread:
    """Start the process's shared background event loop unless it runs, and return it.

    Blocks for a moment. Call `release_loop` once for each call.
    """
    return LoopThread(_shared.acquire())


def release_loop() -> None:
    """Give up one use of the shared background event loop; stop it after the last use.

    Stopping cancels the coroutines that still run, and waits for the loop's thread.
    """
    _shared.release()
