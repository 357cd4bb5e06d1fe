"""Closing a batcher: intake stops, what is queued is drained until a deadline, and nobody is left waiting."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from typing import Any

import pytest

from super_advanced_agents.errors import ResourceClosedError


def test_close_finishes_what_is_queued(blocked_run: Any, make_batcher: Any) -> None:
    """Everything accepted before `close` is done when it returns."""
    batcher = make_batcher(max_batch_cost=2)
    futures = [batcher.submit(number) for number in range(7)]
    blocked_run.open()
    batcher.close()
    assert all(future.done() for future in futures)
    assert [future.wait() for future in futures] == list(range(7))


def test_close_refuses_new_work_while_it_drains(blocked_run: Any, make_batcher: Any) -> None:
    """From the moment `close` begins, `submit` raises ResourceClosedError."""
    batcher = make_batcher()
    running = batcher.submit("running")
    blocked_run.entered.acquire()
    closing = threading.Thread(target=batcher.close)
    closing.start()
    while not batcher._closed:
        threading.Event().wait(0.001)
    with pytest.raises(ResourceClosedError, match="closed"):
        batcher.submit("late")
    assert not running.done()
    blocked_run.open()
    closing.join()
    assert running.wait() == "running"


def test_past_the_drain_deadline_every_waiter_fails(blocked_run: Any, make_batcher: Any) -> None:
    """What still runs or waits when the deadline has passed gets ResourceClosedError, and a late result is dropped."""
    batcher = make_batcher()
    running = batcher.submit("running")
    blocked_run.entered.acquire()
    queued = [batcher.submit(number) for number in range(3)]
    batcher.close(drain_s=0.01)
    for future in [running, *queued]:
        with pytest.raises(ResourceClosedError, match="before this was done"):
            future.wait(timeout_s=10)
    assert batcher.queued_cost == 0
    blocked_run.open()
    for worker in list(batcher._workers):
        worker.join(timeout=10)
    with pytest.raises(ResourceClosedError):
        running.wait()
    assert blocked_run.batches == [["running"]]


def test_closing_twice_does_nothing(blocked_run: Any, make_batcher: Any) -> None:
    """`close` is idempotent, before and after work."""
    batcher = make_batcher()
    blocked_run.open()
    assert batcher.submit(1).wait() == 1
    batcher.close()
    batcher.close()


def test_closing_an_unused_batcher_starts_nothing(make_batcher: Any) -> None:
    """No thread is made for a batcher that was never used."""
    before = threading.active_count()
    make_batcher().close()
    assert threading.active_count() == before


def test_close_lets_idle_workers_go_at_once(make_batcher: Any) -> None:
    """An idle worker is woken by `close` instead of sleeping out its idle time."""
    batcher = make_batcher(lambda items: items, workers=3)
    for future in [batcher.submit(number) for number in range(9)]:
        future.wait()
    threads = list(batcher._workers)
    assert threads
    batcher.close(drain_s=5)
    assert not any(thread.is_alive() for thread in threads)


def test_a_batch_may_close_its_own_batcher(make_batcher: Any) -> None:
    """Closing from inside a batch does not wait for itself; its callers are settled."""
    made: list[Any] = []

    def run(items: list[object]) -> list[object]:
        made[0].close(drain_s=5)
        return items

    made.append(make_batcher(run))
    with pytest.raises(ResourceClosedError):
        made[0].submit("last").wait(timeout_s=10)


def test_a_forked_child_is_refused_and_can_exit() -> None:
    """After a fork the child's threads are gone: `submit` says so at once, and neither process hangs."""
    script = """
        import os, signal, threading, warnings
        warnings.simplefilter("ignore")
        from super_advanced_agents._runtime.batcher import MicroBatcher
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
