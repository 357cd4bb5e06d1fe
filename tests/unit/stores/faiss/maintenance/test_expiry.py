"""Tests of expiry: expired rows are deleted in small steps, and only when two clock readings agree."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import cast

import pytest
from tests.unit.stores.conftest import Internals, vectors

from super_advanced_agents import FAISSVectorStore
from super_advanced_agents.stores.faiss.maintenance import expiry
from super_advanced_agents.stores.faiss.maintenance.expiry import ExpiredRows, SweepStep
from super_advanced_agents.stores.faiss.writing.requests import ExpirySweep

Open = Callable[..., FAISSVectorStore]
DAY_S = 86_400.0


class Clock:
    """A replacement of the module `time` whose two clocks a test moves; only `time` may jump."""

    def __init__(self) -> None:
        self.passed = 0.0
        self.wrong = 0.0
        self._start = time.time() + 1.0  # so that lifetimes of a microsecond are over

    def time(self) -> float:
        """Return the seconds since the epoch, which may be wrong."""
        return self._start + self.passed + self.wrong

    def monotonic(self) -> float:
        """Return the seconds that have passed."""
        return self.passed


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Give expiry a clock that the test moves; the rest of the store has the machine's."""
    moved = Clock()
    monkeypatch.setattr(expiry, "time", moved)
    return moved


def _step(store: FAISSVectorStore) -> SweepStep:
    return cast("SweepStep", Internals(store).writer.submit(ExpirySweep()).wait())


def _step_without_deleting(sweep: ExpiredRows) -> SweepStep:
    """Return the next step, and mark it as committed though it deletes nothing."""
    step = sweep.next_step()
    sweep.mark_committed(step)
    return step


def _rows(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "memory.sqlite3")) as connection:
        return int(
            connection.execute("SELECT (SELECT count(*) FROM records) + (SELECT count(*) FROM vectors)").fetchone()[0]
        )


def _expired_rows(store: FAISSVectorStore) -> ExpiredRows:
    internals = Internals(store)
    return ExpiredRows(internals.rows, internals.index)


def _swept(store: FAISSVectorStore) -> object:
    return store.stats()["swept"]


def test_expired_rows_are_deleted_from_tables_searches_and_counts(opened: Open, tmp_path: Path, clock: Clock) -> None:
    """Rows that have not expired stay."""
    store = opened(index="hnsw", buffer_rows=16)
    store.add_batch(vectors(40), [{"text": f"word {i}"} for i in range(40)], expires_in_s=[1e-6, 3_600] * 20)
    assert _rows(tmp_path / "store") == 80
    _step(store)
    assert _rows(tmp_path / "store") == 80
    clock.passed += expiry.GRACE_S
    _step(store)
    assert _rows(tmp_path / "store") == 40
    assert _swept(store) == 20
    assert store.count() == len(store.search(vectors(1)[0], 100)) == len(store.search_keywords("word", 100)) == 20
    assert store.stats()["deleted"] == 0
    store.close()
    assert opened(index="hnsw", buffer_rows=16).count() == 20


def test_sweep_deletes_at_most_500_rows_in_one_step(opened: Open, clock: Clock) -> None:
    """Other writes are executed between the steps."""
    store = opened(None)
    for start in range(3):
        store.add_batch(vectors(500, start), expires_in_s=[1e-6] * 500)
    _step(store)
    clock.passed += expiry.GRACE_S
    steps = [_step(store) for _ in range(4)]
    assert [len(step.rows) for step in steps] == [500, 500, 500, 0]
    assert [step.more for step in steps] == [True, True, False, False]
    assert not steps[3].waiting
    assert _swept(store) == 1_500


@pytest.mark.parametrize("wrong_s", [DAY_S, -DAY_S, 365 * DAY_S])
def test_sweep_deletes_no_live_row_when_the_clock_was_wrong_for_a_while(
    opened: Open, clock: Clock, wrong_s: float
) -> None:
    """The clock is ahead or behind at one reading and right at the next, in either order."""
    store = opened(None)
    store.add_batch(vectors(2), None, ["gone", "lives"], expires_in_s=[1e-6, 3_600])
    sweep = _expired_rows(store)
    clock.wrong = wrong_s
    assert not _step_without_deleting(sweep).rows
    clock.wrong = 0.0
    for _ in range(2):  # a right clock, then a wrong one
        for _ in range(3):
            clock.passed += expiry.GRACE_S
            assert "lives" not in _uids_of(store, _step_without_deleting(sweep))
        clock.wrong, clock.passed = wrong_s, clock.passed + expiry.GRACE_S
        assert "lives" not in _uids_of(store, _step_without_deleting(sweep))
        clock.wrong = 0.0


def _uids_of(store: FAISSVectorStore, step: SweepStep) -> set[str]:
    return {uid for _, uid in Internals(store).rows.uids(list(step.rows))}


def test_sweep_deletes_nothing_when_the_clock_jumps_within_the_grace_period(opened: Open, clock: Clock) -> None:
    """Two readings within the grace period count as one, whatever the time of day says."""
    store = opened(None)
    store.add_batch(vectors(2), expires_in_s=[1e-6, 10.0])
    sweep = _expired_rows(store)
    for _ in range(5):
        clock.passed += 1
        clock.wrong += DAY_S
        assert not _step_without_deleting(sweep).rows


def test_sweep_of_a_reopened_store_uses_the_clock_reading_of_the_last_opening(
    opened: Open, tmp_path: Path, clock: Clock
) -> None:
    """The reading is stored with the rows, so no process has to stay open for the grace period."""
    store = opened()
    store.add_batch(vectors(3), expires_in_s=[1e-6, 1e-6, None])
    _step(store)
    store.close()
    clock.passed += expiry.GRACE_S
    again = opened()
    assert again.count() == 1
    _step(again)
    assert _rows(tmp_path / "store") == 2
    again.close()


def test_sweeper_thread_starts_when_a_record_can_expire(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It starts with the first lifetime, also at opening, and does not run in a store without lifetimes."""
    monkeypatch.setattr(expiry, "INTERVAL_S", 0.01)
    monkeypatch.setattr(expiry, "GRACE_S", 0.0)
    store = opened()
    store.add_batch(vectors(3))
    assert "store sweeper" not in {thread.name for thread in threading.enumerate()}
    store.add(vectors(1)[0], None, "x", expires_in_s=1e-6)
    _wait_until(lambda: _swept(store) == 1 and not Internals(store).is_sweeping())
    assert _rows(tmp_path / "store") == 6
    store.add(vectors(1)[0], None, "y", expires_in_s=0.05)
    store.close()
    time.sleep(0.06)
    again = opened()
    assert again.count() == 3
    _wait_until(lambda: _rows(tmp_path / "store") == 6)
    again.close()
    assert "store sweeper" not in {thread.name for thread in threading.enumerate()}


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_failed_sweep_deletes_nothing_and_the_next_one_succeeds(opened: Open, tmp_path: Path, clock: Clock) -> None:
    """A database that refuses to be written loses nothing."""
    store = opened()
    store.add_batch(vectors(400), expires_in_s=[1e-6] * 400)
    _step(store)
    clock.passed += expiry.GRACE_S
    connection = Internals(store).connection
    connection.execute("PRAGMA query_only = ON")
    with pytest.raises(Exception, match="written"):
        _step(store)
    connection.execute("PRAGMA query_only = OFF")
    assert _rows(tmp_path / "store") == 800
    _step(store)
    assert _rows(tmp_path / "store") == 0
