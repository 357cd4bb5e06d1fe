"""Micro-batching: a worker thread runs all items that queued while it was busy as one batch.

The same class carries embeddings (cost: tokens), durable writes (one fsync for many callers), searches (one matrix
product) and, with `max_batch_cost=1`, blocking work kept off the event loop. Tenants take turns.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar, cast

from super_advanced_agents._runtime.concurrency.futures import Future, set_exceptions, set_results
from super_advanced_agents._runtime.concurrency.processes import process_id
from super_advanced_agents._runtime.queues.fair_queue import Entry, FairQueue
from super_advanced_agents._runtime.queues.shares import current_share
from super_advanced_agents.errors import OverloadedError, ResourceClosedError
from super_advanced_agents.telemetry import queue_metrics, tracing

Item = TypeVar("Item")
Result = TypeVar("Result")

_IDLE_S = 10.0
"""The time after which an idle worker ends, so a batcher never closed leaks no thread."""


_TURNS_PER_BATCH = 4
"""The parts of a batch; a share takes one before it is another's turn."""


def _unit_cost(item: object) -> int:
    return 1


class MicroBatcher(Generic[Item, Result]):
    """Run a function on batches of queued items in threads, and give each item its result.

    An item submitted to an idle batcher runs at once, alone; items that arrive meanwhile form the next batch. The item
    of a cancelled caller leaves the queue at once if its batch has not begun. Every future is settled, also when the
    function fails. Items of several shares (`queues/shares.py`) take turns by cost; within one, they run in order.

    Args:
        run: takes 1 to n items and returns as many results, in order. An exception returned as a result goes to its
            caller alone; an exception raised goes to every caller of the batch. Called from worker threads.
        name: for thread names and error messages.
        max_batch_cost: the largest total cost of a batch; a single item above it runs alone.
        max_queue_cost: the largest total cost of the queue. A share that would then wait with more than its equal part
            is refused with `OverloadedError`; for others, the share that has the most waiting loses its youngest items.
        cost: returns the cost of an item, at least 1.
        urgent: returns whether an item goes before those that are not urgent, which keep a quarter of the work; they
            are never in one batch.
        max_running_per_share: the largest number of items of one share that run at once, except of `NO_SHARE`.
        on_refused: called with a queued item that an item of another share displaces, and the error of its future.
        workers: the number of threads that run batches in parallel.
        spare_worker: let an urgent batch run beside them in a thread of its own, if no other urgent batch runs.
        idle_s: seconds after which a worker without work ends; 10 when None.
    """

    def __init__(
        self,
        run: Callable[[list[Item]], Sequence[Result | BaseException]],
        *,
        name: str,
        max_batch_cost: int,
        max_queue_cost: int,
        cost: Callable[[Item], int] = _unit_cost,
        urgent: Callable[[Item], bool] | None = None,
        max_running_per_share: int | None = None,
        on_refused: Callable[[Item, BaseException], None] | None = None,
        workers: int = 1,
        spare_worker: bool = False,
        idle_s: float | None = None,
    ) -> None:
        self._run = run
        self._name = name
        self._max_batch_cost = max_batch_cost
        self._cost = cost
        self._urgent = urgent
        self._on_refused = on_refused
        self._max_workers = workers + spare_worker
        self._idle_s = idle_s
        self._queue: FairQueue[Item, Result] = FairQueue(
            max_cost=max_queue_cost,
            quantum=max_batch_cost // _TURNS_PER_BATCH,
            max_running=max_running_per_share,
            max_batches=workers if spare_worker else None,
        )
        self._running: set[Future[Result]] = set()
        self._seconds_per_cost = 0.0
        self._workers: set[threading.Thread] = set()
        # A stack: the worker that fell idle last is woken first, so its caches are warm and a single caller keeps only
        # one worker busy.
        self._idle: list[threading.Condition] = []
        self._waking = 0
        self._inline_runs = 0  # items running in their callers' threads
        self._closed = False
        self._lock = threading.Lock()
        self._inline_run_finished = threading.Condition(self._lock)
        self._pid = process_id()
        self._metrics = queue_metrics(name)
        self._metrics.add_queue(self)

    @property
    def queued(self) -> int:
        """The number of items that wait in the queue."""
        return len(self._queue)

    @property
    def queued_cost(self) -> int:
        """The sum of the costs (such as token counts) of the items that wait in the queue."""
        return self._queue.cost

    def submit(self, item: Item) -> Future[Result]:
        """Queue one item for the next batch and return the future of its result.

        Raises:
            OverloadedError: the queue is full.
            ResourceClosedError: the batcher is closed, or belongs to the parent of this forked process.
        """
        entry: Entry[Item, Result] = Entry(
            item, self._cost(item), current_share(), self._urgent is not None and self._urgent(item), self._forget
        )
        if self._pid != process_id():
            raise ResourceClosedError(
                f"{self._name} belongs to the process that forked this one", hint="open a new one"
            )
        with self._lock:
            if self._closed:
                raise ResourceClosedError(f"{self._name} is closed", hint="open a new one")
            refused = self._queue.make_room(entry.share, entry.cost)
            if refused is None:
                self._metrics.note_refused(1)
                raise self._full_error()
            self._queue.append(entry)
            if not self._queue.can_run():
                pass  # a worker that ends a batch takes it
            elif self._idle:
                self._wake()
            elif len(self._queue) > self._waking and len(self._workers) < self._max_workers:
                try:
                    self._start_worker()
                except RuntimeError as exc:  # the system is out of threads, or the interpreter is ending
                    if not self._workers:
                        self._queue.remove(entry)
                        raise OverloadedError(
                            f"{self._name} cannot start a thread", retry_after_s=1.0, hint="try again later"
                        ) from exc
        if refused:
            self._refuse(refused)
        return entry

    def run_inline(self, item: Item) -> Future[Result]:
        """Run an item in this thread if the batcher is idle, else queue it; return its future.

        For callers that block on the result anyway: two thread switches cost as much as a small search.

        Raises:
            OverloadedError: the queue is full.
            ResourceClosedError: the batcher is closed, or belongs to the parent of this forked process.
        """
        with self._lock:
            busy = self._closed or self._pid != process_id() or self._queue or self._inline_runs
            if not busy and len(self._workers) == len(self._idle) and not self._waking:
                self._inline_runs += 1
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
            with self._lock:
                self._inline_runs -= 1
                self._inline_run_finished.notify_all()
        return future

    def close(self, *, drain_s: float = 30.0) -> None:
        """Stop accepting items, run queued ones for up to `drain_s` seconds, then fail the rest.

        Closing again is allowed.

        Args:
            drain_s: seconds to finish queued and running items in; the callers of the rest get `ResourceClosedError`.
        """
        if self._pid != process_id():  # in a forked child the lock may be held, and the threads do not exist
            return
        deadline = time.monotonic() + drain_s
        with self._lock:
            self._closed = True
            while self._idle:
                self._wake()
            workers = list(self._workers)
        for worker in workers:
            if worker is not threading.current_thread():
                worker.join(max(0.0, deadline - time.monotonic()))
        with self._lock:
            while self._inline_runs and (left_s := deadline - time.monotonic()) > 0:
                self._inline_run_finished.wait(left_s)
            waiting = self._queue.entries()
            for entry in waiting:
                self._queue.remove(entry)
            unfinished = [*waiting, *self._running]
        set_exceptions(
            unfinished, ResourceClosedError(f"{self._name} was closed before this was done", hint="open a new one")
        )

    def _wake(self) -> None:
        self._idle.pop().notify()
        self._waking += 1

    def _start_worker(self) -> None:
        worker = threading.Thread(target=self._work, name=self._name, daemon=True)
        worker.start()  # it needs the lock held here, so it cannot end before it is counted
        self._workers.add(worker)

    def _work(self) -> None:
        while batch := self._take():
            began = time.monotonic()
            items = [cast("Item", entry.item) for entry in batch]
            for entry in batch:
                entry.item = None  # its caller may keep the future
            span = tracing.begin_batch_span(f"batch {self._name}", [e.trace for e in batch]) if tracing.on else None
            try:
                results = self._run(items)
                if len(results) != len(items):
                    raise RuntimeError(f"{self._name} returned {len(results)} results for {len(items)} items")
                set_results(zip(batch, results, strict=True))
            except BaseException as exc:
                set_exceptions(batch, exc)
            ran_s = time.monotonic() - began
            with self._lock:
                self._queue.finished(batch)
                self._running.difference_update(batch)
                self._note_speed(sum([entry.cost for entry in batch]), ran_s)
            self._metrics.note_batch([began - entry.queued_at for entry in batch], ran_s)
            if span is not None:
                span.end()
            del batch, items, entry  # an idle worker must not keep its callers' data alive
            results = ()

    def _take(self) -> list[Entry[Item, Result]]:
        # An empty batch ends the worker.
        with self._lock:
            while True:
                if self._queue.can_run() and (batch := self._queue.take(self._max_batch_cost)):
                    self._running.update(batch)
                    return batch
                if self._closed or (not self._sleep_until_woken() and not self._queue.can_run()):
                    self._workers.discard(threading.current_thread())
                    return []

    def _sleep_until_woken(self) -> bool:
        # False after the idle time, if no other thread has woken this worker by then.
        wake_up = threading.Condition(self._lock)
        self._idle.append(wake_up)
        wake_up.wait(_IDLE_S if self._idle_s is None else self._idle_s)
        if wake_up in self._idle:
            self._idle.remove(wake_up)
            return False
        self._waking -= 1
        return True

    def _forget(self, entry: Entry[Item, Result]) -> None:
        # Removes the entry of a cancelled caller.
        with self._lock:
            if entry.queued:
                self._queue.remove(entry)
                entry.item = None

    def _full_error(self) -> OverloadedError:
        return OverloadedError(
            f"the queue of {self._name} is full",
            retry_after_s=self._retry_after_s(),
            hint="try again later, or send fewer at once",
        )

    def _refuse(self, entries: list[Entry[Item, Result]]) -> None:
        error = self._full_error()
        self._metrics.note_refused(len(entries))
        for entry in entries:
            if self._on_refused is not None:
                self._on_refused(cast("Item", entry.item), error)
            entry.item = None
        set_exceptions(entries, error)

    def _note_speed(self, cost: int, took_s: float) -> None:
        latest = took_s / max(1, cost)
        self._seconds_per_cost = latest if not self._seconds_per_cost else 0.8 * self._seconds_per_cost + 0.2 * latest

    def _retry_after_s(self) -> float:
        return round(min(60.0, max(0.1, self._queue.cost * self._seconds_per_cost / self._max_workers)), 2)


