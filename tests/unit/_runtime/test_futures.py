"""Tickets: one result, one consumer, whoever waits and however it ends."""

from __future__ import annotations

import asyncio
import threading
import traceback
from collections.abc import Callable
from typing import TypeVar

import pytest

from super_advanced_agents._runtime.futures import Ticket, fail_all, in_thread, settle_all
from super_advanced_agents.errors import EmbeddingError, OverloadedError

T = TypeVar("T")


async def test_an_awaited_ticket_gives_the_value_settled_by_a_thread() -> None:
    """A coroutine sleeps on the ticket and wakes with the value."""
    ticket: Ticket[str] = Ticket()
    waiter = asyncio.ensure_future(_awaited(ticket))
    await asyncio.sleep(0)
    threading.Thread(target=ticket.settle, args=("value",)).start()
    assert await waiter == "value"


async def test_a_ticket_settled_before_it_is_awaited_does_not_suspend() -> None:
    """No turn of the event loop is spent on a result that is already there."""
    ticket: Ticket[int] = Ticket()
    ticket.settle(1)
    operation = _awaited(ticket)
    with pytest.raises(StopIteration) as stop:
        operation.send(None)
    assert stop.value.value == 1


def test_a_waiting_thread_gets_the_value() -> None:
    """A thread blocks in `wait` until another settles the ticket."""
    ticket: Ticket[int] = Ticket()
    with _thread(lambda: ticket.settle(7)):
        assert ticket.wait() == 7


def test_none_is_a_value_like_any_other() -> None:
    """A ticket settled with None is settled."""
    ticket: Ticket[None] = Ticket()
    ticket.settle(None)
    assert ticket.settled
    assert ticket.wait() is None


def test_an_error_is_raised_at_the_waiter() -> None:
    """`fail` reaches a thread as the exception, with its own attributes."""
    ticket: Ticket[int] = Ticket()
    ticket.fail(OverloadedError("full", retry_after_s=2.5, hint="later"))
    with pytest.raises(OverloadedError, match="full") as caught:
        ticket.wait()
    assert caught.value.retry_after_s == 2.5
    assert caught.value.hint == "later"


def test_the_first_delivery_wins() -> None:
    """What comes after the first outcome, of either kind, is dropped."""
    ticket: Ticket[int] = Ticket()
    ticket.settle(1)
    ticket.settle(2)
    ticket.fail(ValueError("late"))
    ticket.cancel()
    assert ticket.wait() == 1
    assert not ticket.cancelled


def test_a_timeout_cancels_the_ticket() -> None:
    """Nothing within `timeout_s` raises TimeoutError and tells the worker that nobody waits any more."""
    ticket: Ticket[int] = Ticket()
    with pytest.raises(TimeoutError):
        ticket.wait(timeout_s=0.001)
    assert ticket.cancelled


async def test_cancelling_the_awaiting_task_cancels_the_ticket() -> None:
    """The task ends with CancelledError, and the result that comes later is dropped."""
    ticket: Ticket[int] = Ticket()
    waiter = asyncio.ensure_future(_awaited(ticket))
    await asyncio.sleep(0)
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert ticket.cancelled
    ticket.settle(1)
    with pytest.raises(asyncio.CancelledError):
        ticket.wait()


def test_cancelling_from_elsewhere_frees_a_waiting_thread() -> None:
    """A thread in `wait` does not sleep on when another thread cancels its ticket."""
    ticket: Ticket[int] = Ticket()
    outcome: list[BaseException] = []
    waiting = threading.Event()

    def wait() -> None:
        waiting.set()
        try:
            ticket.wait(timeout_s=10)
        except BaseException as exc:
            outcome.append(exc)

    with _thread(wait):
        waiting.wait()
        while ticket._gate is None:
            threading.Event().wait(0.001)
        ticket.cancel()
    assert [type(exc) for exc in outcome] == [asyncio.CancelledError]


