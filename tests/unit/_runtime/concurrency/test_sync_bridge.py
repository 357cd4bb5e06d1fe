"""Test the sync bridge, which drives a coroutine on the calling thread."""

from __future__ import annotations

import asyncio
import inspect
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncGenerator, Iterator

import pytest

from super_advanced_agents._runtime.concurrency.futures import Future, driven_by_thread
from super_advanced_agents._runtime.concurrency.sync_bridge import blocking, blocking_iterator, run_sync
from super_advanced_agents._runtime.queues.batcher import Workers
from super_advanced_agents.errors import EmbeddingError


class Doubler:
    """The smallest class with blocking forms."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self.closed_streams = 0

    async def adouble(self, number: int, *, times: int = 1) -> int:
        """Double a number, with one future each time."""
        for _ in range(times):
            number = await self._workers.submit(lambda value=number: _double_unless_negative(value))  # type: ignore[misc]
        return number

    double = blocking(adouble)

    async def acount(self, up_to: int) -> AsyncGenerator[int, None]:
        """Count; a worker computes each number."""
        try:
            for number in range(up_to):
                yield await self._workers.submit(lambda value=number: _return_unless_thirteen(value))  # type: ignore[misc]
        finally:
            await self._workers.submit(lambda: None)  # cleaning up may wait, too
            self.closed_streams += 1

    count = blocking_iterator(acount)


class Tripler(Doubler):
    """Override the coroutine method only."""

    async def adouble(self, number: int, *, times: int = 1) -> int:
        """Triple a number instead."""
        return 3 * number


@pytest.fixture
def doubler(workers: Workers) -> Doubler:
    """Make a doubler whose work is done by threads."""
    return Doubler(workers)


async def test_blocking_form_and_coroutine_return_the_same_result(doubler: Doubler) -> None:
    """`double` runs in a thread and `adouble` on the loop."""
    assert await doubler.adouble(3, times=4) == 48
    assert await asyncio.to_thread(doubler.double, 3, times=4) == 48


@pytest.mark.blocks_loop
async def test_blocking_form_works_inside_a_running_loop(doubler: Doubler) -> None:
    """It blocks the loop, whose own coroutines work before, beside and after it, as in a notebook."""
    beside = asyncio.ensure_future(doubler.adouble(1, times=3))
    assert doubler.double(5) == 10
    assert list(doubler.count(3)) == [0, 1, 2]
    assert await beside == 8
    assert await doubler.adouble(5) == 10
    assert not driven_by_thread()


@pytest.mark.blocks_loop
async def test_blocking_form_called_inside_an_operation_keeps_the_outer_driver(doubler: Doubler) -> None:
    """The outer operation is driven on by its event loop or thread."""

    async def outer() -> int:
        first = await doubler.adouble(1)
        inner = doubler.double(10)
        return first + inner + await doubler.adouble(100)

    assert await outer() == 222
    assert run_sync(outer()) == 222
    assert await outer() == 222


def test_blocking_form_raises_the_error_of_the_operation(doubler: Doubler) -> None:
    """A later call works."""
    with pytest.raises(EmbeddingError, match="negative"):
        doubler.double(-1)
    with pytest.raises(TypeError):
        doubler.double("not a number", "too many")  # type: ignore[arg-type,misc]
    assert doubler.double(1) == 2


def test_operation_driven_by_run_sync_can_catch_an_awaited_error(doubler: Doubler) -> None:
    """`try` around an awaited future works without an event loop."""

    async def catching() -> int:
        try:
            return await doubler.adouble(-1)
        except EmbeddingError:
            return await doubler.adouble(4)

    assert run_sync(catching()) == 8


def test_run_sync_refuses_an_await_that_needs_an_event_loop(doubler: Doubler) -> None:
    """The RuntimeError asks for futures, and the operation's `finally` runs."""
    cleanups = []

    async def wrong() -> None:
        try:
            await asyncio.sleep(0)
        finally:
            cleanups.append(True)

    with pytest.raises(RuntimeError, match="futures"):
        run_sync(wrong())
    assert cleanups == [True]


