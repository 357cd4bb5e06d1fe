"""Blocking twins: the same coroutine, driven by the calling thread."""

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

from super_advanced_agents._runtime.batcher import Workers
from super_advanced_agents._runtime.futures import Future, driven_by_thread
from super_advanced_agents._runtime.sync_bridge import blocking, blocking_iterator, run_sync
from super_advanced_agents.errors import EmbeddingError


class Doubler:
    """The smallest class with twins."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self.closed_streams = 0

    async def adouble(self, number: int, *, times: int = 1) -> int:
        """Double a number, one future a time."""
        for _ in range(times):
            number = await self._workers.submit(lambda value=number: _doubled(value))  # type: ignore[misc]
        return number

    double = blocking(adouble)

    async def acount(self, up_to: int) -> AsyncGenerator[int, None]:
        """Count, each number made by a worker."""
        try:
            for number in range(up_to):
                yield await self._workers.submit(lambda value=number: _checked(value))  # type: ignore[misc]
        finally:
            await self._workers.submit(lambda: None)  # cleaning up may wait, too
            self.closed_streams += 1

    count = blocking_iterator(acount)


class Tripler(Doubler):
    """Overrides the native method only."""

    async def adouble(self, number: int, *, times: int = 1) -> int:
        """Triple instead."""
        return 3 * number


@pytest.fixture
def doubler(workers: Workers) -> Doubler:
    """An object whose work is done by threads."""
    return Doubler(workers)


async def test_both_twins_give_the_same_result(doubler: Doubler) -> None:
    """`double` in a thread and `adouble` on the loop agree."""
    assert await doubler.adouble(3, times=4) == 48
    assert await asyncio.to_thread(doubler.double, 3, times=4) == 48


@pytest.mark.blocks_loop
async def test_a_blocking_twin_works_inside_a_running_loop(doubler: Doubler) -> None:
    """In a notebook's loop it blocks as its name says, and the loop's own coroutines work before, after and beside."""
    beside = asyncio.ensure_future(doubler.adouble(1, times=3))
    assert doubler.double(5) == 10
    assert list(doubler.count(3)) == [0, 1, 2]
    assert await beside == 8
    assert await doubler.adouble(5) == 10
    assert not driven_by_thread()


@pytest.mark.blocks_loop
async def test_a_blocking_twin_inside_a_native_operation_does_not_confuse_its_driver(doubler: Doubler) -> None:
    """A callback that uses a blocking twin in the middle of either twin leaves the outer one on its own driver."""

    async def outer() -> int:
        first = await doubler.adouble(1)
        inner = doubler.double(10)
        return first + inner + await doubler.adouble(100)

    assert await outer() == 222
    assert run_sync(outer()) == 222
    assert await outer() == 222


def test_errors_pass_through(doubler: Doubler) -> None:
    """What the work raises is raised by the blocking twin, and a later call works."""
    with pytest.raises(EmbeddingError, match="negative"):
        doubler.double(-1)
    with pytest.raises(TypeError):
        doubler.double("not a number", "too many")  # type: ignore[arg-type,misc]
    assert doubler.double(1) == 2


def test_an_operation_may_handle_the_error_it_awaited(doubler: Doubler) -> None:
    """`try` around an awaited future works the same without a loop."""

    async def forgiving() -> int:
        try:
            return await doubler.adouble(-1)
        except EmbeddingError:
            return await doubler.adouble(4)

    assert run_sync(forgiving()) == 8


def test_awaiting_what_only_a_loop_can_give_is_refused(doubler: Doubler) -> None:
    """The operation is ended with a RuntimeError that names the type, and its `finally` runs."""
    cleaned = []

    async def wrong() -> None:
        try:
            await asyncio.sleep(0)
        finally:
            cleaned.append(True)

    with pytest.raises(RuntimeError, match="futures"):
        run_sync(wrong())
    assert cleaned == [True]


def test_the_derived_method_is_named_and_signed_like_its_twin() -> None:
    """Name, docstring and signature are what a reader of `help()` expects; it is no coroutine function."""
    assert Doubler.double.__name__ == "double"
    assert Doubler.double.__qualname__ == "Doubler.double"
    assert Doubler.double.__doc__ == Doubler.adouble.__doc__
    assert inspect.signature(Doubler.double) == inspect.signature(Doubler.adouble)
    assert not inspect.iscoroutinefunction(Doubler.double)
    assert inspect.isgeneratorfunction(inspect.unwrap(Doubler.count))


def test_overriding_the_native_method_overrides_both(workers: Workers) -> None:
    """A subclass writes `adouble` and has `double`."""
    assert Tripler(workers).double(5) == 15


def test_a_stream_is_iterated_by_a_thread(doubler: Doubler) -> None:
    """All items in order, then the native generator is closed once."""
    assert list(doubler.count(5)) == [0, 1, 2, 3, 4]
    assert doubler.closed_streams == 1


def test_leaving_a_stream_early_closes_the_native_one(doubler: Doubler) -> None:
    """`close()` on the blocking generator runs the native one's clean-up, waiting included."""
    stream = doubler.count(100)
    assert [next(stream), next(stream)] == [0, 1]
    stream.close()
    assert doubler.closed_streams == 1


def test_an_error_in_a_stream_is_raised_after_the_items_before_it(doubler: Doubler) -> None:
    """Items, then the error, then nothing."""
    stream = doubler.count(1_000_000)
    received = []

    def drain(source: Iterator[int]) -> None:
        received.extend(source)

    with pytest.raises(EmbeddingError, match="thirteen"):
        drain(stream)
    assert received == list(range(13))
    assert list(stream) == []
    assert doubler.closed_streams == 1


def test_a_stream_that_was_never_begun_does_nothing(doubler: Doubler) -> None:
    """Making and dropping the generator starts no work."""
    doubler.count(5).close()
    assert doubler.closed_streams == 0


def test_threads_drive_side_by_side(doubler: Doubler) -> None:
    """Sixteen threads in blocking twins at once each get their own results."""
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
def test_ctrl_c_interrupts_a_blocking_twin_and_its_clean_up_runs(how: str) -> None:
    """SIGINT in the middle of a wait raises KeyboardInterrupt inside the operation; its future is cancelled."""
    script = f"""
        import threading
        from super_advanced_agents._runtime.batcher import MicroBatcher
        from super_advanced_agents._runtime.sync_bridge import blocking, blocking_iterator

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


def test_a_cancelled_ticket_ends_a_blocking_twin() -> None:
    """A future cancelled by its owner raises CancelledError in the waiting thread instead of leaving it asleep."""
    future: Future[int] = Future()

    async def operation() -> int:
        return await future

    threading.Thread(target=future.cancel).start()
    with pytest.raises(asyncio.CancelledError):
        run_sync(operation())


def _doubled(value: int) -> int:
    if value < 0:
        raise EmbeddingError("negative")
    return 2 * value


def _checked(value: int) -> int:
    if value == 13:
        raise EmbeddingError("thirteen")
    return value