async def test_cancelling_from_elsewhere_frees_an_awaiting_task() -> None:
    """A task that awaits a ticket ends with CancelledError when another party cancels the ticket."""
    ticket: Ticket[int] = Ticket()
    waiter = asyncio.ensure_future(_awaited(ticket))
    await asyncio.sleep(0)
    threading.Thread(target=ticket.cancel).start()
    done, _ = await asyncio.wait([waiter], timeout=10)
    assert done
    assert waiter.cancelled()


async def test_a_batch_wakes_its_loop_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many results for one loop cost one thread-safe call, not one each."""
    tickets: list[Ticket[int]] = [Ticket() for _ in range(64)]
    waiters = [asyncio.ensure_future(_awaited(ticket)) for ticket in tickets]
    await asyncio.sleep(0)
    loop = asyncio.get_running_loop()
    calls: list[object] = []
    wake_up = loop.call_soon_threadsafe

    def counted(*args: object) -> object:
        calls.append(args)
        return wake_up(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
    settle_all((ticket, number) for number, ticket in enumerate(tickets))
    assert await asyncio.gather(*waiters) == list(range(64))
    assert len(calls) == 1


def test_one_closed_loop_does_not_keep_others_from_their_results() -> None:
    """A caller whose loop is gone is skipped; callers on other loops and threads get theirs."""
    orphan: Ticket[int] = Ticket()
    loop = asyncio.new_event_loop()
    task = loop.create_task(_awaited(orphan))
    loop.run_until_complete(asyncio.sleep(0))
    live: Ticket[int] = Ticket()
    task.get_coro().close()  # type: ignore[union-attr]
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.close()
    settle_all([(orphan, 1), (live, 2)])
    assert live.wait() == 2


def test_each_caller_gets_its_own_copy_of_an_error() -> None:
    """Callers share no exception object, and each copy keeps class, arguments, attributes and cause."""
    tickets: list[Ticket[int]] = [Ticket() for _ in range(3)]
    error = OverloadedError("full", retry_after_s=1.25)
    error.__cause__ = OSError("disk")
    fail_all(tickets, error)
    caught = [_failure(ticket.wait) for ticket in tickets]
    assert len({id(exc) for exc in caught}) == 3
    for exc in caught:
        assert isinstance(exc, OverloadedError)
        assert (exc.args, exc.retry_after_s) == (("full",), 1.25)
        assert exc.__cause__ is error.__cause__


def test_an_error_copy_tells_where_it_was_raised() -> None:
    """The caller's traceback still names the function that failed in the worker, and what led to it."""
    tickets: list[Ticket[int]] = [Ticket(), Ticket()]
    try:
        _broken_engine()
    except EmbeddingError as exc:
        fail_all(tickets, exc)
    for ticket in tickets:
        report = "".join(traceback.format_exception(_failure(ticket.wait)))
        assert "_broken_engine" in report
        assert "the root of it" in report


def test_an_error_that_cannot_be_copied_is_delivered_as_it_is() -> None:
    """A foreign exception class with an unusual constructor still reaches every caller."""

    class OddError(Exception):
        def __init__(self, *, code: int) -> None:
            super().__init__(f"code {code}")
            self.code = code

    tickets: list[Ticket[int]] = [Ticket(), Ticket()]
    fail_all(tickets, OddError(code=3))
    for ticket in tickets:
        assert str(_failure(ticket.wait)) == "code 3"


def test_work_in_a_thread_gives_its_result_or_its_error() -> None:
    """`in_thread` delivers what the work returns, and what it raises, SystemExit included."""

    def leave() -> None:
        raise SystemExit(3)

    assert in_thread(lambda: threading.current_thread().name, name="once").wait() == "once"
    with pytest.raises(SystemExit):
        in_thread(leave, name="leaves").wait()


async def _awaited(ticket: Ticket[T]) -> T:
    return await ticket


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
