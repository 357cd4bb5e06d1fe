"""One event loop in a thread of its own, for clients whose libraries speak asyncio; there while somebody holds it.

A native operation awaits futures only (see `twins`), so that threads can drive it too. What needs an event loop of its
own, such as an HTTP connection kept between calls, runs here, and its result comes back as a future.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from anyio.from_thread import BlockingPortalProvider

from super_advanced_agents._runtime.futures import Future
from super_advanced_agents.errors import ResourceClosedError

T = TypeVar("T")


class CancellableFuture(Future[T]):
    """A future that takes its work along when it is cancelled."""

    __slots__ = ()

    def cancel(self) -> None:
        """The caller goes away, and the work ends."""
        if self.done():
            return
        super().cancel()
        if self.cancelled():
            self._abort()

    def _abort(self) -> None:
        """End the work, from the thread that cancels; must not block, and may come when the work is done already."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class LoopThread:
    """An event loop that other threads, and other event loops, hand coroutines to. Made by `acquire_loop`.

    The portal starts and ends it. Its own `start_task_soon` waits until the loop has turned, which an event loop that
    asks must not, and its futures wake an event loop once for each result: hence `submit` and futures.
    """

    _loop: asyncio.AbstractEventLoop

    def submit(self, operation: Callable[[], Coroutine[Any, Any, T]]) -> Future[T]:
        """Run the coroutine that `operation` makes, in the loop; a cancelled future cancels it.

        Raises:
            ResourceClosedError: the loop has ended.
        """
        run = _Run(self._loop, operation)
        try:
            self._loop.call_soon_threadsafe(run.begin)
        except RuntimeError as exc:  # it was closed
            raise _ended() from exc
        return run

    def later(self, delay_s: float, act: Callable[[], object]) -> Future[None]:
        """Call `act`, which must not block, in the loop after so long, unless the future is cancelled before."""

        async def wait() -> None:
            await asyncio.sleep(delay_s)
            act()

        return self.submit(wait)


class _Run(CancellableFuture[T]):
    """One coroutine on its way through the loop."""

    __slots__ = ("_loop", "_operation", "_task")

    def __init__(self, loop: asyncio.AbstractEventLoop, operation: Callable[[], Coroutine[Any, Any, T]]) -> None:
        super().__init__()
        self._loop = loop
        self._operation = operation
        self._task: asyncio.Task[T] | None = None

    def begin(self) -> None:
        """Start the coroutine, unless its caller has gone already. Runs in the loop."""
        if not self.cancelled():
            self._task = self._loop.create_task(self._operation())
            self._task.add_done_callback(self._task_done)

    def _abort(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._cancel_task)
        except RuntimeError:  # the loop was closed, which has cancelled everything
            return

    def _cancel_task(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _task_done(self, task: asyncio.Task[T]) -> None:
        self._task = None
        if task.cancelled():
            self.set_exception(_ended())  # which counts for nothing when it was the caller who went away
        elif (error := task.exception()) is not None:
            self.set_exception(error)
        else:
            self.set_result(task.result())


def _ended() -> ResourceClosedError:
    return ResourceClosedError("the client was closed before this was done", hint="open a new one")


_portals = BlockingPortalProvider()


def _begin_anew() -> None:
    global _portals
    _portals = BlockingPortalProvider()


os.register_at_fork(after_in_child=_begin_anew)  # threads stay with the parent, and the lock may have been held


def acquire_loop() -> LoopThread:
    """Return the process's loop, begun by its first holder. Blocks for a moment; `release_loop` once for each call."""
    return LoopThread(_portals.__enter__().call(asyncio.get_running_loop))


def release_loop() -> None:
    """Give up one hold; the last one cancels what still runs, and waits for the loop to end."""
    with suppress(ResourceClosedError):  # leaving with an error is what makes a portal cancel instead of wait
        error = _ended()
        _portals.__exit__(type(error), error, None)
