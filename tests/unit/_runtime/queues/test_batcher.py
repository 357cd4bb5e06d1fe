"""Test the micro-batcher: its batches, bounds and order, and that each caller gets an outcome."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from super_advanced_agents._runtime.concurrency.futures import Future
from super_advanced_agents._runtime.queues import batcher as batcher_module
from super_advanced_agents._runtime.queues.batcher import MicroBatcher, Workers
from super_advanced_agents.errors import EmbeddingError, OverloadedError


def test_idle_batcher_runs_the_first_item_alone_and_later_items_as_one_batch(
    blocked_run: Any, make_batcher: Any
) -> None:
    """The first item does not wait for others; items that arrive while it runs form the next batch, in order."""
    batcher = make_batcher()
    first = batcher.submit(0)
    blocked_run.entered.acquire()
    rest = [batcher.submit(number) for number in range(1, 6)]
    blocked_run.unblock()
    assert [future.wait() for future in [first, *rest]] == list(range(6))
    assert blocked_run.batches == [[0], [1, 2, 3, 4, 5]]


@given(costs=st.lists(st.integers(1, 12), min_size=1, max_size=40), budget=st.integers(1, 10))
def test_batches_keep_submission_order_and_stay_within_max_batch_cost(costs: list[int], budget: int) -> None:
    """Only a batch of a single item may cost more than the maximum."""
    unblocked, batches = threading.Event(), []

    def run(items: list[int]) -> list[int]:
        batches.append(items)
        unblocked.wait()
        return [number * 10 for number in items]

    batcher: MicroBatcher[int, int] = MicroBatcher(
        run, name="budget", max_batch_cost=budget, max_queue_cost=10_000, cost=lambda number: costs[number]
    )
    futures = [batcher.submit(number) for number in range(len(costs))]
    unblocked.set()
    assert [future.wait() for future in futures] == [number * 10 for number in range(len(costs))]
    batcher.close()
    assert [number for batch in batches for number in batch] == list(range(len(costs)))
    for batch, following in zip(batches, [*batches[1:], None], strict=True):
        total = sum(costs[number] for number in batch)
        assert total <= budget or len(batch) == 1
        if following and batch is not batches[0]:  # the first batch takes what is there when its worker starts
            assert total + costs[following[0]] > budget


def test_exception_returned_as_a_result_reaches_only_its_caller(make_batcher: Any) -> None:
    """One failed item of a batch does not fail its neighbours."""

    def run(items: list[object]) -> list[object]:
        return [EmbeddingError("odd") if number == 1 else number for number in items]

    batcher = make_batcher(run)
    futures = [batcher.submit(number) for number in range(3)]
    assert (futures[0].wait(), futures[2].wait()) == (0, 2)
    with pytest.raises(EmbeddingError, match="odd"):
        futures[1].wait()


@pytest.mark.parametrize("failure", [EmbeddingError("broken"), KeyboardInterrupt(), SystemExit(1), MemoryError()])
def test_exception_raised_by_a_batch_reaches_all_its_callers_and_no_others(
    make_batcher: Any, failure: BaseException
) -> None:
    """The worker survives every kind of exception, and the next batch succeeds."""
    unblocked, entered = threading.Event(), threading.Event()

    def run(items: list[object]) -> list[object]:
        entered.set()
        unblocked.wait()
        if "bad" in items:
            raise failure
        return items

    batcher = make_batcher(run, max_batch_cost=2)
    first = batcher.submit("first")
    entered.wait()  # what follows is batched two by two
    failing = [batcher.submit(item) for item in ("bad", "neighbour")]
    served = [batcher.submit(item) for item in ("good", "good")]
    unblocked.set()
    for future in failing:
        with pytest.raises(type(failure)):
            future.wait()
    assert [future.wait() for future in [first, *served]] == ["first", "good", "good"]


@pytest.mark.parametrize("results", [[], [1], [1, 2, 3], None, 5])
def test_batch_with_a_wrong_number_of_results_fails_all_its_callers(make_batcher: Any, results: Any) -> None:
    """A caller gets an error, never the result of another caller."""
    unblocked, entered = threading.Event(), threading.Event()

    def run(items: list[object]) -> Any:
        entered.set()
        unblocked.wait()
        return results if "odd" in items else items

    batcher = make_batcher(run, max_batch_cost=2)
    first = batcher.submit("first")
    entered.wait()  # what follows is batched two by two
    odd = [batcher.submit(item) for item in ("odd", "neighbour")]
    served = [batcher.submit(item) for item in ("good", "better")]
    unblocked.set()
    for future in odd:
        with pytest.raises((RuntimeError, TypeError)):
            future.wait()
    assert [future.wait() for future in [first, *served]] == ["first", "good", "better"]


async def test_item_cancelled_before_its_batch_begins_is_not_run(blocked_run: Any, make_batcher: Any) -> None:
    """The items beside it in the queue still run."""
    batcher = make_batcher()
    first = batcher.submit("first")
    await asyncio.to_thread(blocked_run.entered.acquire)
    tasks = [asyncio.ensure_future(_await(batcher.submit(number))) for number in range(4)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    tasks[2].cancel()
    await asyncio.wait(tasks[1:3])
    blocked_run.unblock()
    assert await first == "first"
    assert [await tasks[0], await tasks[3]] == [0, 3]
    assert blocked_run.batches == [["first"], [0, 3]]


async def test_cancelling_one_caller_of_a_running_batch_leaves_the_others_served(
    blocked_run: Any, make_batcher: Any
) -> None:
    """The cancelled caller ends at once; the others get their results."""
    batcher = make_batcher()
    first = batcher.submit("first")
    await asyncio.to_thread(blocked_run.entered.acquire)
    tasks = [asyncio.ensure_future(_await(batcher.submit(number))) for number in range(3)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[1]
    blocked_run.unblock()
    assert (await first, await tasks[0], await tasks[2]) == ("first", 0, 2)


def test_submit_raises_overloaded_with_retry_after_when_the_queue_is_full(blocked_run: Any, make_batcher: Any) -> None:
    """The refused item is not queued, and the accepted items run."""
    batcher = make_batcher(max_queue_cost=3)
    running = batcher.submit("running")
    blocked_run.entered.acquire()
    queued = [batcher.submit(number) for number in range(3)]
    with pytest.raises(OverloadedError, match="test batcher") as caught:
        batcher.submit("too many")
    assert 0 < caught.value.retry_after_s <= 60
    assert caught.value.retryable
    assert batcher.queued_cost == 3
    blocked_run.unblock()
    assert [future.wait() for future in [running, *queued]] == ["running", 0, 1, 2]
    assert blocked_run.batches == [["running"], [0, 1, 2]]


def test_retry_after_follows_the_measured_speed(
    blocked_run: Any, make_batcher: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait is queued cost times seconds per unit over workers, between 0.1 seconds and a minute."""
    now_s = 0.0
    monkeypatch.setattr(batcher_module, "time", SimpleNamespace(monotonic=lambda: now_s))
    for seconds_per_unit, queued_cost, expected_s in [(2.0, 10, 10.0), (2.0, 10_000, 60.0), (0.01, 10, 0.1)]:

        def run(items: list[Any], run_s: float = seconds_per_unit) -> Any:
            nonlocal now_s
            if items[0][0] == "timed":
                now_s += run_s
                return items
            return blocked_run.run(items)

        batcher = make_batcher(run, max_batch_cost=1, max_queue_cost=queued_cost, cost=lambda item: item[1], workers=2)
        batcher.submit(("timed", 1)).wait()
        for _ in range(2):  # once both workers run these, the speed of the timed batch is recorded
            batcher.submit(("blocked", 1))
            blocked_run.entered.acquire()
        batcher.submit(("queued", queued_cost))
        with pytest.raises(OverloadedError) as caught:
            batcher.submit(("refused", 1))
        assert caught.value.retry_after_s == expected_s


