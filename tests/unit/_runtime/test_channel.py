"""Channels: items in order, bounded, and a producer that learns when its consumer has left."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from super_advanced_agents._runtime.channel import Channel
from super_advanced_agents._runtime.sync_bridge import blocking_iterator
from super_advanced_agents.errors import GenerationError


@given(count=st.integers(0, 60), capacity=st.integers(1, 8))
def test_every_item_arrives_once_and_in_order(count: int, capacity: int) -> None:
    """Whatever the capacity, the consumer sees what the producer put, then the end."""
    channel: Channel[int] = Channel(capacity)

    async def consume() -> list[int]:
        return [item async for item in channel.items()]

    producer = threading.Thread(target=_produce, args=(channel, count))
    producer.start()
    assert asyncio.run(consume()) == list(range(count))
    producer.join()


def test_a_blocking_consumer_gets_the_same_items() -> None:
    """The channel is consumed by a thread through the derived iterator."""

    class Source:
        async def aitems(self) -> AsyncGenerator[int, None]:
            channel: Channel[int] = Channel(2)
            producer = threading.Thread(target=_produce, args=(channel, 50))
            producer.start()
            async for item in channel.items():
                yield item
            producer.join()

        items = blocking_iterator(aitems)

    assert list(Source().items()) == list(range(50))


async def test_a_slow_consumer_holds_the_producer_back() -> None:
    """No more than `capacity` items wait; the next `put` blocks until one was taken."""
    channel: Channel[int] = Channel(3)
    put: list[int] = []
    third = threading.Event()

    def produce() -> None:
        for number in range(10):
            channel.put(number)
            put.append(number)
            if number == 2:
                third.set()
        channel.finish()

    producer = threading.Thread(target=produce)
    producer.start()
    await asyncio.to_thread(third.wait)
    async with aclosing(channel.items()) as items:
        async for item in items:
            assert len(put) <= item + 1 + 3  # what was taken, and what may wait
            assert len(channel._items) <= 3
    await asyncio.to_thread(producer.join)
    assert put == list(range(10))


async def test_an_error_comes_after_the_last_item() -> None:
    """Items already put are delivered before the producer's error is raised."""
    channel: Channel[str] = Channel(4)
    channel.put("a")
    channel.put("b")
    channel.finish(GenerationError("the model stopped"))
    items = channel.items()
    assert [await anext(items), await anext(items)] == ["a", "b"]
    with pytest.raises(GenerationError, match="the model stopped"):
        await anext(items)


async def test_the_first_finish_counts() -> None:
    """A second `finish`, with or without an error, changes nothing."""
    channel: Channel[int] = Channel(1)
    channel.finish()
    channel.finish(GenerationError("too late"))
    assert [item async for item in channel.items()] == []


async def test_finishing_wakes_a_consumer_that_waits() -> None:
    """A consumer asleep on an empty channel sees the end."""
    channel: Channel[int] = Channel(1)
    consumer = asyncio.ensure_future(_collected(channel))
    await asyncio.sleep(0)
    threading.Thread(target=channel.finish).start()
    assert await consumer == []


async def test_leaving_early_lets_a_blocked_producer_go() -> None:
    """Closing the consumer makes the `put` that waits return False, and every later one too."""
    channel: Channel[int] = Channel(1)
    answers: list[bool] = []
    full = threading.Event()

    def produce() -> None:
        for number in range(4):
            if number == 2:
                full.set()
            answers.append(channel.put(number))

    producer = threading.Thread(target=produce)
    async with aclosing(channel.items()) as items:
        producer.start()
        assert await anext(items) == 0
        await asyncio.to_thread(full.wait)
    await asyncio.to_thread(producer.join)
    assert channel.consumer_left
    assert answers[:2] == [True, True]
    assert answers[-1] is False


async def test_cancelling_a_waiting_consumer_leaves_the_channel() -> None:
    """Cancellation counts as leaving: the producer is told, and no task remains."""
    channel: Channel[int] = Channel(1)
    consumer = asyncio.ensure_future(_collected(channel))
    await asyncio.sleep(0)
    consumer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await consumer
    assert channel.consumer_left
    assert not await asyncio.to_thread(channel.put, 1)
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_a_producer_may_finish_after_the_consumer_left() -> None:
    """`finish` on an abandoned channel is harmless."""
    channel: Channel[int] = Channel(1)
    channel.leave()
    assert channel.put(1) is False
    channel.finish(GenerationError("nobody hears this"))


def _produce(channel: Channel[int], count: int) -> None:
    for number in range(count):
        if not channel.put(number):
            return
    channel.finish()


async def _collected(channel: Channel[int]) -> list[int]:
    return [item async for item in channel.items()]
