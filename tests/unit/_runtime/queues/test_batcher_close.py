"""Test closing a batcher: it accepts no more items, drains until a deadline and fails the rest."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from typing import Any

import pytest

from super_advanced_agents.errors import ResourceClosedError


def test_close_finishes_all_queued_items(blocked_run: Any, make_batcher: Any) -> None:
    """Each item accepted before `close` is done when it returns."""
    batcher = make_batcher(max_batch_cost=2)
    futures = [batcher.submit(number) for number in range(7)]
    blocked_run.unblock()
    batcher.close()
    assert all(future.done() for future in futures)
    assert [future.wait() for future in futures] == list(range(7))


def test_submit_raises_resource_closed_while_close_drains(blocked_run: Any, make_batcher: Any) -> None:
    """Items accepted before `close` still finish."""
    batcher = make_batcher()
    running = batcher.submit("running")
    blocked_run.entered.acquire()
    closing = threading.Thread(target=batcher.close)
    closing.start()
    while not batcher._closed:  # nothing public tells that `close` has begun, and `submit` would queue an item
        threading.Event().wait(0.001)
    with pytest.raises(ResourceClosedError, match="closed"):
        batcher.submit("late")
    assert not running.done()
    blocked_run.unblock()
    closing.join()
    assert running.wait() == "running"


def test_close_fails_unfinished_items_after_its_drain_deadline(blocked_run: Any, make_batcher: Any) -> None:
    """Their callers get ResourceClosedError, and a late result is dropped."""
    batcher = make_batcher()
    running = batcher.submit("running")
    blocked_run.entered.acquire()
    queued = [batcher.submit(number) for number in range(3)]
    batcher.close(drain_s=0.01)
    for future in [running, *queued]:
        with pytest.raises(ResourceClosedError, match="before this was done"):
            future.wait(timeout_s=10)
    assert batcher.queued_cost == 0
    blocked_run.unblock()
    for worker in _worker_threads():
        worker.join(timeout=10)
    with pytest.raises(ResourceClosedError):
        running.wait()
    assert blocked_run.batches == [["running"]]


def test_closing_a_batcher_twice_does_nothing(blocked_run: Any, make_batcher: Any) -> None:
    """`close` is idempotent."""
    batcher = make_batcher()
    blocked_run.unblock()
    assert batcher.submit(1).wait() == 1
    batcher.close()
    batcher.close()


def test_closing_an_unused_batcher_starts_no_thread(make_batcher: Any) -> None:
    """Only the first item starts a worker."""
    before = threading.active_count()
    make_batcher().close()
    assert threading.active_count() == before


def test_close_ends_idle_workers_at_once(make_batcher: Any) -> None:
    """`close` wakes idle workers instead of waiting for their idle time to pass."""
    batcher = make_batcher(lambda items: items, workers=3)
    for future in [batcher.submit(number) for number in range(9)]:
        future.wait()
    threads = _worker_threads()
    assert threads
    batcher.close(drain_s=5)
    assert not any(thread.is_alive() for thread in threads)


def test_batcher_closed_by_its_own_batch_does_not_deadlock(make_batcher: Any) -> None:
    """`close` does not wait for the worker that calls it; the batch's callers get ResourceClosedError."""
    batchers: list[Any] = []

    def run(items: list[object]) -> list[object]:
        batchers[0].close(drain_s=5)
        return items

    batchers.append(make_batcher(run))
    with pytest.raises(ResourceClosedError):
        batchers[0].submit("last").wait(timeout_s=10)


def test_submit_raises_in_a_forked_child_and_neither_process_hangs() -> None:
    """The batcher's threads do not exist in the child."""
    script = """
        import os, signal, threading, warnings
        warnings.simplefilter("ignore")
        from super_advanced_agents._runtime.queues.batcher import MicroBatcher
        from super_advanced_agents.errors import ResourceClosedError

        hold = threading.Event()
        run = lambda items: hold.wait() and items
        batcher = MicroBatcher(run, name="parent's", max_batch_cost=1, max_queue_cost=10)
        future = batcher.submit("parent")
        child = os.fork()
        if child == 0:
            signal.alarm(20)  # a child that hangs ends itself
            try:
                batcher.submit("child")
            except ResourceClosedError as exc:
                batcher.close(drain_s=60)
                os._exit(0 if "forked" in str(exc) else 2)
            os._exit(3)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        hold.set()
        assert future.wait() == "parent"
        batcher.close()
        print("child", code)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("child 0\n", "")


def _worker_threads() -> list[threading.Thread]:
    """Return the living threads of the test's batcher, which carry its name."""
    return [thread for thread in threading.enumerate() if thread.name == "test batcher"]
