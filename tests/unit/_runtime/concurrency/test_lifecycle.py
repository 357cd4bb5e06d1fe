"""Test resources: closed once, unusable after, and closed at exit if still open."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading

import pytest

from super_advanced_agents._runtime.concurrency.lifecycle import Resource
from super_advanced_agents.errors import ResourceClosedError, StoreError


class HeldResource(Resource):
    """Count the releases; a test can hold the release until it allows it."""

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


def test_with_block_releases_a_resource_once() -> None:
    """The resource is open inside the block and closed after it."""
    with HeldResource() as resource:
        assert resource.use() == "used"
        assert not resource.closed
    assert resource.closed
    assert resource.released == 1


async def test_async_with_block_releases_a_resource_off_the_event_loop() -> None:
    """`_release` may block, so it runs in a thread while the loop goes on."""
    resource = HeldResource()
    resource.may_close.clear()
    closing = asyncio.ensure_future(_use_in_async_with(resource))
    await asyncio.to_thread(resource.releasing.wait)
    assert not closing.done()
    resource.may_close.set()
    await closing
    assert resource.released == 1


def test_closed_resource_raises_resource_closed_on_use() -> None:
    """Methods and `with` raise an error that names the class."""
    resource = HeldResource()
    resource.close()
    with pytest.raises(ResourceClosedError, match="HeldResource is closed"):
        resource.use()
    with pytest.raises(ResourceClosedError), resource:
        pass


async def test_closing_a_resource_again_does_nothing() -> None:
    """`close` and `aclose` are idempotent, in any order."""
    resource = HeldResource()
    await resource.aclose()
    await asyncio.to_thread(resource.close)
    await resource.aclose()
    assert resource.released == 1


def test_resource_closed_by_many_threads_at_once_is_released_once() -> None:
    """Each `close` returns after the release is over."""
    resource = HeldResource()
    releases_seen: list[int] = []

    def close() -> None:
        resource.close()
        releases_seen.append(resource.released)

    threads = [threading.Thread(target=close) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert releases_seen == [1] * 8


async def test_second_aclose_waits_for_the_first() -> None:
    """Everything is freed when any `aclose` returns."""
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


async def test_cancelled_aclose_still_releases_the_resource() -> None:
    """The caller ends at once; the release goes on in its own thread."""
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


def test_failing_release_raises_once_and_leaves_the_resource_closed() -> None:
    """A further `close` raises nothing."""

    class FailingRelease(HeldResource):
        def _release(self) -> None:
            raise StoreError("the last flush failed")

    resource = FailingRelease()
    with pytest.raises(StoreError, match="flush"):
        resource.close()
    assert resource.closed
    resource.close()


_SCRIPT_START = """
    import os, signal, sys, threading, warnings
    warnings.simplefilter("ignore")
    from super_advanced_agents._runtime.concurrency.lifecycle import Resource
    from super_advanced_agents.errors import ResourceClosedError

    class NamedResource(Resource):
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


def test_open_resource_is_closed_at_interpreter_exit() -> None:
    """A resource that the script closed itself is not closed again."""
    out, err = _run_script("""
        left, closed = NamedResource("left"), NamedResource("closed")
        closed.close()
        print("end")
    """)
    assert (out.split("\n"), err) == (["released closed", "end", "released left", ""], "")


def test_failing_release_at_exit_does_not_stop_the_other_releases() -> None:
    """The failure is printed."""
    out, err = _run_script("""
        resources = [NamedResource(name) for name in ("a", "stuck", "b", "stuck", "c")]
    """)
    assert sorted(out.split()) == ["a", "b", "c", "released", "released", "released"]
    assert "stuck" in err


def test_interpreter_exit_waits_for_a_running_close() -> None:
    """Another thread has begun the close."""
    out, err = _run_script("""
        class Slow(NamedResource):
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


def test_forked_child_cannot_use_or_release_its_parents_resource() -> None:
    """In the child, use raises and closing releases nothing, even if the lock was held at the fork."""
    out, err = _run_script("""
        resource = NamedResource("parent's")
        resource._closing.acquire()  # another thread of the parent may hold the lock at the fork
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            try:
                resource.use()
            except ResourceClosedError as exc:
                print("refused" if "fork" in str(exc) else exc, flush=True)
            resource.close()
            sys.exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        resource._closing.release()
    """)
    assert (out, err) == ("refused\n0\nreleased parent's\n", "")


async def _use_in_async_with(resource: HeldResource) -> None:
    async with resource:
        resource.use()


def _run_script(body: str) -> tuple[str, str]:
    script = textwrap.dedent(_SCRIPT_START) + textwrap.dedent(body)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    return done.stdout, done.stderr


def test_resource_whose_constructor_failed_is_not_closed_at_exit():
    """The constructor's error stays the only one."""
    code = (
        "from super_advanced_agents.embeddings import EmbeddingPipeline\n"
        "try:\n    EmbeddingPipeline('no-such-model')\n"
        "except Exception as exc:\n    error = exc\n    print(type(exc).__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ModelNotFoundError\n", "")
