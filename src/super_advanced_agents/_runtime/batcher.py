"""Batch what piled up: one worker takes everything that queued while it was busy, and runs it at once.

The same class carries embeddings (cost: tokens), durable writes (one fsync for many callers), searches (one matrix
product) and, with `max_batch_cost=1`, plain blocking work kept off the event loop.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from super_advanced_agents._runtime.futures import Future, set_exceptions, set_results
from super_advanced_agents._runtime.processes import process_id
from super_advanced_agents.errors import OverloadedError, ResourceClosedError

Item = TypeVar("Item")
Result = TypeVar("Result")

_IDLE_S = 10.0
"""A worker thread without work ends after this long, so that a batcher nobody closed leaks no thread."""


def _one(item: object) -> int:
    return 1


class MicroBatcher(Generic[Item, Result]):
    """A bounded queue in front of a function that works on batches.

    Idle means no wait: the first item runs at once, alone; what comes meanwhile is the next batch. A cancelled caller's
    item is dropped if its batch has not begun. Every future is settled, also when the function fails.

    Args:
        run: given 1..n items, returns as many results, in order; an exception as a result goes to that caller alone,
            an exception raised goes to all of the batch. Called from worker threads.
        name: for thread names and messages.
        max_batch_cost: a batch is closed before it would exceed this (a single larger item runs alone).
        max_queue_cost: what may wait; beyond it `submit` raises `OverloadedError`.
        cost: what an item counts, >= 1.
        workers: threads running batches side by side.
        idle_s: seconds after which a worker without work ends; 10 when None.
    """

    def __init__(
        self,
        run: Callable[[list[Item]], Sequence[Result | BaseException]],
        *,
        name: str,
        max_batch_cost: int,
        max_queue_cost: int,
        cost: Callable[[Item], int] = _one,
        workers: int = 1,
        idle_s: float | None = None,
    ) -> None:
        self._run = run
        self._name = name
        self._max_batch_cost = max_batch_cost
        self._max_queue_cost = max_queue_cost
        self._cost = cost
        self._max_workers = workers
        self._idle_s = idle_s
        self._queue: deque[tuple[Item, int, Future[Result]]] = deque()
        self._queued_cost = 0
        self._running: set[Future[Result]] = set()
        self._seconds_per_cost = 0.0
        self._workers: set[threading.Thread] = set()
        # The last worker to fall idle is woken first: its caches are warm, and one caller alone keeps one busy.
        self._idle: list[threading.Condition] = []
        self._waking = 0
        self._here = 0  # items that their own callers' threads are running
        self._closed = False
        self._changed = threading.Lock()
        self._left_here = threading.Condition(self._changed)
        self._pid = process_id()

    @property
    def queued_cost(self) -> int:
        """The cost of what waits now."""
        return self._queued_cost

    def submit(self, item: Item) -> Future[Result]:
        """Queue one item; await the future, or wait for it.

        Raises:
            OverloadedError: the queue is full.
            ResourceClosedError: the batcher is closed, or belongs to the process this one was forked from.
        """
        cost = self._cost(item)
        future: Future[Result] = Future()
        if self._pid != process_id():
            raise ResourceClosedError(f"{self._name} belongs to a process that was forked", hint="open a new one")
        with self._changed:
            if self._closed:
                raise ResourceClosedError(f"{self._name} is closed", hint="open a new one")
            if self._queue and self._queued_cost + cost > self._max_queue_cost:
                self._drop_cancelled()
            if self._queue and self._queued_cost + cost > self._max_queue_cost:
                raise OverloadedError(
                    f"the queue of {self._name} is full ({self._queued_cost} of {self._max_queue_cost})",
                    retry_after_s=self._retry_after_s(),
                    hint="try again later, or send fewer at once",
                )
            self._queue.append((item, cost, future))
            self._queued_cost += cost
            if self._idle:
                self._wake()
            elif len(self._queue) > self._waking and len(self._workers) < self._max_workers:
                try:
                    self._start_worker()
                except RuntimeError as exc:  # the system is out of threads, or the interpreter is ending
                    if not self._workers:
                        self._queue.pop()
                        self._queued_cost -= cost
                        raise OverloadedError(
                            f"{self._name} cannot start a thread", retry_after_s=1.0, hint="try again later"
                        ) from exc
        return future

    def run_here(self, item: Item) -> Future[Result]:
        """As `submit`, for a caller who waits in a thread: if nobody else is at work, that thread does it, at once.

        Two changes of thread cost as much as a small search.
        """
        with self._changed:
            busy = self._closed or self._pid != process_id() or self._queue or self._here
            if not busy and len(self._workers) == len(self._idle) and not self._waking:
                self._here += 1
            else:
                busy = True
        if busy:
            return self.submit(item)
        future: Future[Result] = Future()
        try:
            set_results(zip([future], self._run([item]), strict=True))
        except Exception as exc:
            future.set_exception(exc)
        finally:
            with self._changed:
                self._here -= 1
                self._left_here.notify_all()
        return future

    def close(self, *, drain_s: float = 30.0) -> None:
        """Stop intake, finish what is queued until `drain_s` has passed, then fail every waiter left. Idempotent."""
        if self._pid != process_id():  # a fork copied the lock, perhaps held, and none of the threads
            return
        deadline = time.monotonic() + drain_s
        with self._changed:
            self._closed = True
            while self._idle:
                self._wake()
            workers = list(self._workers)
        for worker in workers:
            if worker is not threading.current_thread():
                worker.join(max(0.0, deadline - time.monotonic()))
        with self._changed:
            while self._here and (left_s := deadline - time.monotonic()) > 0:
                self._left_here.wait(left_s)
            left = [future for _, _, future in self._queue] + list(self._running)
            self._queue.clear()
            self._queued_cost = 0
        set_exceptions(left, ResourceClosedError(f"{self._name} was closed before this was done", hint="try again"))

    def _wake(self) -> None:
        self._idle.pop().notify()
        self._waking += 1

    def _start_worker(self) -> None:
        worker = threading.Thread(target=self._work, name=self._name, daemon=True)
        worker.start()  # it waits for the lock held here, so it cannot end before it is counted
        self._workers.add(worker)

    def _work(self) -> None:
        while batch := self._take():
            began = time.monotonic()
            items = [item for item, _, _ in batch]
            futures = [future for _, _, future in batch]
            try:
                results = self._run(items)
                if len(results) != len(items):
                    raise RuntimeError(f"{self._name} made {len(results)} results of {len(items)} items")
                set_results(zip(futures, results, strict=True))
            except BaseException as exc:
                set_exceptions(futures, exc)
            with self._changed:
                self._running.difference_update(futures)
                self._note_speed(sum(cost for _, cost, _ in batch), time.monotonic() - began)
            del batch, items, futures  # while idle, hold on to nobody's data
            results = ()

    def _take(self) -> list[tuple[Item, int, Future[Result]]]:
        """Wait for work and take what fits one batch; empty when the worker should end."""
        with self._changed:
            while True:
                while not self._queue:
                    if self._closed or (not self._woken() and not self._queue):
                        self._workers.discard(threading.current_thread())
                        return []
                if batch := self._next_batch():
                    self._running.update(future for _, _, future in batch)
                    return batch

    def _woken(self) -> bool:
        """Wait until woken; False when nobody did for so long that the worker may end."""
        bell = threading.Condition(self._changed)
        self._idle.append(bell)
        bell.wait(_IDLE_S if self._idle_s is None else self._idle_s)
        if bell in self._idle:
            self._idle.remove(bell)
            return False
        self._waking -= 1
        return True

    def _next_batch(self) -> list[tuple[Item, int, Future[Result]]]:
        """Take what fits, dropping what was cancelled: apart, so that no local name holds it through the next wait."""
        batch: list[tuple[Item, int, Future[Result]]] = []
        budget = self._max_batch_cost
        while self._queue and (not batch or self._queue[0][1] <= budget):
            entry = self._queue.popleft()
            self._queued_cost -= entry[1]
            if not entry[2].cancelled():
                batch.append(entry)
                budget -= entry[1]
        return batch

    def _drop_cancelled(self) -> None:
        self._queue = deque(entry for entry in self._queue if not entry[2].cancelled())
        self._queued_cost = sum(cost for _, cost, _ in self._queue)

    def _note_speed(self, cost: int, took_s: float) -> None:
        latest = took_s / max(1, cost)
        self._seconds_per_cost = latest if not self._seconds_per_cost else 0.8 * self._seconds_per_cost + 0.2 * latest

    def _retry_after_s(self) -> float:
        return round(min(60.0, max(0.1, self._queued_cost * self._seconds_per_cost / self._max_workers)), 2)


class Workers:
    """A bounded pool for blocking work, off the event loop: a micro-batcher whose batches are one call each."""

    def __init__(self, *, name: str, threads: int, max_queue: int, idle_s: float | None = None) -> None:
        self._batcher: MicroBatcher[Callable[[], object], object] = MicroBatcher(
            _call, name=name, max_batch_cost=1, max_queue_cost=max_queue, workers=threads, idle_s=idle_s
        )

    def submit(self, work: Callable[[], Result]) -> Future[Result]:
        """Queue one call; raises as `MicroBatcher.submit` does."""
        return self._batcher.submit(work)  # type: ignore[return-value]  # _call returns what `work` returns

    def close(self, *, drain_s: float = 30.0) -> None:
        """As `MicroBatcher.close`."""
        self._batcher.close(drain_s=drain_s)


def _call(items: list[Callable[[], object]]) -> list[object]:
    return [items[0]()]
