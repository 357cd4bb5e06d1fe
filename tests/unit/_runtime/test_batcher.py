"""The micro-batcher: batches of what piled up, bounds, fairness, and every waiter settled whatever happens."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from super_advanced_agents._runtime import batcher as batcher_module
from super_advanced_agents._runtime.batcher import MicroBatcher, Workers
from super_advanced_agents._runtime.futures import Future
from super_advanced_agents.errors import EmbeddingError, OverloadedError


def test_an_idle_batcher_runs_the_first_item_at_once_and_alone(blocked_run: Any, make_batcher: Any) -> None:
    """The first item does not wait for company; what comes while it runs is the next batch, in order."""
    batcher = make_batcher()
    first = batcher.submit(0)
    blocked_run.entered.acquire()
    rest = [batcher.submit(number) for number in range(1, 6)]
    blocked_run.open()
    assert [future.wait() for future in [first, *rest]] == list(range(6))
    assert blocked_run.batches == [[0], [1, 2, 3, 4, 5]]


@given(costs=st.lists(st.integers(1, 12), min_size=1, max_size=40), budget=st.integers(1, 10))
def test_batches_keep_order_and_budget(costs: list[int], budget: int) -> None:
    """Items run first come first served; a batch exceeds its budget only when it is one item larger than that."""
    hold, batches = threading.Event(), []

    def run(items: list[int]) -> list[int]:
        batches.append(items)
        hold.wait()
        return [number * 10 for number in items]

    batcher: MicroBatcher[int, int] = MicroBatcher(
        run, name="budget", max_batch_cost=budget, max_queue_cost=10_000, cost=lambda number: costs[number]
    )
    futures = [batcher.submit(number) for number in range(len(costs))]
    hold.set()
    assert [future.wait() for future in futures] == [number * 10 for number in range(len(costs))]
    batcher.close()
    assert [number for batch in batches for number in batch] == list(range(len(costs)))
    for batch, following in zip(batches, [*batches[1:], None], strict=True):
        total = sum(costs[number] for number in batch)
        assert total <= budget or len(batch) == 1
        if following and batch is not batches[0]:  # the first batch takes what is there when its worker starts
            assert total + costs[following[0]] > budget


def test_an_exception_as_a_result_goes_to_that_caller_alone(make_batcher: Any) -> None:
    """One bad item of a batch does not fail its neighbours."""

    def run(items: list[object]) -> list[object]:
        return [EmbeddingError("odd") if number == 1 else number for number in items]

    batcher = make_batcher(run)
    futures = [batcher.submit(number) for number in range(3)]
    assert (futures[0].wait(), futures[2].wait()) == (0, 2)
    with pytest.raises(EmbeddingError, match="odd"):
        futures[1].wait()


@pytest.mark.parametrize("failure", [EmbeddingError("broken"), KeyboardInterrupt(), SystemExit(1), MemoryError()])
def test_a_failing_batch_fails_each_of_its_callers_and_no_other(make_batcher: Any, failure: BaseException) -> None:
    """Whatever a batch raises reaches all of its callers; the worker lives on and the next batch succeeds."""
    hold, entered = threading.Event(), threading.Event()

    def run(items: list[object]) -> list[object]:
        entered.set()
        hold.wait()
        if "bad" in items:
            raise failure
        return items

    batcher = make_batcher(run, max_batch_cost=2)
    first = batcher.submit("first")
    entered.wait()  # what follows is batched two by two
    doomed = [batcher.submit(item) for item in ("bad", "neighbour")]
    fine = [batcher.submit(item) for item in ("good", "good")]
    hold.set()
    for future in doomed:
        with pytest.raises(type(failure)):
            future.wait()
    assert [future.wait() for future in [first, *fine]] == ["first", "good", "good"]


@pytest.mark.parametrize("results", [[], [1], [1, 2, 3], None, 5])
def test_a_wrong_number_of_results_fails_the_batch_instead_of_mixing_callers(make_batcher: Any, results: Any) -> None:
    """Too few, too many or no results at all: an error to each caller, never another caller's result."""
    hold, entered = threading.Event(), threading.Event()

    def run(items: list[object]) -> Any:
        entered.set()
        hold.wait()
        return results if "odd" in items else items

    batcher = make_batcher(run, max_batch_cost=2)
    first = batcher.submit("first")
    entered.wait()  # what follows is batched two by two
    odd = [batcher.submit(item) for item in ("odd", "neighbour")]
    fine = [batcher.submit(item) for item in ("good", "better")]
    hold.set()
    for future in odd:
        with pytest.raises((RuntimeError, TypeError)):
            future.wait()
    assert [future.wait() for future in [first, *fine]] == ["first", "good", "better"]


