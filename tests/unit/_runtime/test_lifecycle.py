"""Resources: opened, closed once, never used after, and closed at exit when nobody did."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading

import pytest

from super_advanced_agents._runtime.lifecycle import Resource
from super_advanced_agents.errors import ResourceClosedError, StoreError


class HeldResource(Resource):
    """Counts how often it was released, and can be held while it closes."""

    def __init__(self) -> None:
        super().__init__()
        self.released = 0
        self.releasing = threading.Event()
        self.may_close = threading.Event()
        self.may_close.set()

    def use(self) -> str:
        """Return a value while the resource is open."""
        self._check_open()
        return "used"

    def _release(self) -> None:
        self.releasing.set()
        self.may_close.wait()
        self.released += 1


def test_a_with_block_closes() -> None:
    """Leaving the block releases once and for all."""
    with HeldResource() as resource:
        assert resource.use() == "used"
        assert not resource.closed
    assert resource.closed
    assert resource.released == 1


async def test_an_async_with_block_closes_without_blocking_the_loop() -> None:
    """`_release` may block: it runs in a thread while the loop goes on."""
    resource = HeldResource()
    resource.may_close.clear()
    closing = asyncio.ensure_future(_opened_and_closed(resource))
    await asyncio.to_thread(resource.releasing.wait)
    assert not closing.done()
    resource.may_close.set()
    await closing
    assert resource.released == 1


def test_use_after_close_says_so() -> None:
    """Methods and both `with` forms raise ResourceClosedError that names the class."""
    resource = HeldResource()
    resource.close()
    with pytest.raises(ResourceClosedError, match="HeldResource is closed"):
        resource.use()
    with pytest.raises(ResourceClosedError), resource:
        pass


async def test_closing_again_in_either_way_does_nothing() -> None:
    """`close` and `aclose` are idempotent, in any order."""
    resource = HeldResource()
    await resource.aclose()
    await asyncio.to_thread(resource.close)
    await resource.aclose()
    assert resource.released == 1


def test_many_threads_closing_at_once_release_once() -> None:
    """Each returns after the release is over."""
    resource = HeldResource()
    seen: list[int] = []

    def close() -> None:
        resource.close()
        seen.append(resource.released)

    threads = [threading.Thread(target=close) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [1] * 8


async def test_a_second_aclose_waits_for_the_first() -> None:
    """Whoever awaited `aclose` knows that everything is freed, also when another began it."""
    resource = HeldResource()
    resource.may_close.clear()
    first = asyncio.ensure_future(resource.aclose())
    await asyncio.to_thread(resource.releasing.wait)
    second = asyncio.ensure_future(resource.aclose())
    done, _ = await asyncio.wait([second], timeout=0.05)
    assert not done
    resource.may_close.set()
    await asyncio.gather(first, second)
    assert resource.released == 1


async def test_a_cancelled_aclose_still_closes() -> None:
    """The caller is let go at once; the closing runs to its end in its own thread."""
    resource = HeldResource()
    resource.may_close.clear()
    closing = asyncio.ensure_future(resource.aclose())
    await asyncio.to_thread(resource.releasing.wait)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    resource.may_close.set()
    await resource.aclose()
    assert resource.released == 1


def test_a_failing_release_is_raised_once_and_leaves_it_closed() -> None:
    """The error reaches whoever closed; the object stays closed."""

    class Stuck(HeldResource):
        def _release(self) -> None:
            raise StoreError("the last flush failed")

    stuck = Stuck()
    with pytest.raises(StoreError, match="flush"):
        stuck.close()
    assert stuck.closed
    stuck.close()


_SCRIPT = """
    import os, signal, sys, threading, warnings
    warnings.simplefilter("ignore")
    from super_advanced_agents._runtime.lifecycle import Resource
    from super_advanced_agents.errors import ResourceClosedError

    class Door(Resource):
        def __init__(self, name):
            super().__init__()
            self.name = name
        def use(self):
            self._check_open()
        def _release(self):
            if self.name == "stuck":
                raise RuntimeError("stuck")
            print("released", self.name, flush=True)
"""


def test_what_is_open_at_exit_is_closed_then() -> None:
    """A script that never closes loses nothing; what it closed itself is not closed again."""
    out, err = _run("""
        left, closed = Door("left"), Door("closed")
        closed.close()
        print("end")
    """)
    assert (out.split("\n"), err) == (["released closed", "end", "released left", ""], "")


def test_one_that_fails_at_exit_does_not_keep_the_others_open() -> None:
    """Each resource is closed at exit, and the failure is told."""
    out, err = _run("""
        doors = [Door(name) for name in ("a", "stuck", "b", "stuck", "c")]
    """)
    assert sorted(out.split()) == ["a", "b", "c", "released", "released", "released"]
    assert "stuck" in err


def test_a_close_that_is_running_at_exit_is_waited_for() -> None:
    """The interpreter does not end in the middle of a close that another thread began."""
    out, err = _run("""
        class Slow(Door):
            begun = threading.Event()
            def _release(self):
                self.begun.set()
                threading.Event().wait(0.2)
                print("released", flush=True)
        slow = Slow("slow")
        threading.Thread(target=slow.close, daemon=True).start()
        slow.begun.wait()
    """)
    assert (out, err) == ("released\n", "")


def test_a_forked_child_may_not_use_or_release_its_parents_resource() -> None:
    """In the child, use raises and closing (at exit, too) releases nothing, even if the lock was held at the fork."""
    out, err = _run("""
        door = Door("parent's")
        door._closing.acquire()
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            try:
                door.use()
            except ResourceClosedError as exc:
                print("refused" if "fork" in str(exc) else exc, flush=True)
            door.close()
            sys.exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        door._closing.release()
    """)
    assert (out, err) == ("refused\n0\nreleased parent's\n", "")


async def _opened_and_closed(resource: HeldResource) -> None:
    async with resource:
        resource.use()


def _run(body: str) -> tuple[str, str]:
    script = textwrap.dedent(_SCRIPT) + textwrap.dedent(body)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    return done.stdout, done.stderr


def test_an_object_whose_constructor_failed_is_not_closed_at_exit():
    """Half of it was never made: the error stands alone, without a second one when the interpreter ends."""
    code = (
        "from super_advanced_agents.embeddings import EmbeddingPipeline\n"
        "try:\n    EmbeddingPipeline('no-such-model')\n"
        "except Exception as exc:\n    kept = exc\n    print(type(exc).__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ModelNotFoundError\n", "")
