"""Test the shared event loop: it runs while somebody holds it, and work ends when its caller cancels."""

from __future__ import annotations

import asyncio
import threading

import pytest

from super_advanced_agents._runtime.concurrency import loop_thread
from super_advanced_agents._runtime.concurrency.sync_bridge import run_sync
from super_advanced_agents.errors import InvalidInputError, ResourceClosedError


@pytest.fixture
def loop():
    """Hold the process's shared event loop for the test."""
    yield loop_thread.acquire_loop()
    loop_thread.release_loop()


async def _return_later(value):
    await asyncio.sleep(0)
    return value


async def _run_until_cancelled(begun, ended):
    begun.set()
    try:
        await asyncio.Event().wait()
    finally:
        ended.set()


def test_thread_gets_the_result_of_a_submitted_coroutine(loop):
    """The thread waits for the future, or drives a coroutine that awaits it."""

    async def operation():
        return await loop.submit(lambda: _return_later(2))

    assert loop.submit(lambda: _return_later(1)).wait(10) == 1
    assert run_sync(operation()) == 2


async def test_event_loop_gets_the_results_of_coroutines_in_the_shared_loop():
    """The caller's loop awaits the futures while the shared loop runs the work."""
    from super_advanced_agents._runtime.concurrency.futures import in_thread

    loop = await in_thread(loop_thread.acquire_loop, name="acquire")
    try:
        assert await asyncio.gather(*(loop.submit(lambda i=i: _return_later(i)) for i in range(50))) == list(range(50))
    finally:
        await in_thread(loop_thread.release_loop, name="release")


def test_exception_of_a_submitted_coroutine_reaches_the_caller(loop):
    """The exception is not changed."""

    async def fail():
        raise InvalidInputError("broken", field="x")

    with pytest.raises(InvalidInputError, match="broken"):
        loop.submit(fail).wait(10)


def test_cancelling_the_future_cancels_the_submitted_coroutine(loop):
    """Cancelling again does nothing."""
    begun, ended = threading.Event(), threading.Event()
    future = loop.submit(lambda: _run_until_cancelled(begun, ended))
    assert begun.wait(10)
    future.cancel()
    future.cancel()
    assert ended.wait(10)


def test_coroutine_cancelled_before_it_begins_is_never_created(loop):
    """The shared loop was busy when the future was cancelled."""
    blocked, unblocked, created = threading.Event(), threading.Event(), []

    async def block():
        blocked.set()
        unblocked.wait(10)  # blocks the loop, so that the next coroutine waits

    first = loop.submit(block)
    assert blocked.wait(10)
    second = loop.submit(lambda: created.append(1) or _return_later(1))
    second.cancel()
    unblocked.set()
    first.wait(10)
    loop.submit(lambda: _return_later(1)).wait(10)
    assert created == []


def test_call_later_calls_the_callback_unless_cancelled(loop):
    """A callback cancelled before its time is not called."""
    done = threading.Event()
    loop.call_later(3_600, lambda: pytest.fail("too early")).cancel()
    loop.call_later(0, done.set).wait(10)
    assert done.is_set()


def test_shared_loop_ends_when_its_last_holder_releases_it():
    """Running work is cancelled with ResourceClosedError, and the next holder starts a new loop."""
    first, second = loop_thread.acquire_loop(), loop_thread.acquire_loop()
    assert first == second
    begun, ended = threading.Event(), threading.Event()
    future = first.submit(lambda: _run_until_cancelled(begun, ended))
    assert begun.wait(10)
    loop_thread.release_loop()
    assert not ended.is_set()
    loop_thread.release_loop()
    assert ended.is_set()
    with pytest.raises(ResourceClosedError):
        future.wait(10)
    with pytest.raises(ResourceClosedError):
        first.submit(lambda: _return_later(1))
    third = loop_thread.acquire_loop()
    assert third != first
    assert third.submit(lambda: _return_later(3)).wait(10) == 3
    loop_thread.release_loop()