class Workers:
    """Run blocking calls in a bounded pool of threads, off the event loop.

    A micro-batcher whose batches are one call each.

    Args:
        name: for thread names and error messages.
        threads: the number of calls that run in parallel.
        max_queue: the largest number of waiting calls.
        threads_per_share: the largest number of calls of one share that run in parallel; all threads when None.
        idle_s: seconds after which a thread without work ends; 10 when None.
    """

    def __init__(
        self,
        *,
        name: str,
        threads: int,
        max_queue: int,
        threads_per_share: int | None = None,
        idle_s: float | None = None,
    ) -> None:
        self._batcher: MicroBatcher[Callable[[], object], object] = MicroBatcher(
            _call,
            name=name,
            max_batch_cost=1,
            max_queue_cost=max_queue,
            max_running_per_share=threads_per_share,
            workers=threads,
            idle_s=idle_s,
        )

    def submit(self, work: Callable[[], Result]) -> Future[Result]:
        """Queue a function call for a thread of the pool and return the future of its result.

        Raises:
            OverloadedError: the queue is full.
            ResourceClosedError: the pool is closed, or belongs to the parent of this forked process.
        """
        return self._batcher.submit(work)  # type: ignore[return-value]  # _call returns what `work` returns

    def close(self, *, drain_s: float = 30.0) -> None:
        """Stop accepting calls, run queued ones for up to `drain_s` seconds, then fail the rest.

        Args:
            drain_s: seconds to finish queued and running calls in; the callers of the rest get `ResourceClosedError`.
        """
        self._batcher.close(drain_s=drain_s)


def _call(items: list[Callable[[], object]]) -> list[object]:
    return [items[0]()]
