"""Generated uids: UUID version 7, unique, and greater than every one before."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from super_advanced_agents._runtime import uids
from super_advanced_agents._runtime.uids import new_uids


@given(counts=st.lists(st.integers(0, 300), min_size=1, max_size=10))
def test_uids_are_version_7_unique_and_in_order(counts: list[int]) -> None:
    """Across calls of any size, string order is the order of making."""
    made = [uid for count in counts for uid in new_uids(count)]
    assert len(made) == sum(counts)
    assert made == sorted(set(made))
    for uid in made:
        parsed = uuid.UUID(uid)
        assert str(parsed) == uid
        assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)


def test_a_uid_tells_when_it_was_made() -> None:
    """The first 48 bits are the milliseconds since the epoch."""
    before = time.time_ns() // 1_000_000
    stamp = uuid.UUID(new_uids(1)[0]).int >> 80
    assert before <= stamp <= time.time_ns() // 1_000_000 + 1_000  # a burst before may have borrowed a little


def test_order_survives_a_clock_that_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the clock was set back an hour, new uids are still greater."""
    now = time.time_ns()
    before = new_uids(1)
    monkeypatch.setattr(uids.time, "time_ns", lambda: now - 3_600 * 10**9)
    after = new_uids(5_000)
    assert before + after == sorted(set(before + after))


def test_more_than_a_millisecond_holds_are_still_unique(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the clock standing still, a full counter borrows from the next millisecond."""
    now = time.time_ns()
    monkeypatch.setattr(uids.time, "time_ns", lambda: now)
    made = [uid for _ in range(10) for uid in new_uids(1_000)]
    assert made == sorted(set(made))


def test_threads_never_make_the_same_uid() -> None:
    """Eight threads at once make 8,000 different uids, each thread's own in order."""
    made: list[list[str]] = []

    def work() -> None:
        made.append([uid for _ in range(100) for uid in new_uids(10)])

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({uid for own in made for uid in own}) == 8_000
    assert all(own == sorted(own) for own in made)


def test_processes_never_make_the_same_uid() -> None:
    """The random half keeps processes apart that make uids in the same millisecond."""
    script = "from super_advanced_agents._runtime.uids import new_uids; print('\\n'.join(new_uids(4_000)))"
    processes = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    made = [uid for process in processes for uid in process.communicate(timeout=60)[0].split()]
    assert len(made) == len(set(made)) == 8_000


def test_a_child_forked_while_a_uid_is_made_can_make_its_own() -> None:
    """The child does not inherit the lock in its held state."""
    script = (
        "import os, signal\n"
        "from super_advanced_agents._runtime import uids\n"
        "uids._lock.acquire()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    signal.alarm(20)\n"  # a child that hangs ends itself
        "    uids.new_uids(1)\n"
        "    os._exit(0)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("0\n", "")
