"""Test generated uids: UUID version 7, unique and increasing."""

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
from super_advanced_agents._runtime.uids import new_uids, seeded_uids


@given(counts=st.lists(st.integers(0, 300), min_size=1, max_size=10))
def test_new_uids_are_version_7_unique_and_increasing(counts: list[int]) -> None:
    """String order is the order of creation, across calls of any size."""
    created = [uid for count in counts for uid in new_uids(count)]
    assert len(created) == sum(counts)
    assert created == sorted(set(created))
    for uid in created:
        parsed = uuid.UUID(uid)
        assert str(parsed) == uid
        assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)


def test_uid_begins_with_its_creation_time() -> None:
    """The first 48 bits are the milliseconds since the epoch."""
    before = time.time_ns() // 1_000_000
    stamp = uuid.UUID(new_uids(1)[0]).int >> 80
    assert before <= stamp <= time.time_ns() // 1_000_000 + 1_000  # earlier tests may have borrowed a few milliseconds


def test_new_uids_keep_increasing_when_the_clock_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is set back by an hour."""
    now = time.time_ns()
    before = new_uids(1)
    monkeypatch.setattr(uids.time, "time_ns", lambda: now - 3_600 * 10**9)
    after = new_uids(5_000)
    assert before + after == sorted(set(before + after))


def test_new_uids_stay_unique_when_the_clock_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full counter borrows from the next millisecond."""
    now = time.time_ns()
    monkeypatch.setattr(uids.time, "time_ns", lambda: now)
    created = [uid for _ in range(10) for uid in new_uids(1_000)]
    assert created == sorted(set(created))


def test_new_uids_of_concurrent_threads_are_unique() -> None:
    """Each thread's own uids are in order."""
    created: list[list[str]] = []

    def work() -> None:
        created.append([uid for _ in range(100) for uid in new_uids(10)])

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({uid for own in created for uid in own}) == 8_000
    assert all(own == sorted(own) for own in created)


def test_new_uids_of_two_processes_are_unique() -> None:
    """The random half differs when two processes create uids in the same millisecond."""
    script = "from super_advanced_agents._runtime.uids import new_uids; print('\\n'.join(new_uids(4_000)))"
    processes = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    created = [uid for process in processes for uid in process.communicate(timeout=60)[0].split()]
    assert len(created) == len(set(created)) == 8_000


def test_new_uids_works_in_a_child_forked_while_the_lock_was_held() -> None:
    """The child does not inherit the lock in its held state."""
    script = (
        "import os, signal\n"
        "from super_advanced_agents._runtime import uids\n"
        "uids._lock.acquire()\n"  # private: another thread of the parent may hold it at the fork
        "child = os.fork()\n"
        "if child == 0:\n"
        "    signal.alarm(20)\n"  # a child that hangs ends itself
        "    uids.new_uids(1)\n"
        "    os._exit(0)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_seeded_uids_are_ordered_and_reproducible_uuids_of_version_7() -> None:
    """They have the time that is given, and any range of them can be generated."""
    uids = seeded_uids(b"s" * 16, 1_700_000_000.0, 0, 5_000)
    assert uids == sorted(set(uids))
    assert seeded_uids(b"s" * 16, 1_700_000_000.0, 4_000, 10) == uids[4_000:4_010]
    assert seeded_uids(b"t" * 16, 1_700_000_000.0, 0, 1) != uids[:1]
    first = uuid.UUID(uids[0])
    assert (first.version, first.variant, first.int >> 80) == (7, uuid.RFC_4122, 1_700_000_000_000)
