"""Long computations in one thread, in short slices that alternate between their owners."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Generator
from typing import Any, NamedTuple, TypeVar

from super_advanced_agents._runtime.concurrency.futures import Future, set_exceptions
from super_advanced_agents.errors import OverloadedError, ResourceClosedError

T = TypeVar("T")

_IDLE_S = 0.5


class _Job(NamedTuple):
    work: Generator[None, None, Any]
    future: Future[Any]


class SliceWorker:
    """Run long computations in one thread, slice by slice, alternating between their owners.

    A computation is a generator that yields after each slice, at best every millisecond or two: the GIL goes to other
    threads then, and the turn to the next owner, so that nobody waits for the end of another's computation. There is
    one thread because several that compute would keep the GIL from the event loop in turn.

    Args:
        name: for the thread's name and error messages.
        max_queue: the largest number of unfinished computations.
        idle_s: seconds after which the thread ends if it has nothing to do.
    """

    def __init__(self, *, name: str, max_queue: int, idle_s: float = _IDLE_S) -> None:
        self._name = name
        self._max_queue = max_queue
        self._idle_s = idle_s
        self._jobs: OrderedDict[str, deque[_Job]] = OrderedDict()
        self._unfinished = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def submit(self, work: Generator[None, None, T], *, owner: str) -> Future[T]:
        """Queue a computation behind its owner's others, and return the future of its result.

        Cancelling the future ends the computation at its next slice.

        Args:
            work: the computation.
            owner: the name of its owner, such as a tenant; owners take turns.

        Raises:
            OverloadedError: too many computations are unfinished.
            ResourceClosedError: the worker is closed.
        """
        future: Future[T] = Future()
        with self._changed:
            if self._closed:
                raise ResourceClosedError(f"{self._name} is closed")
            if self._unfinished >= self._max_queue:
                raise OverloadedError(
                    f"the queue of {self._name} is full",
                    retry_after_s=1.0,
                    hint="try again later, or send fewer at once",
                )
            self._jobs.setdefault(owner, deque()).append(_Job(work, future))
            self._unfinished += 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            self._changed.notify()
        return future

    def close(self) -> None:
        """Accept no more computations, and fail the unfinished ones with `ResourceClosedError`."""
        with self._changed:
            self._closed = True
            left = [job.future for jobs in self._jobs.values() for job in jobs]
            self._changed.notify()
            thread = self._thread
        set_exceptions(left, ResourceClosedError(f"{self._name} is closed"))
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while (owner := self._next_owner()) is not None:
            job = self._jobs[owner][0]
            if _advance(job):
                with self._changed:
                    self._finish_first(owner)
            del job  # a thread that waits must not keep a caller's data
            time.sleep(0)  # a thread that waits for the GIL gets it now

    def _next_owner(self) -> str | None:
        with self._changed:
            while not self._jobs:
                if self._closed or (not self._changed.wait(self._idle_s) and not self._jobs):
                    self._thread = None
                    return None
            owner = next(iter(self._jobs))
            self._jobs.move_to_end(owner)
            return owner

    def _finish_first(self, owner: str) -> None:
        self._unfinished -= 1
        jobs = self._jobs[owner]
        jobs.popleft()
        if not jobs:
            del self._jobs[owner]


def _advance(job: _Job) -> bool:
    # True if the computation has ended.
    try:
        if job.future.done():  # cancelled, or failed by `close`
            job.work.close()
            return True
        next(job.work)
    except StopIteration as end:
        job.future.set_result(end.value)
    except BaseException as exc:
        job.future.set_exception(exc)
    else:
        return False
    return True


def finished(work: Generator[None, None, T]) -> T:
    """Run a computation to its end in this thread, and return its result."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: T = end.value
            return result


def one_slice(work: Callable[[], T]) -> Generator[None, None, T]:
    """Return a short function's call as a computation of one slice."""
    yield from ()
    return work()