def test_submit_drops_cancelled_items_when_the_queue_is_full(blocked_run: Any, make_batcher: Any) -> None:
    """A queue full of cancelled items refuses no new item."""
    batcher = make_batcher(max_queue_cost=3)
    running = batcher.submit("running")
    blocked_run.entered.acquire()
    for number in range(3):
        batcher.submit(number).cancel()
    late = batcher.submit("late")
    assert batcher.queued_cost == 1
    blocked_run.unblock()
    assert (running.wait(), late.wait()) == ("running", "late")
    assert blocked_run.batches == [["running"], ["late"]]


def test_submit_accepts_an_oversized_item_when_the_queue_is_empty(make_batcher: Any) -> None:
    """An item that costs more than the whole queue runs alone instead of being refused for ever."""
    batcher = make_batcher(lambda items: items, max_queue_cost=4, cost=lambda item: item)
    assert batcher.submit(100).wait() == 100


def test_item_runs_before_items_submitted_after_it(blocked_run: Any, make_batcher: Any) -> None:
    """A caller that submits many items does not starve another caller."""
    batcher = make_batcher(max_batch_cost=4)
    batcher.submit("running")
    blocked_run.entered.acquire()
    for number in range(4):
        batcher.submit(("many", number))
    single = batcher.submit("single")
    for number in range(4, 40):
        batcher.submit(("many", number))
    blocked_run.unblock()
    assert single.wait() == "single"
    assert "single" in blocked_run.batches[2]


