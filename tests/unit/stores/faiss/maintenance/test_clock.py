"""Expired records stay expired when the machine's clock is set back, in the open store and in the next one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.unit.stores.conftest import Internals, vectors

from super_advanced_agents import FAISSVectorStore
from super_advanced_agents._runtime import clock
from super_advanced_agents.stores.faiss.writing.requests import ExpirySweep

Open = Callable[..., FAISSVectorStore]
HOUR_S = 3_600.0


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Give stores a clock whose two sources the test moves: `wall`, which may jump, and `passed`."""
    moved = SimpleNamespace(wall=1_700_000_000.0, passed=0.0)
    monkeypatch.setattr(clock, "time", SimpleNamespace(time=lambda: moved.wall, monotonic=lambda: moved.passed))
    return moved


def _found(store: FAISSVectorStore) -> tuple[list[str], list[str], int]:
    return (
        sorted(match.uid for match in store.search(vectors(1)[0], 10)),
        [record.uid for record in store.get(["short", "long", "late"])],
        store.count(),
    )


def test_expired_record_does_not_come_back_with_a_clock_that_is_set_back(opened: Open, time: SimpleNamespace) -> None:
    """Neither in searches nor by its uid; a record with the same content is stored anew."""
    store = opened()
    store.add(vectors(1)[0], {"text": "x"}, "short", expires_in_s=HOUR_S)
    store.add(vectors(1)[0], {"text": "y"}, "long")
    time.wall += 2 * HOUR_S
    assert _found(store) == (["long"], ["long"], 1)
    time.wall -= 4 * HOUR_S
    assert _found(store) == (["long"], ["long"], 1)
    assert not store.update("short", {"text": "z"})
    assert store.delete(["short"]) == 0
    assert store.add(vectors(1)[0], {"text": "x"}, "late") == "late"


def test_lifetime_has_its_full_length_after_the_clock_was_set_back(opened: Open, time: SimpleNamespace) -> None:
    """It neither ends at once nor lasts until the clock has caught up."""
    store = opened()
    store.count()
    time.wall += 10 * HOUR_S
    assert store.count() == 0
    time.wall -= 10 * HOUR_S
    store.add(vectors(1)[0], None, "late", expires_in_s=HOUR_S)
    time.wall, time.passed = time.wall + HOUR_S - 1, time.passed + HOUR_S - 1
    assert store.count() == 1
    time.wall, time.passed = time.wall + 1, time.passed + 1
    assert store.count() == 0


@pytest.mark.parametrize("end", ["closed", "swept"])
def test_expired_record_does_not_come_back_in_the_next_opening(
    opened: Open, tmp_path: Path, time: SimpleNamespace, end: str
) -> None:
    """The time is stored with the rows, by the sweep that follows the expiry and when the store is closed."""
    store = opened()
    store.add(vectors(1)[0], None, "short", expires_in_s=HOUR_S)
    store.add(vectors(1)[0], None, "long")
    time.wall += 2 * HOUR_S
    assert store.count() == 1
    time.wall -= 4 * HOUR_S
    if end == "swept":
        Internals(store).writer.submit(ExpirySweep()).wait()
        assert Internals(store).rows.setting("clock_highest") is not None
    store.close()
    assert _found(opened()) == (["long"], ["long"], 1)


def test_store_without_expired_records_stores_no_time(opened: Open, time: SimpleNamespace) -> None:
    """A clock that was ahead for a moment leaves nothing behind then."""
    store = opened()
    store.add(vectors(1)[0], None, "long", expires_in_s=100 * HOUR_S)
    time.wall += 2 * HOUR_S
    assert store.count() == 1
    Internals(store).writer.submit(ExpirySweep()).wait()
    assert Internals(store).rows.setting("clock_highest") is None