async def test_an_item_cancelled_before_its_batch_begins_is_never_run(blocked_run: Any, make_batcher: Any) -> None:
    """The work of a caller that went away is dropped, and its neighbours' is done."""
    batcher = make_batcher()
    first = batcher.submit("first")
    await asyncio.to_thread(blocked_run.entered.acquire)
    tasks = [asyncio.ensure_future(_awaited(batcher.submit(number))) for number in range(4)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    tasks[2].cancel()
    await asyncio.wait(tasks[1:3])
    blocked_run.open()
    assert await first == "first"
    assert [await tasks[0], await tasks[3]] == [0, 3]
    assert blocked_run.batches == [["first"], [0, 3]]


async def test_a_caller_cancelled_while_its_batch_runs_disturbs_nobody(blocked_run: Any, make_batcher: Any) -> None:
    """Cancellation in the middle of a batch ends that caller at once; the others get their results."""
    batcher = make_batcher()
    first = batcher.submit("first")
    await asyncio.to_thread(blocked_run.entered.acquire)
    tasks = [asyncio.ensure_future(_awaited(batcher.submit(number))) for number in range(3)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[1]
    blocked_run.open()
    assert (await first, await tasks[0], await tasks[2]) == ("first", 0, 2)


def test_a_full_queue_refuses_with_a_time_to_come_back(blocked_run: Any, make_batcher: Any) -> None:
    """Past the bound `submit` raises OverloadedError with a positive estimate, and stores nothing."""
    batcher = make_batcher(max_queue_cost=3)
    running = batcher.submit("running")
    blocked_run.entered.acquire()
    queued = [batcher.submit(number) for number in range(3)]
    with pytest.raises(OverloadedError, match="test batcher") as caught:
        batcher.submit("too many")
    assert 0 < caught.value.retry_after_s <= 60
    assert caught.value.retryable
    assert batcher.queued_cost == 3
    blocked_run.open()
    assert [future.wait() for future in [running, *queued]] == ["running", 0, 1, 2]
    assert blocked_run.batches == [["running"], [0, 1, 2]]


def test_the_time_to_come_back_follows_the_speed_seen(
    blocked_run: Any, make_batcher: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten queued units at two seconds a unit and two workers are ten seconds; the estimate never passes a minute."""
    batcher = make_batcher(max_queue_cost=10, max_batch_cost=1)
    batcher._max_workers = 2
    batcher._seconds_per_cost = 2.0
    batcher._queued_cost = 10
    assert batcher._retry_after_s() == 10.0
    batcher._queued_cost = 10_000
    assert batcher._retry_after_s() == 60.0
    batcher._queued_cost = 0
    assert batcher._retry_after_s() == 0.1


def test_cancelled_items_make_room_in_a_full_queue(blocked_run: Any, make_batcher: Any) -> None:
    """A queue full of callers that went away refuses nobody."""
    batcher = make_batcher(max_queue_cost=3)
    running = batcher.submit("running")
    blocked_run.entered.acquire()
    for number in range(3):
        batcher.submit(number).cancel()
    late = batcher.submit("late")
    assert batcher.queued_cost == 1
    blocked_run.open()
    assert (running.wait(), late.wait()) == ("running", "late")
    assert blocked_run.batches == [["running"], ["late"]]


def test_an_item_larger_than_the_queue_is_taken_when_nothing_waits(make_batcher: Any) -> None:
    """One oversized item runs alone instead of being refused for ever."""
    batcher = make_batcher(lambda items: items, max_queue_cost=4, cost=lambda item: item)
    assert batcher.submit(100).wait() == 100


def test_a_greedy_caller_does_not_starve_a_modest_one(blocked_run: Any, make_batcher: Any) -> None:
    """First come, first served: an item runs before all that were queued after it."""
    batcher = make_batcher(max_batch_cost=4)
    batcher.submit("running")
    blocked_run.entered.acquire()
    for number in range(4):
        batcher.submit(("greedy", number))
    modest = batcher.submit("modest")
    for number in range(4, 40):
        batcher.submit(("greedy", number))
    blocked_run.open()
    assert modest.wait() == "modest"
    assert "modest" in blocked_run.batches[2]


def test_workers_run_side_by_side(workers: Workers) -> None:
    """As many pieces of blocking work run at once as there are threads."""
    together = threading.Barrier(4)
    futures = [workers.submit(lambda: together.wait(timeout=10)) for _ in range(4)]
    assert sorted(future.wait() for future in futures) == [0, 1, 2, 3]


def test_idle_threads_end_and_later_work_starts_new_ones(make_batcher: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batcher nobody closed leaves no thread behind, and still works afterwards."""
    monkeypatch.setattr(batcher_module, "_IDLE_S", 0.01)
    batcher = make_batcher(lambda items: items)
    seen: list[threading.Thread] = []
    for number in range(3):
        assert batcher.submit(number).wait() == number
        for thread in list(batcher._workers):
            seen.append(thread)
            thread.join(timeout=10)
        assert not batcher._workers
    assert len(seen) == 3
    assert not any(thread.is_alive() for thread in seen)


def test_an_idle_worker_holds_on_to_nobodys_data(make_batcher: Any) -> None:
    """Between batches, items and results can be freed."""

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


def test_an_idle_worker_does_not_hold_what_was_cancelled(blocked_run: Any, make_batcher: Any) -> None:
    """An item dropped because its caller left is freed at once, not when the next work comes."""

    class Big:
        pass

    batcher = make_batcher()
    batcher.submit("running")
    blocked_run.entered.acquire()
    item = Big()
    batcher.submit(item).cancel()
    watched = weakref.ref(item)
    del item
    blocked_run.open()
    while not batcher._idle:
        threading.Event().wait(0.001)
    gc.collect()
    assert watched() is None


def test_a_thread_that_cannot_be_started_refuses_the_call_and_nothing_hangs(
    make_batcher: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Out of threads is an overload of this call alone: nothing stays queued, and later calls work again."""
    batcher = make_batcher(lambda items: items)

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(OverloadedError, match="thread"):
            batcher.submit("refused")
    assert batcher.queued_cost == 0
    assert batcher.submit("served").wait(timeout_s=10) == "served"


def test_a_thread_that_cannot_be_started_is_done_without_when_another_works(
    blocked_run: Any, make_batcher: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one worker lives, its queue is served even if a second cannot be started."""
    batcher = make_batcher(workers=2)
    first = batcher.submit("first")
    blocked_run.entered.acquire()

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        second = batcher.submit("second")
    blocked_run.open()
    assert (first.wait(timeout_s=10), second.wait(timeout_s=10)) == ("first", "second")


def test_work_submitted_from_inside_a_batch_is_served(workers: Workers) -> None:
    """A worker may queue more work; it only must not wait for it on the last thread."""
    inner: list[Future[str]] = []
    workers.submit(lambda: inner.append(workers.submit(lambda: "inner"))).wait()
    assert inner[0].wait() == "inner"


async def _awaited(future: Future[Any]) -> Any:
    return await future
