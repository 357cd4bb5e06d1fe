"""Test batchers with many concurrent callers, of which some are cancelled."""

from __future__ import annotations

import asyncio
import random
import threading
import weakref
from typing import Any

import pytest

from super_advanced_agents._runtime.concurrency.futures import Future
from super_advanced_agents._runtime.concurrency.sync_bridge import blocking
from super_advanced_agents._runtime.queues.batcher import MicroBatcher, Workers
from super_advanced_agents.errors import OverloadedError


class Tagger:
    """Return each tag unchanged after two batches."""

    def __init__(self, batcher: MicroBatcher[Any, Any]) -> None:
        self.batcher = batcher

    async def atag(self, tag: object) -> object:
        """Await two batches one after the other, like an operation that embeds and then searches."""
        first = await self.batcher.submit(("first", tag))
        return (await self.batcher.submit(("second", first[1])))[1]

    tag = blocking(atag)


@pytest.fixture
def tagger(make_batcher: Any) -> Tagger:
    """Make a tagger on three workers with batches of up to 32."""
    return Tagger(make_batcher(list, max_batch_cost=32, max_queue_cost=100_000, workers=3))


async def test_batcher_serves_the_other_calls_when_half_are_cancelled_at_random(tagger: Tagger, campaign: int) -> None:
    """Each other call gets its own tag, and no task, thread or queued item is left."""
    rng = random.Random(20)
    for _ in range(campaign):
        threads_before = threading.active_count()
        calls = {tag: asyncio.ensure_future(tagger.atag(tag)) for tag in range(10_000)}
        to_cancel = rng.sample(range(10_000), 5_000)
        for tag in to_cancel:
            if rng.random() < 0.2:
                await asyncio.sleep(0)  # let batches come back in between
            calls[tag].cancel()
        outcomes = await asyncio.gather(*calls.values(), return_exceptions=True)
        cancelled = 0
        for tag, outcome in enumerate(outcomes):
            if isinstance(outcome, asyncio.CancelledError):
                cancelled += 1
                assert tag in calls
                assert calls[tag].cancelled()
            else:
                assert outcome == tag
        assert cancelled <= 5_000
        assert {tag for tag, call in calls.items() if call.cancelled()} <= set(to_cancel)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert await tagger.atag("last") == "last"  # the queue is served first come first served: it is empty now
        assert tagger.batcher.queued_cost == 0
        assert not tagger.batcher._queue  # private: a cancelled item that stays queued would cost nothing
        assert threading.active_count() <= threads_before + 3


async def test_items_of_finished_and_cancelled_calls_are_freed(tagger: Tagger) -> None:
    """The cyclic garbage collector does not have to find them."""
    watched: list[weakref.ref[Watched]] = []
    submit = tagger.batcher.submit

    class Watched:
        """An object that a weak reference can watch."""

    def watched_submit(item: object) -> Future[Any]:
        mark = Watched()
        watched.append(weakref.ref(mark))
        return submit((mark, item))

    calls = [asyncio.ensure_future(_await(watched_submit(number))) for number in range(500)]
    await asyncio.sleep(0)
    for call in calls[::2]:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    del calls, call
    for _ in range(3):  # each worker has gone through a further batch
        await asyncio.gather(*[tagger.atag(number) for number in range(200)])
    assert sum(ref() is not None for ref in watched) == 0


def test_threads_and_event_loops_share_a_batcher_without_mixing_results(tagger: Tagger, campaign: int) -> None:
    """Four loops with 50 tasks each and eight threads with blocking calls run at once."""
    answers: list[tuple[object, object]] = []  # (tag asked with, answer)

    async def task(name: str, caller: int) -> None:
        for number in range(10 * campaign):
            tag = (name, caller, number)
            answers.append((tag, await tagger.atag(tag)))

    async def loop(name: str) -> None:
        await asyncio.gather(*[task(name, caller) for caller in range(50)])

    def thread(name: str) -> None:
        for number in range(100 * campaign):
            answers.append(((name, number), tagger.tag((name, number))))

    callers = [threading.Thread(target=asyncio.run, args=(loop(f"loop {n}"),)) for n in range(4)]
    callers += [threading.Thread(target=thread, args=(f"thread {n}",)) for n in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert [tag for tag, answer in answers if answer != tag] == []
    assert len({tag for tag, _ in answers}) == len(answers) == (4 * 500 + 8 * 100) * campaign


async def test_batcher_refuses_a_burst_beyond_its_queue_and_serves_the_rest(
    blocked_run: Any, make_batcher: Any
) -> None:
    """Refused callers get a positive `retry_after_s`."""
    batcher = make_batcher(max_queue_cost=100, max_batch_cost=10)
    running = batcher.submit("running")
    await asyncio.to_thread(blocked_run.entered.acquire)
    accepted: list[tuple[int, Future[object]]] = []
    refused: list[float] = []
    for number in range(1_000):
        try:
            accepted.append((number, batcher.submit(number)))
        except OverloadedError as exc:
            refused.append(exc.retry_after_s)
    assert (len(accepted), len(refused)) == (100, 900)
    assert min(refused) > 0
    blocked_run.unblock()
    assert await running == "running"
    assert [await future for _, future in accepted] == [number for number, _ in accepted]
    assert batcher.submit("after the burst") is not None


async def test_close_of_workers_finishes_every_accepted_call(workers: Workers) -> None:
    """No accepted caller waits for ever."""
    futures = [workers.submit(lambda value=number: value) for number in range(2_000)]  # type: ignore[misc]
    waiting = [asyncio.ensure_future(_await(future)) for future in futures]
    await asyncio.sleep(0)
    await asyncio.to_thread(workers.close)
    assert await asyncio.gather(*waiting) == list(range(2_000))


@pytest.mark.load
async def test_memory_of_a_batcher_stays_level_over_half_a_million_calls(tagger: Tagger) -> None:
    """Neither calls nor cancellations grow the queue or the process."""
    import psutil

    process = psutil.Process()
    levels = []
    for _ in range(10):
        for _ in range(100):
            calls = [asyncio.ensure_future(tagger.atag(number)) for number in range(500)]
            await asyncio.sleep(0)
            for call in calls[::3]:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
        levels.append(process.memory_info().rss)
    assert max(levels[5:]) < levels[2] + 32 * 2**20


async def _await(future: Future[Any]) -> Any:
    return await future