def test_blocking_form_has_the_name_docstring_and_signature_of_its_coroutine() -> None:
    """`help()` shows a plain method and no coroutine function."""
    assert Doubler.double.__name__ == "double"
    assert Doubler.double.__qualname__ == "Doubler.double"
    assert Doubler.double.__doc__ == Doubler.adouble.__doc__
    assert inspect.signature(Doubler.double) == inspect.signature(Doubler.adouble)
    assert not inspect.iscoroutinefunction(Doubler.double)
    assert inspect.isgeneratorfunction(inspect.unwrap(Doubler.count))


def test_overriding_the_coroutine_method_overrides_its_blocking_form(workers: Workers) -> None:
    """A subclass that defines `adouble` has its `double` too."""
    assert Tripler(workers).double(5) == 15


def test_blocking_iterator_yields_all_items_in_order(doubler: Doubler) -> None:
    """The asynchronous generator is closed once."""
    assert list(doubler.count(5)) == [0, 1, 2, 3, 4]
    assert doubler.closed_streams == 1


def test_closing_a_blocking_iterator_early_closes_its_async_generator(doubler: Doubler) -> None:
    """The clean-up of the asynchronous generator may await."""
    stream = doubler.count(100)
    assert [next(stream), next(stream)] == [0, 1]
    stream.close()
    assert doubler.closed_streams == 1


def test_blocking_iterator_raises_an_error_after_the_items_before_it(doubler: Doubler) -> None:
    """No item follows the error."""
    stream = doubler.count(1_000_000)
    received = []

    def drain(source: Iterator[int]) -> None:
        received.extend(source)

    with pytest.raises(EmbeddingError, match="thirteen"):
        drain(stream)
    assert received == list(range(13))
    assert list(stream) == []
    assert doubler.closed_streams == 1


def test_blocking_iterator_that_was_never_started_does_no_work(doubler: Doubler) -> None:
    """Creating and closing the generator starts nothing."""
    doubler.count(5).close()
    assert doubler.closed_streams == 0


def test_threads_run_blocking_forms_concurrently_without_mixing_results(doubler: Doubler) -> None:
    """Sixteen threads each get their own results."""
    results: dict[int, list[int]] = {}

    def work(start: int) -> None:
        results[start] = [doubler.double(start + i) for i in range(50)]

    threads = [threading.Thread(target=work, args=(1_000 * n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {1_000 * n: [2 * (1_000 * n + i) for i in range(50)] for n in range(16)}


@pytest.mark.parametrize("how", ["double", "stream"])
def test_ctrl_c_interrupts_a_blocking_form_and_runs_its_cleanup(how: str) -> None:
    """KeyboardInterrupt is raised inside the operation, and its future is cancelled."""
    script = f"""
        import threading
        from super_advanced_agents._runtime.queues.batcher import MicroBatcher
        from super_advanced_agents._runtime.concurrency.sync_bridge import blocking, blocking_iterator

        class Slow:
            def __init__(self):
                self.hold, self.cleaned, self.futures = threading.Event(), [], []
                self.batcher = MicroBatcher(self.run, name="slow", max_batch_cost=1, max_queue_cost=10)

            def run(self, items):
                print("running", flush=True)
                self.hold.wait()
                return items

            async def adouble(self):
                self.futures.append(self.batcher.submit(1))
                try:
                    return await self.futures[0]
                except KeyboardInterrupt:
                    self.cleaned.append("interrupted")
                    raise
                finally:
                    self.cleaned.append("finally")
            double = blocking(adouble)

            async def astream(self):
                yield await self.adouble()
            stream = blocking_iterator(astream)

        slow = Slow()
        try:
            list(slow.stream()) if {how!r} == "stream" else slow.double()
        except KeyboardInterrupt:
            print(slow.cleaned, slow.futures[0].cancelled())
        slow.hold.set()
        slow.batcher.close()
        print("closed", threading.active_count())
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (out, err) == ("['interrupted', 'finally'] True\nclosed 1\n", "")


def test_blocking_form_raises_cancelled_error_when_its_future_is_cancelled() -> None:
    """The waiting thread does not stay asleep."""
    future: Future[int] = Future()

    async def operation() -> int:
        return await future

    threading.Thread(target=future.cancel).start()
    with pytest.raises(asyncio.CancelledError):
        run_sync(operation())


def _double_unless_negative(value: int) -> int:
    if value < 0:
        raise EmbeddingError("negative")
    return 2 * value


def _return_unless_thirteen(value: int) -> int:
    if value == 13:
        raise EmbeddingError("thirteen")
    return value
