"""One shared asyncio event loop in a background thread, for libraries that need such a loop.

The loop runs from the first `acquire_loop` to the last `release_loop`. A native operation awaits only futures (see
`sync_bridge`), so that a thread can drive it too. Work that needs a lasting event loop, such as an HTTP connection kept
between calls, runs here, and its result comes back as a future.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from anyio.from_thread import BlockingPortalProvider

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

    `acquire_loop` makes it; a blocking portal of anyio starts and ends the loop. The portal's own `start_task_soon` is
    not used: it blocks until the loop has run, which a calling event loop must not do, and its futures wake an event
    loop once for each result.
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


_portals = BlockingPortalProvider(backend_options={"use_uvloop": True})
_portals_of_parents: list[BlockingPortalProvider] = []


def _renew_portals() -> None:
    # The child has no threads, and the lock may be held. The old provider is kept, as its finalizer would wait for ever
    # for its thread to end.
    global _portals
    _portals_of_parents.append(_portals)
    _portals = BlockingPortalProvider(backend_options={"use_uvloop": True})


os.register_at_fork(after_in_child=_renew_portals)


def acquire_loop() -> LoopThread:
    """Start the process's shared background event loop unless it runs, and return it.

    Blocks for a moment. Call `release_loop` once for each call.
    """
    return LoopThread(_portals.__enter__().call(asyncio.get_running_loop))


def release_loop() -> None:
    """Give up one use of the shared background event loop; stop it after the last use.

    Stopping cancels the coroutines that still run, and waits for the loop's thread.
    """
    with suppress(ResourceClosedError):  # leaving with an error is what makes a portal cancel instead of wait
        error = _closed_error()
        _portals.__exit__(type(error), error, None)
