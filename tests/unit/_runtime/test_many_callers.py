"""Many callers at once, of every kind, some of them leaving: each gets its own result, and nothing stays behind."""

from __future__ import annotations

import asyncio
import random
import threading
import weakref
from typing import Any

import pytest

from super_advanced_agents._runtime.batcher import MicroBatcher, Workers
from super_advanced_agents._runtime.futures import Future
from super_advanced_agents._runtime.sync_bridge import blocking
from super_advanced_agents.errors import OverloadedError


class Tagger:
    """Answers each tag with itself, in batches; some tags fail, alone or with their batch."""

    def __init__(self, batcher: MicroBatcher[Any, Any]) -> None:
        self._batcher = batcher

    async def atag(self, tag: object) -> object:
        """Two batches one after the other, as an operation that embeds and then searches."""
        first = await self._batcher.submit(("first", tag))
        return (await self._batcher.submit(("second", first[1])))[1]

    tag = blocking(atag)


@pytest.fixture
def tagger(make_batcher: Any) -> Tagger:
    """Three workers, batches of up to 32."""
    return Tagger(make_batcher(list, max_batch_cost=32, max_queue_cost=100_000, workers=3))


async def test_5000_awaits_cancelled_at_random_moments_leave_nothing_and_disturb_nobody(
    tagger: Tagger, campaign: int
) -> None:
    """Among 10,000 tagged calls half are cancelled somewhere on their way; the others all get their own tag back."""
    rng = random.Random(20)
    for _ in range(campaign):
        threads_before = threading.active_count()
        futures = {tag: asyncio.ensure_future(tagger.atag(tag)) for tag in range(10_000)}
        doomed = rng.sample(range(10_000), 5_000)
        for tag in doomed:
            if rng.random() < 0.2:
                await asyncio.sleep(0)  # let batches come back in between
            futures[tag].cancel()
        outcomes = await asyncio.gather(*futures.values(), return_exceptions=True)
        cancelled = 0
        for tag, outcome in enumerate(outcomes):
            if isinstance(outcome, asyncio.CancelledError):
                cancelled += 1
                assert tag in futures
                assert futures[tag].cancelled()
            else:
                assert outcome == tag
        assert cancelled <= 5_000
        assert {tag for tag, future in futures.items() if future.cancelled()} <= set(doomed)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert await tagger.atag("last") == "last"  # the queue is served first come first served: it is empty now
        assert tagger._batcher.queued_cost == 0
        assert not tagger._batcher._queue
        assert threading.active_count() <= threads_before + 3


async def test_a_settled_call_keeps_no_ticket_alive(tagger: Tagger) -> None:
    """After cancellations and results alike, futures are freed without the cyclic collector having to find them."""
    futures: list[Any] = []
    submit = tagger._batcher.submit

    class Watched:
        """Something weakly referenceable in each item."""

    def watched_submit(item: object) -> Future[Any]:
        mark = Watched()
        futures.append(weakref.ref(mark))
        return submit((mark, item))

    calls = [asyncio.ensure_future(_awaited(watched_submit(number))) for number in range(500)]
    await asyncio.sleep(0)
    for call in calls[::2]:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    del calls, call
    for _ in range(3):  # each worker has gone through a further batch
        await asyncio.gather(*[tagger.atag(number) for number in range(200)])
    assert sum(ref() is not None for ref in futures) == 0


def test_threads_and_several_event_loops_share_one_batcher(tagger: Tagger, campaign: int) -> None:
    """Four loops with 50 tasks each and eight threads in blocking twins, all at once: no foreign result."""
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

    crowd = [threading.Thread(target=asyncio.run, args=(loop(f"loop {n}"),)) for n in range(4)]
    crowd += [threading.Thread(target=thread, args=(f"thread {n}",)) for n in range(8)]
    for member in crowd:
        member.start()
    for member in crowd:
        member.join()
    assert [tag for tag, answer in answers if answer != tag] == []
    assert len({tag for tag, _ in answers}) == len(answers) == (4 * 500 + 8 * 100) * campaign


async def test_ten_times_too_many_callers_are_refused_at_once_and_the_rest_are_served(
    blocked_run: Any, make_batcher: Any
) -> None:
    """A bounded queue under a burst: what is accepted is answered, what is refused is told when to come back."""
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
    blocked_run.open()
    assert await running == "running"
    assert [await future for _, future in accepted] == [number for number, _ in accepted]
    assert batcher.submit("after the burst") is not None


async def test_closing_in_the_middle_of_a_crowd_settles_everybody(workers: Workers) -> None:
    """Callers accepted before the close get their results, later ones ResourceClosedError; nobody waits for ever."""
    futures = [workers.submit(lambda value=number: value) for number in range(2_000)]  # type: ignore[misc]
    waiting = [asyncio.ensure_future(_awaited(future)) for future in futures]
    await asyncio.sleep(0)
    await asyncio.to_thread(workers.close)
    assert await asyncio.gather(*waiting) == list(range(2_000))


@pytest.mark.load
async def test_memory_stays_level_over_half_a_million_calls(tagger: Tagger) -> None:
    """A long run of calls and cancellations grows neither the queue nor the process."""
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


async def _awaited(future: Future[Any]) -> Any:
    return await future
