"""A loop that clients share: there while somebody holds it, and work that ends with its caller."""

from __future__ import annotations

import asyncio
import threading

import pytest

from super_advanced_agents._runtime import loop_thread
from super_advanced_agents._runtime.sync_bridge import run_sync
from super_advanced_agents.errors import InvalidInputError, ResourceClosedError


@pytest.fixture
def loop():
    """The process's loop, held for the test."""
    yield loop_thread.acquire_loop()
    loop_thread.release_loop()


async def _give(value):
    await asyncio.sleep(0)
    return value


async def _for_ever(begun, ended):
    begun.set()
    try:
        await asyncio.Event().wait()
    finally:
        ended.set()


def test_a_thread_gets_the_result(loop):
    """Waiting for the future, or driving a coroutine that awaits it."""

    async def operation():
        return await loop.submit(lambda: _give(2))

    assert loop.submit(lambda: _give(1)).wait(10) == 1
    assert run_sync(operation()) == 2


async def test_another_loop_gets_the_result():
    """Awaiting the future there; the work runs here."""
    from super_advanced_agents._runtime.futures import in_thread

    loop = await in_thread(loop_thread.acquire_loop, name="hold")
    try:
        assert await asyncio.gather(*(loop.submit(lambda i=i: _give(i)) for i in range(50))) == list(range(50))
    finally:
        await in_thread(loop_thread.release_loop, name="let go")


def test_errors_come_back(loop):
    """As they are."""

    async def set_exception():
        raise InvalidInputError("broken", field="x")

    with pytest.raises(InvalidInputError, match="broken"):
        loop.submit(set_exception).wait(10)


def test_a_cancelled_ticket_cancels_the_work(loop):
    """Down to what it awaits; cancelling again does nothing."""
    begun, ended = threading.Event(), threading.Event()
    future = loop.submit(lambda: _for_ever(begun, ended))
    assert begun.wait(10)
    future.cancel()
    future.cancel()
    assert ended.wait(10)


def test_work_cancelled_before_it_began_never_begins(loop):
    """Its coroutine is not even made."""
    blocked, made = threading.Event(), []

    async def block():
        blocked.wait(10)  # holds the loop, so that what follows waits

    first = loop.submit(block)
    second = loop.submit(lambda: made.append(1) or _give(1))
    second.cancel()
    blocked.set()
    first.wait(10)
    loop.submit(lambda: _give(1)).wait(10)
    assert made == []


def test_something_can_be_done_later_or_not_at_all(loop):
    """Cancelled before its time, it is not done."""
    done = threading.Event()
    loop.call_later(3_600, lambda: pytest.set_exception("too early")).cancel()
    loop.call_later(0, done.set).wait(10)
    assert done.is_set()


def test_the_loop_ends_with_its_last_holder():
    """One for all who hold it; what still runs is cancelled and its caller told; then there is a new one."""
    first, second = loop_thread.acquire_loop(), loop_thread.acquire_loop()
    assert first == second
    begun, ended = threading.Event(), threading.Event()
    future = first.submit(lambda: _for_ever(begun, ended))
    assert begun.wait(10)
    loop_thread.release_loop()
    assert not ended.is_set()
    loop_thread.release_loop()
    assert ended.is_set()
    with pytest.raises(ResourceClosedError):
        future.wait(10)
    with pytest.raises(ResourceClosedError):
        first.submit(lambda: _give(1))
    third = loop_thread.acquire_loop()
    assert third != first
    assert third.submit(lambda: _give(3)).wait(10) == 3
    loop_thread.release_loop()
