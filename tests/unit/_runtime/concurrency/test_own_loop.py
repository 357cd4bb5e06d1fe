"""Test the blocking forms of operations that need an event loop."""

from __future__ import annotations

import asyncio
import signal
import threading

import pytest

from super_advanced_agents._runtime.concurrency.futures import in_thread
from super_advanced_agents._runtime.concurrency.own_loop import blocking_in_own_loop, run_in_own_loop
from super_advanced_agents._runtime.concurrency.sync_bridge import run_sync


class TaskAndFuture:
    """Await a task and a future, which `sync_bridge.blocking` cannot."""

    async def averb(self, text: str, *, fails: bool = False) -> str:
        """Return the text with the future's result."""
        if fails:
            raise KeyError(text)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(asyncio.sleep(0, text))
        return task.result() + await in_thread(lambda: "!", name="future")

    verb = blocking_in_own_loop(averb)


def test_blocking_in_own_loop_runs_tasks_and_futures():
    """Errors are raised unchanged."""
    assert TaskAndFuture().verb("yes") == "yes!"
    with pytest.raises(KeyError, match="no"):
        TaskAndFuture().verb("no", fails=True)


@pytest.mark.blocks_loop
async def test_blocking_in_own_loop_works_inside_a_running_loop():
    """The operation runs in a thread beside that loop."""
    assert TaskAndFuture().verb("yes") == "yes!"
    with pytest.raises(KeyError, match="no"):
        TaskAndFuture().verb("no", fails=True)


def test_blocking_in_own_loop_works_inside_an_operation_of_run_sync():
    """The outer operation awaits its futures afterwards as before."""

    async def outer() -> str:
        return TaskAndFuture().verb("a") + await in_thread(lambda: "b", name="future")

    assert run_sync(outer()) == "a!b"


def test_run_in_own_loop_keeps_the_event_loop_set_for_the_thread():
    """Another library may have set it."""
    loop = asyncio.new_event_loop()
    try:
        asyncio.set_event_loop(loop)
        run_in_own_loop(asyncio.sleep(0))
        assert asyncio.get_event_loop_policy().get_event_loop() is loop
    finally:
        asyncio.set_event_loop(None)
        loop.close()


def test_interruption_of_run_in_own_loop_cancels_the_operation():
    """KeyboardInterrupt is raised after the operation has ended."""
    ended = threading.Event()

    async def operation() -> None:
        try:
            asyncio.get_running_loop().call_soon(_interrupt)
            await asyncio.Event().wait()
        finally:
            ended.set()

    def _interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_in_own_loop(operation())
    assert ended.is_set()


@pytest.mark.blocks_loop
def test_ctrl_c_beside_a_running_loop_cancels_the_operation_in_its_own_loop():
    """As in a notebook, KeyboardInterrupt is raised in the waiting thread after the operation has ended."""
    ended, main = threading.Event(), threading.main_thread().ident
    assert main is not None

    async def operation() -> None:
        try:
            signal.pthread_kill(main, signal.SIGINT)
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def cell() -> None:
        with pytest.raises(KeyboardInterrupt):
            run_in_own_loop(operation())

    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(cell())
    finally:
        loop.close()
    assert ended.is_set()
