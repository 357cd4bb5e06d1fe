"""Tests of when a store merges the rows that it was opened with into segments."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from tests.unit.stores.conftest import Internals, sealed, vectors

from super_advanced_agents import FAISSVectorStore
from super_advanced_agents.errors import OverloadedError
from super_advanced_agents.stores.faiss.rows.batch import Change
from super_advanced_agents.stores.faiss.vectors import sealer

Opened = Callable[..., FAISSVectorStore]
GRAPHS = {"index": "hnsw", "buffer_rows": 32}


@pytest.fixture
def unsealed(opened: Opened, tmp_path: Path) -> Path:
    """The folder of a store that lost its segments."""
    with opened(tmp_path / "store", **GRAPHS) as store:
        store.add_batch(vectors(200))
        assert sealed(store)
    shutil.rmtree(tmp_path / "store" / "index")
    return tmp_path / "store"


def test_store_that_is_opened_for_a_search_builds_no_graph(opened: Opened, unsealed: Path) -> None:
    """Its end would come before that of the graph; a write or more time begins it."""
    with opened(unsealed, **GRAPHS) as store:
        assert len(store.search(vectors(1)[0], 5)) == 5
        assert not Internals(store).sealer.busy
        assert store.stats()["segments"] == 0
        store.add(vectors(1, 5)[0])
        assert sealed(store)


def test_store_that_stays_open_builds_its_graphs(
    opened: Opened, unsealed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any write."""
    monkeypatch.setattr(sealer, "_AFTER_LOAD_S", 0.0)
    with opened(unsealed, **GRAPHS) as store:
        assert store.count() == 200
        while not store.stats()["segments"]:
            with suppress(OverloadedError):  # the timer's call waits already
                Internals(store).wait_for_sealer()


@pytest.mark.parametrize("storage", ["fp32", "sq8"])
def test_rows_of_a_write_that_is_not_complete_are_kept(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, storage: str
) -> None:
    """Their buffers are full, and no search sees them yet, when the store looks for what to merge."""
    with opened(tmp_path / "store", index="hnsw", buffer_rows=16, storage=storage) as store:
        store.add_batch(vectors(10))
        internals = Internals(store)
        update_sessions = internals.index._update_sessions

        def update_while_sealing(change: Change) -> None:
            internals.sealer.wake()
            give_up_at = time.monotonic() + 0.5
            while internals.sealer.busy and time.monotonic() < give_up_at:
                time.sleep(0.01)
            update_sessions(change)

        monkeypatch.setattr(internals.index, "_update_sessions", update_while_sealing)
        store.add_batch(vectors(200))
        monkeypatch.undo()
        assert sealed(store)
        assert len(store.search(vectors(1)[0], 1_000)) == 210
