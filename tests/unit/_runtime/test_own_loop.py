"""Blocking twins of operations that need an event loop."""

from __future__ import annotations

import asyncio
import signal
import threading

import pytest

from super_advanced_agents._runtime.futures import in_thread
from super_advanced_agents._runtime.own_loop import blocking_in_own_loop, run_in_own_loop
from super_advanced_agents._runtime.sync_bridge import run_sync


class Both:
    """Waits for a task and for a future, which `twins.blocking` cannot."""

    async def averb(self, text: str, *, fails: bool = False) -> str:
        """Both at once."""
        if fails:
            raise KeyError(text)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(asyncio.sleep(0, text))
        return task.result() + await in_thread(lambda: "!", name="future")

    verb = blocking_in_own_loop(averb)


def test_the_twin_runs_tasks_and_future():
    """In this thread, leaving none behind; its errors come out as they are."""
    assert Both().verb("yes") == "yes!"
    with pytest.raises(KeyError, match="no"):
        Both().verb("no", fails=True)


@pytest.mark.blocks_loop
async def test_the_twin_works_inside_a_running_loop():
    """Beside it, in a thread."""
    assert Both().verb("yes") == "yes!"
    with pytest.raises(KeyError, match="no"):
        Both().verb("no", fails=True)


def test_the_twin_works_inside_an_operation_that_a_thread_drives():
    """Whose futures are waited for in another way; that way holds again afterwards."""

    async def outer() -> str:
        return Both().verb("a") + await in_thread(lambda: "b", name="future")

    assert run_sync(outer()) == "a!b"


def test_the_threads_own_event_loop_stays_as_it_is():
    """What another library has set is still there."""
    loop = asyncio.new_event_loop()
    try:
        asyncio.set_event_loop(loop)
        run_in_own_loop(asyncio.sleep(0))
        assert asyncio.get_event_loop_policy().get_event_loop() is loop
    finally:
        asyncio.set_event_loop(None)
        loop.close()


def test_an_interruption_cancels_the_operation():
    """What was raised is raised here, after the operation has ended."""
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
def test_ctrl_c_beside_a_running_loop_cancels_the_operation():
    """As in a notebook: the interruption comes to the thread that waits, and is raised there once it has ended."""
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
