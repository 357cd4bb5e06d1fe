"""Futures: one result, one consumer, whoever waits and however it ends."""

from __future__ import annotations

import asyncio
import threading
import traceback
from collections.abc import Callable
from typing import TypeVar

import pytest

from super_advanced_agents._runtime.futures import Future, in_thread, set_exceptions, set_results
from super_advanced_agents.errors import EmbeddingError, OverloadedError

T = TypeVar("T")


async def test_an_awaited_ticket_gives_the_value_settled_by_a_thread() -> None:
    """A coroutine sleeps on the future and wakes with the value."""
    future: Future[str] = Future()
    waiter = asyncio.ensure_future(_awaited(future))
    await asyncio.sleep(0)
    threading.Thread(target=future.set_result, args=("value",)).start()
    assert await waiter == "value"


async def test_a_ticket_settled_before_it_is_awaited_does_not_suspend() -> None:
    """No turn of the event loop is spent on a result that is already there."""
    future: Future[int] = Future()
    future.set_result(1)
    operation = _awaited(future)
    with pytest.raises(StopIteration) as stop:
        operation.send(None)
    assert stop.value.value == 1


def test_a_waiting_thread_gets_the_value() -> None:
    """A thread blocks in `wait` until another settles the future."""
    future: Future[int] = Future()
    with _thread(lambda: future.set_result(7)):
        assert future.wait() == 7


def test_none_is_a_value_like_any_other() -> None:
    """A future settled with None is settled."""
    future: Future[None] = Future()
    future.set_result(None)
    assert future.done()
    assert future.wait() is None


def test_an_error_is_raised_at_the_waiter() -> None:
    """`set_exception` reaches a thread as the exception, with its own attributes."""
    future: Future[int] = Future()
    future.set_exception(OverloadedError("full", retry_after_s=2.5, hint="later"))
    with pytest.raises(OverloadedError, match="full") as caught:
        future.wait()
    assert caught.value.retry_after_s == 2.5
    assert caught.value.hint == "later"


def test_the_first_delivery_wins() -> None:
    """What comes after the first outcome, of either kind, is dropped."""
    future: Future[int] = Future()
    future.set_result(1)
    future.set_result(2)
    future.set_exception(ValueError("late"))
    future.cancel()
    assert future.wait() == 1
    assert not future.cancelled()


def test_a_timeout_cancels_the_future() -> None:
    """Nothing within `timeout_s` raises TimeoutError and tells the worker that nobody waits any more."""
    future: Future[int] = Future()
    with pytest.raises(TimeoutError):
        future.wait(timeout_s=0.001)
    assert future.cancelled()


async def test_cancelling_the_awaiting_task_cancels_the_future() -> None:
    """The task ends with CancelledError, and the result that comes later is dropped."""
    future: Future[int] = Future()
    waiter = asyncio.ensure_future(_awaited(future))
    await asyncio.sleep(0)
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert future.cancelled()
    future.set_result(1)
    with pytest.raises(asyncio.CancelledError):
        future.wait()


def test_cancelling_from_elsewhere_frees_a_waiting_thread() -> None:
    """A thread in `wait` does not sleep on when another thread cancels its future."""
    future: Future[int] = Future()
    outcome: list[BaseException] = []
    waiting = threading.Event()

    def wait() -> None:
        waiting.set()
        try:
            future.wait(timeout_s=10)
        except BaseException as exc:
            outcome.append(exc)

    with _thread(wait):
        waiting.wait()
        while future._event is None:
            threading.Event().wait(0.001)
        future.cancel()
    assert [type(exc) for exc in outcome] == [asyncio.CancelledError]


async def test_cancelling_from_elsewhere_frees_an_awaiting_task() -> None:
    """A task that awaits a future ends with CancelledError when another party cancels the future."""
    future: Future[int] = Future()
    waiter = asyncio.ensure_future(_awaited(future))
    await asyncio.sleep(0)
    threading.Thread(target=future.cancel).start()
    done, _ = await asyncio.wait([waiter], timeout=10)
    assert done
    assert waiter.cancelled()


async def test_a_batch_wakes_its_loop_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many results for one loop cost one thread-safe call, not one each."""
    futures: list[Future[int]] = [Future() for _ in range(64)]
    waiters = [asyncio.ensure_future(_awaited(future)) for future in futures]
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


def test_one_closed_loop_does_not_keep_others_from_their_results() -> None:
    """A caller whose loop is gone is skipped; callers on other loops and threads get theirs."""
    orphan: Future[int] = Future()
    loop = asyncio.new_event_loop()
    task = loop.create_task(_awaited(orphan))
    loop.run_until_complete(asyncio.sleep(0))
    live: Future[int] = Future()
    task.get_coro().close()  # type: ignore[union-attr]
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.close()
    set_results([(orphan, 1), (live, 2)])
    assert live.wait() == 2


def test_each_caller_gets_its_own_copy_of_an_error() -> None:
    """Callers share no exception object, and each copy keeps class, arguments, attributes and cause."""
    futures: list[Future[int]] = [Future() for _ in range(3)]
    error = OverloadedError("full", retry_after_s=1.25)
    error.__cause__ = OSError("disk")
    set_exceptions(futures, error)
    caught = [_failure(future.wait) for future in futures]
    assert len({id(exc) for exc in caught}) == 3
    for exc in caught:
        assert isinstance(exc, OverloadedError)
        assert (exc.args, exc.retry_after_s) == (("full",), 1.25)
        assert exc.__cause__ is error.__cause__


def test_an_error_copy_tells_where_it_was_raised() -> None:
    """The caller's traceback still names the function that failed in the worker, and what led to it."""
    futures: list[Future[int]] = [Future(), Future()]
    try:
        _broken_engine()
    except EmbeddingError as exc:
        set_exceptions(futures, exc)
    for future in futures:
        report = "".join(traceback.format_exception(_failure(future.wait)))
        assert "_broken_engine" in report
        assert "the root of it" in report


def test_an_error_that_cannot_be_copied_is_delivered_as_it_is() -> None:
    """A foreign exception class with an unusual constructor still reaches every caller."""

    class OddError(Exception):
        def __init__(self, *, code: int) -> None:
            super().__init__(f"code {code}")
            self.code = code

    futures: list[Future[int]] = [Future(), Future()]
    set_exceptions(futures, OddError(code=3))
    for future in futures:
        assert str(_failure(future.wait)) == "code 3"


def test_work_in_a_thread_gives_its_result_or_its_error() -> None:
    """`in_thread` delivers what the work returns, and what it raises, SystemExit included."""

    def leave() -> None:
        raise SystemExit(3)

    assert in_thread(lambda: threading.current_thread().name, name="once").wait() == "once"
    with pytest.raises(SystemExit):
        in_thread(leave, name="leaves").wait()


async def _awaited(future: Future[T]) -> T:
    return await future


def _broken_engine() -> None:
    try:
        raise OSError("the root of it")
    except OSError:
        raise EmbeddingError("no vectors")  # noqa: B904  the context is what is tested


def _failure(call: Callable[[], object]) -> BaseException:
    try:
        call()
    except BaseException as exc:
        return exc
    raise AssertionError("nothing was raised")


class _thread:  # noqa: N801  reads as a block
    """Run `work` beside the block; leaving the block joins it."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._thread = threading.Thread(target=work)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._thread.join()