def test_workers_run_as_many_calls_at_once_as_they_have_threads(workers: Workers) -> None:
    """Each of four calls waits at a barrier for the other three."""
    together = threading.Barrier(4)
    futures = [workers.submit(lambda: together.wait(timeout=10)) for _ in range(4)]
    assert sorted(future.wait() for future in futures) == [0, 1, 2, 3]


def test_idle_worker_thread_ends_and_later_work_starts_a_new_one(make_batcher: Any) -> None:
    """A batcher that is never closed leaves no thread behind, and still works afterwards."""
    threads: list[threading.Thread] = []

    def run(items: list[object]) -> list[object]:
        threads.append(threading.current_thread())
        return items

    batcher = make_batcher(run, idle_s=0.01)
    for number in range(3):
        assert batcher.submit(number).wait(timeout_s=10) == number
        threads[-1].join(timeout=10)
        assert not threads[-1].is_alive()
    assert len(set(threads)) == 3


def test_idle_worker_keeps_no_items_or_results_alive(make_batcher: Any) -> None:
    """Items and results can be freed between batches."""

    class Big:
        pass

    batcher = make_batcher(lambda items: [Big() for _ in items])
    item = Big()
    result = batcher.submit(item).wait()
    batcher.submit(Big()).wait()  # once this is done, the worker is past the first batch
    watched = [weakref.ref(item), weakref.ref(result)]
    del item, result
    gc.collect()
    assert [ref() for ref in watched] == [None, None]


def test_cancelled_item_is_freed_before_further_work_arrives(blocked_run: Any, make_batcher: Any) -> None:
    """The worker drops its references to a cancelled item at once."""

    class Big:
        pass

    batcher = make_batcher()
    batcher.submit("running")
    blocked_run.entered.acquire()
    item = Big()
    batcher.submit(item).cancel()
    freed = threading.Event()
    weakref.finalize(item, freed.set)
    del item
    blocked_run.unblock()
    assert freed.wait(10)


def test_submit_raises_overloaded_when_no_thread_can_be_started(
    make_batcher: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refused item does not stay queued, and a later call works."""
    batcher = make_batcher(lambda items: items)

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(OverloadedError, match="thread"):
            batcher.submit("refused")
    assert batcher.queued_cost == 0
    assert batcher.submit("served").wait(timeout_s=10) == "served"


def test_submit_succeeds_without_a_new_thread_when_another_worker_lives(
    blocked_run: Any, make_batcher: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The living worker serves the queue when a second one cannot be started."""
    batcher = make_batcher(workers=2)
    first = batcher.submit("first")
    blocked_run.entered.acquire()

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        second = batcher.submit("second")
    blocked_run.unblock()
    assert (first.wait(timeout_s=10), second.wait(timeout_s=10)) == ("first", "second")


def test_call_run_by_workers_may_submit_further_calls(workers: Workers) -> None:
    """The only thread must not wait for the further call itself."""
    inner: list[Future[str]] = []
    workers.submit(lambda: inner.append(workers.submit(lambda: "inner"))).wait()
    assert inner[0].wait() == "inner"


async def _await(future: Future[Any]) -> Any:
    return await future
