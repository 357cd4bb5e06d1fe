"""Test channels: order, capacity, errors, and that a producer learns when its consumer has left."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from super_advanced_agents._runtime.concurrency.sync_bridge import blocking_iterator
from super_advanced_agents._runtime.queues.channel import Channel
from super_advanced_agents.errors import GenerationError


@given(count=st.integers(0, 60), capacity=st.integers(1, 8))
def test_channel_delivers_each_item_once_and_in_order(count: int, capacity: int) -> None:
    """This holds for every capacity."""
    channel: Channel[int] = Channel(capacity)

    async def consume() -> list[int]:
        return [item async for item in channel.items()]

    producer = threading.Thread(target=_produce, args=(channel, count))
    producer.start()
    assert asyncio.run(consume()) == list(range(count))
    producer.join()


def test_channel_can_be_consumed_by_a_blocking_iterator() -> None:
    """A thread consumes the channel through the derived blocking generator."""

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


async def test_put_blocks_while_the_channel_is_full() -> None:
    """At most `capacity` items wait; the next `put` blocks until one is taken."""
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
            assert len(channel._items) <= 3  # private: `put` alone would not show an item buffered too many
    await asyncio.to_thread(producer.join)
    assert put == list(range(10))


async def test_channel_raises_the_producers_error_after_the_last_item() -> None:
    """Items already put are delivered first."""
    channel: Channel[str] = Channel(4)
    channel.put("a")
    channel.put("b")
    channel.finish(GenerationError("the model stopped"))
    items = channel.items()
    assert [await anext(items), await anext(items)] == ["a", "b"]
    with pytest.raises(GenerationError, match="the model stopped"):
        await anext(items)


async def test_second_finish_of_a_channel_changes_nothing() -> None:
    """The error of the second `finish` is dropped."""
    channel: Channel[int] = Channel(1)
    channel.finish()
    channel.finish(GenerationError("too late"))
    assert [item async for item in channel.items()] == []


async def test_finish_wakes_a_waiting_consumer() -> None:
    """A consumer of an empty channel sees the end."""
    channel: Channel[int] = Channel(1)
    consumer = asyncio.ensure_future(_collect(channel))
    await asyncio.sleep(0)
    threading.Thread(target=channel.finish).start()
    assert await consumer == []


async def test_put_returns_false_once_the_consumer_has_left() -> None:
    """Both the `put` that blocks and each later one return False."""
    channel: Channel[int] = Channel(1)
    put_results: list[bool] = []
    full = threading.Event()

    def produce() -> None:
        for number in range(4):
            if number == 2:
                full.set()
            put_results.append(channel.put(number))

    producer = threading.Thread(target=produce)
    async with aclosing(channel.items()) as items:
        producer.start()
        assert await anext(items) == 0
        await asyncio.to_thread(full.wait)
    await asyncio.to_thread(producer.join)
    assert put_results[:2] == [True, True]
    assert put_results[-1] is False


async def test_cancelling_a_waiting_consumer_leaves_the_channel() -> None:
    """Later calls of `put` return False, and no task remains."""
    channel: Channel[int] = Channel(1)
    consumer = asyncio.ensure_future(_collect(channel))
    await asyncio.sleep(0)
    consumer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await consumer
    assert not await asyncio.to_thread(channel.put, 1)
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_finish_does_nothing_after_the_consumer_has_left() -> None:
    """Its error is dropped."""
    channel: Channel[int] = Channel(1)
    channel.leave()
    assert channel.put(1) is False
    channel.finish(GenerationError("nobody hears this"))


def _produce(channel: Channel[int], count: int) -> None:
    for number in range(count):
        if not channel.put(number):
            return
    channel.finish()


async def _collect(channel: Channel[int]) -> list[int]:
    return [item async for item in channel.items()]
