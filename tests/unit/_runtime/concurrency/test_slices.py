"""Test that computations run in slices, in turn between owners, and end with their callers."""

from __future__ import annotations

import threading

import pytest

from super_advanced_agents._runtime.concurrency.slices import SliceWorker, finished
from super_advanced_agents.errors import OverloadedError, ResourceClosedError

WAIT_S = 10


@pytest.fixture
def worker():
    """A worker that is closed after the test."""
    worker = SliceWorker(name="test slices", max_queue=4)
    yield worker
    worker.close()


def _counting(log, name, slices):
    for number in range(slices):
        log.append((name, number))
        yield
    return name


def _held(begun, release):
    begun.set()
    release.wait(WAIT_S)
    yield


def test_result_and_errors_of_a_computation_reach_its_caller(worker):
    """A future has the value that the generator returns, or the error that it raises."""

    def failing():
        yield
        raise KeyError("x")

    assert worker.submit(_counting([], "a", 3), owner="a").wait(WAIT_S) == "a"
    with pytest.raises(KeyError):
        worker.submit(failing(), owner="a").wait(WAIT_S)


def test_owners_take_turns_after_each_slice(worker):
    """A short computation does not wait for the end of another owner's long one."""
    begun, release, log = threading.Event(), threading.Event(), []
    first = worker.submit(_held(begun, release), owner="x")
    assert begun.wait(WAIT_S)
    futures = [
        worker.submit(_counting(log, "a1", 3), owner="a"),
        worker.submit(_counting(log, "a2", 1), owner="a"),
        worker.submit(_counting(log, "b", 1), owner="b"),
    ]
    release.set()
    for future in (first, *futures):
        future.wait(WAIT_S)
    assert log == [("a1", 0), ("b", 0), ("a1", 1), ("a1", 2), ("a2", 0)]


def test_cancelled_computation_is_closed_before_its_next_slice(worker):
    """Its generator runs its `finally` blocks, and nothing of it is left."""
    begun, release, closed = threading.Event(), threading.Event(), threading.Event()

    def endless():
        try:
            while True:
                begun.set()
                release.wait(WAIT_S)
                yield
        finally:
            closed.set()

    future = worker.submit(endless(), owner="a")
    assert begun.wait(WAIT_S)
    future.cancel()
    release.set()
    assert closed.wait(WAIT_S)
    assert worker.submit(_counting([], "next", 1), owner="a").wait(WAIT_S) == "next"


def test_full_worker_refuses_a_computation(worker):
    """The bound counts the unfinished computations of all owners."""
    begun, release = threading.Event(), threading.Event()
    futures = [worker.submit(_held(begun, release), owner=str(number)) for number in range(4)]
    with pytest.raises(OverloadedError):
        worker.submit(_counting([], "one too many", 1), owner="b")
    release.set()
    for future in futures:
        future.wait(WAIT_S)


def test_closing_fails_what_is_unfinished(worker):
    """Nobody waits for a worker that has ended."""
    begun, release = threading.Event(), threading.Event()
    running = worker.submit(_held(begun, release), owner="a")
    waiting = worker.submit(_counting([], "b", 1), owner="b")
    assert begun.wait(WAIT_S)
    closing = threading.Thread(target=worker.close)
    closing.start()
    for future in (running, waiting):
        with pytest.raises(ResourceClosedError):
            future.wait(WAIT_S)
    release.set()
    closing.join(WAIT_S)
    with pytest.raises(ResourceClosedError):
        worker.submit(_counting([], "late", 1), owner="a")


def test_idle_thread_ends_and_a_new_one_serves_the_next_computation():
    """No thread is kept for nothing."""
    worker = SliceWorker(name="short-lived slices", max_queue=4, idle_s=0)
    for _ in range(3):
        assert worker.submit(_counting([], "a", 2), owner="a").wait(WAIT_S) == "a"
        for thread in threading.enumerate():
            if thread.name == "short-lived slices":
                thread.join(WAIT_S)
    worker.close()


def test_computation_can_run_to_its_end_in_the_calling_thread():
    """The same generator serves callers that are not on an event loop."""
    assert finished(_counting([], "a", 3)) == "a"
