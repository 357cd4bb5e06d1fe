"""Test futures: one result for one consumer, which is a coroutine or a thread."""

from __future__ import annotations

import asyncio
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import pytest

from super_advanced_agents._runtime.concurrency.futures import Future, in_thread, set_exceptions, set_results
from super_advanced_agents.errors import EmbeddingError, OverloadedError

T = TypeVar("T")


async def test_awaited_future_returns_the_value_set_by_a_thread() -> None:
    """The coroutine sleeps until the value arrives."""
    future: Future[str] = Future()
    waiter = asyncio.ensure_future(_await(future))
    await asyncio.sleep(0)
    threading.Thread(target=future.set_result, args=("value",)).start()
    assert await waiter == "value"


async def test_awaiting_a_done_future_does_not_suspend() -> None:
    """A result that is already there costs no iteration of the event loop."""
    future: Future[int] = Future()
    future.set_result(1)
    operation = _await(future)
    with pytest.raises(StopIteration) as stop:
        operation.send(None)
    assert stop.value.value == 1


def test_wait_returns_the_value_set_by_another_thread() -> None:
    """The thread blocks until the value arrives."""
    future: Future[int] = Future()
    with _running_beside(lambda: future.set_result(7)):
        assert future.wait() == 7


def test_future_with_result_none_is_done() -> None:
    """None is a result like any other."""
    future: Future[None] = Future()
    future.set_result(None)
    assert future.done()
    assert future.wait() is None


def test_wait_raises_the_exception_set_on_the_future() -> None:
    """The exception keeps its own attributes."""
    future: Future[int] = Future()
    future.set_exception(OverloadedError("full", retry_after_s=2.5, hint="later"))
    with pytest.raises(OverloadedError, match="full") as caught:
        future.wait()
    assert caught.value.retry_after_s == 2.5
    assert caught.value.hint == "later"


def test_future_keeps_its_first_outcome() -> None:
    """Later results, errors and cancellations are dropped."""
    future: Future[int] = Future()
    future.set_result(1)
    future.set_result(2)
    future.set_exception(ValueError("late"))
    future.cancel()
    assert future.wait() == 1
    assert not future.cancelled()


def test_wait_that_times_out_cancels_the_future() -> None:
    """A worker sees that nobody waits for the result any more."""
    future: Future[int] = Future()
    with pytest.raises(TimeoutError):
        future.wait(timeout_s=0.001)
    assert future.cancelled()


async def test_cancelling_the_awaiting_task_cancels_the_future() -> None:
    """The task ends with CancelledError, and a later result is dropped."""
    future: Future[int] = Future()
    waiter = asyncio.ensure_future(_await(future))
    await asyncio.sleep(0)
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert future.cancelled()
    future.set_result(1)
    with pytest.raises(asyncio.CancelledError):
        future.wait()


def test_cancelling_a_future_wakes_the_waiting_thread() -> None:
    """The thread gets CancelledError."""
    future: Future[int] = Future()
    outcome: list[BaseException] = []
    waiting = threading.Event()

    def wait() -> None:
        waiting.set()
        try:
            future.wait(timeout_s=10)
        except BaseException as exc:
            outcome.append(exc)

    with _running_beside(wait):
        waiting.wait()
        while future._event is None:  # private: nothing public tells that the thread sleeps in `wait`
            threading.Event().wait(0.001)
        future.cancel()
    assert [type(exc) for exc in outcome] == [asyncio.CancelledError]


async def test_cancelling_a_future_cancels_the_awaiting_task() -> None:
    """The task ends although another thread cancelled the future."""
    future: Future[int] = Future()
    waiter = asyncio.ensure_future(_await(future))
    await asyncio.sleep(0)
    threading.Thread(target=future.cancel).start()
    done, _ = await asyncio.wait([waiter], timeout=10)
    assert done
    assert waiter.cancelled()


async def test_set_results_wakes_an_event_loop_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many results for one loop cost one thread-safe call."""
    futures: list[Future[int]] = [Future() for _ in range(64)]
    waiters = [asyncio.ensure_future(_await(future)) for future in futures]
    await asyncio.sleep(0)
    loop = asyncio.get_running_loop()
    calls: list[object] = []
    wake_up = loop.call_soon_threadsafe

    def counted(*args: object) -> object:
        calls.append(args)
        return wake_up(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
    set_results((future, number) for number, future in enumerate(futures))
    assert await asyncio.gather(*waiters) == list(range(64))
    assert len(calls) == 1


def test_set_results_skips_a_closed_event_loop_and_serves_other_callers() -> None:
    """Callers on other loops and threads get their results."""
    orphan: Future[int] = Future()
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # asyncio reports the pending task when it is collected
    task = loop.create_task(_await(orphan))
    loop.run_until_complete(asyncio.sleep(0))
    live: Future[int] = Future()
    task.get_coro().close()  # type: ignore[union-attr]
    loop.close()
    set_results([(orphan, 1), (live, 2)])
    assert live.wait() == 2


def test_set_exceptions_gives_each_future_its_own_copy() -> None:
    """Each copy keeps class, arguments, attributes and cause."""
    futures: list[Future[int]] = [Future() for _ in range(3)]
    error = OverloadedError("full", retry_after_s=1.25)
    error.__cause__ = OSError("disk")
    set_exceptions(futures, error)
    caught = [_raised_by(future.wait) for future in futures]
    assert len({id(exc) for exc in caught}) == 3
    for exc in caught:
        assert isinstance(exc, OverloadedError)
        assert (exc.args, exc.retry_after_s) == (("full",), 1.25)
        assert exc.__cause__ is error.__cause__


def test_copied_exception_keeps_its_traceback_and_context() -> None:
    """The caller's traceback names the function that failed in the worker."""
    futures: list[Future[int]] = [Future(), Future()]
    try:
        _broken_engine()
    except EmbeddingError as exc:
        set_exceptions(futures, exc)
    for future in futures:
        report = "".join(traceback.format_exception(_raised_by(future.wait)))
        assert "_broken_engine" in report
        assert "the root of it" in report


def test_set_exceptions_delivers_an_exception_that_cannot_be_copied() -> None:
    """A foreign exception class with an unusual constructor still reaches every caller."""

    class OddError(Exception):
        def __init__(self, *, code: int) -> None:
            super().__init__(f"code {code}")
            self.code = code

    futures: list[Future[int]] = [Future(), Future()]
    set_exceptions(futures, OddError(code=3))
    for future in futures:
        assert str(_raised_by(future.wait)) == "code 3"


def test_in_thread_delivers_the_result_or_the_exception() -> None:
    """SystemExit is delivered too."""

    def leave() -> None:
        raise SystemExit(3)

    assert in_thread(lambda: threading.current_thread().name, name="once").wait() == "once"
    with pytest.raises(SystemExit):
        in_thread(leave, name="leaves").wait()


async def _await(future: Future[T]) -> T:
    return await future


def _broken_engine() -> None:
    try:
        raise OSError("the root of it")
    except OSError:
        raise EmbeddingError("no vectors")  # noqa: B904  the context is what is tested


def _raised_by(call: Callable[[], object]) -> BaseException:
    try:
        call()
    except BaseException as exc:
        return exc
    raise AssertionError("nothing was raised")


@contextmanager
def _running_beside(work: Callable[[], object]) -> Iterator[None]:
    """Run `work` in a thread beside the block, and join the thread at the end."""
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join()
