"""Tests of re-embedding: every record gets a vector of the new model while reads and writes continue."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from tests.unit.stores.conftest import assert_same, brute_force, sealed
from tests.unit.stores.faiss.maintenance.reembedding.conftest import (
    GRAPHS,
    NEW,
    OLD,
    Model,
    all_records,
    check_model,
    fill,
)

from super_advanced_agents import FAISSVectorStore
from super_advanced_agents.errors import ConfigurationError, DimensionMismatchError
from super_advanced_agents.stores.faiss.maintenance.inspection import settings_of


def test_reembed_replaces_every_vector_and_no_other_field(store: FAISSVectorStore, new: Model) -> None:
    """A second call finds nothing to do."""
    before = all_records(store)
    progress: list[tuple[int, int]] = []
    done = store.reembed(new, on_progress=lambda *now: progress.append(now))
    assert (done.records, done.embedded, done.dropped, done.model_id, done.dim) == (1_300, 1_300, 0, "new", 8)
    assert progress[-1][1] == 1_300
    check_model(store, new)
    for one, other in zip(all_records(store), before, strict=True):
        for field in ("uid", "namespace", "metadata", "session", "place", "created_at", "updated_at", "priority"):
            assert getattr(one, field) == getattr(other, field)
    assert sealed(store) >= 1
    check_model(store, new)
    again = store.reembed(new)
    assert (again.records, again.embedded) == (1_300, 0)


def test_reembedded_store_returns_the_results_of_one_filled_with_the_new_model(new: Model) -> None:
    """Hybrid searches agree with and without a filter."""
    with FAISSVectorStore(16, index="flat") as store, FAISSVectorStore(8, index="flat") as fresh:
        for each, model in ((store, OLD), (fresh, new)):
            fill(each, 1_000, model=model)
            fill(each, 300, model=model, namespace="other")
        store.reembed(new)
        for text in ("red text 7", "blue text 12"):
            for where in (None, {"i": {"$lt": 40}}):
                ours = store.search_hybrid(new.embed(text), text, 10, where=where, namespace="default")
                theirs = fresh.search_hybrid(new.embed(text), text, 10, where=where, namespace="default")
                assert [match.uid for match in ours] == [match.uid for match in theirs]
                assert [match.score for match in ours] == pytest.approx([match.score for match in theirs], abs=1e-4)


def test_reembed_leaves_no_staging_table_and_frees_the_pages_of_old_vectors(tmp_path: Path, new: Model) -> None:
    """A table that a killed process left is dropped too."""
    with FAISSVectorStore(16, tmp_path / "store", index="flat") as store:
        fill(store, 2_500)
        with closing(sqlite3.connect(tmp_path / "store" / "memory.sqlite3", isolation_level=None)) as connection:
            connection.execute("CREATE TABLE dropped_vectors (seq INTEGER PRIMARY KEY, vector BLOB NOT NULL)")
            store.reembed(new)
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            assert "records" in tables
            assert not {"staged_vectors", "dropped_vectors"} & tables
            [(free_pages,)] = connection.execute("PRAGMA freelist_count")
            assert free_pages > 10


def test_reembedded_store_refuses_the_old_dimension_also_after_reopening(tmp_path: Path, new: Model) -> None:
    """Queries, writes, openings and graphs of the old dimension are refused."""
    folder = tmp_path / "store"
    with FAISSVectorStore(16, folder, **GRAPHS) as store:
        fill(store, 700)
        sealed(store)
        identity = settings_of(folder)["identity"]
    shutil.copytree(folder / "index", tmp_path / "old index")
    with FAISSVectorStore(16, folder, **GRAPHS) as store:
        store.reembed(new)
        with pytest.raises(DimensionMismatchError):
            store.search(OLD.embed("red text 7"))
        with pytest.raises(DimensionMismatchError):
            store.add(OLD.embed("red text 7"))
        store.add(new.embed("more"), {"text": "more"}, model_id="new")
    with pytest.raises(ConfigurationError, match="dim=8"):
        FAISSVectorStore(16, folder)
    shutil.rmtree(folder / "index", ignore_errors=True)
    shutil.copytree(tmp_path / "old index", folder / "index")
    with FAISSVectorStore(8, folder, **GRAPHS) as store:
        assert settings_of(folder)["identity"] != identity
        check_model(store, new)
        assert store.count() == 701


def test_graphs_of_the_old_model_are_dropped_when_its_dimension_is_equal(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """They would lead a search to where the vectors were before."""
    folder, other = tmp_path / "store", Model("another", 16)
    with FAISSVectorStore(16, folder, **GRAPHS) as store:
        fill(store, 700)
        sealed(store)
    shutil.copytree(folder / "index", tmp_path / "old index")
    with FAISSVectorStore(16, folder, index="flat") as store:  # which makes no graphs that would take their place
        store.reembed(other)
    shutil.rmtree(folder / "index", ignore_errors=True)
    shutil.copytree(tmp_path / "old index", folder / "index")
    with FAISSVectorStore(16, folder, **GRAPHS) as store:
        assert store.count() == 700
        assert "store.snapshot_ignored" in caplog.messages
        for text in ("red text 0", "green text 1"):
            assert_same(store.search(other.embed(text), 10), brute_force(store, other.embed(text), 10))


def test_reads_and_writes_continue_during_reembedding_and_are_in_its_result(
    store: FAISSVectorStore, new: Model
) -> None:
    """Searches use the old vectors until the switch; adds, replacements and deletions between pages count."""
    query = OLD.embed("green text 1")
    seen = 0

    def meanwhile(batch: int) -> None:
        nonlocal seen
        if threading.current_thread().name == "store writer":
            return  # the switch itself
        found = store.search(query, 5, where={"i": {"$gte": 900, "$lt": 1_000}})
        vectors = [OLD.embed(str(match.metadata["text"])) for match in found]
        cosines = [np.dot(query, each) / np.linalg.norm(query) / np.linalg.norm(each) for each in vectors]
        assert [match.score for match in found] == pytest.approx(cosines, abs=1e-5)
        assert len(found) == 5
        seen += 1
        fill(store, 20, start=10_000 + 20 * batch)  # new ones
        fill(store, 10, start=5 * batch)  # replaced ones, some of them staged already
        assert store.delete([f"{i:06d}" for i in range(700 + 10 * batch, 705 + 10 * batch)], namespace="default") == 5

    new.before = meanwhile
    done = store.reembed(new)
    assert seen >= 3
    assert done.records == store.count() == 1_300 + 15 * seen
    assert done.embedded > 1_300
    check_model(store, new)
    assert store.get(["000700", "000703"], namespace="default") == []
    assert len(store.get(["010000", "010039"], namespace="default")) == 2


def test_searches_return_top_k_of_one_model_during_the_switch(tmp_path: Path, new: Model) -> None:
    """Each search uses either the old or the new vectors, in every namespace."""
    with FAISSVectorStore(16, tmp_path / "store", index="flat") as store:
        for i in range(10):
            fill(store, 500, namespace=f"n{i}")
        stop = threading.Event()
        problems: list[str] = []
        counted = {"old": 0, "new": 0}

        def search(model: Model, others: type[Exception]) -> None:
            while not stop.is_set():
                for i in range(10):
                    try:
                        found = store.search(model.embed("red text 0"), 20, namespace=f"n{i}", where={"i": {"$gte": 0}})
                    except others:
                        continue
                    counted[model.model_id] += 1
                    if len(found) != 20 or (found[0].uid, round(found[0].score, 4)) != ("000000", 1.0):
                        problems.append(f"{model.model_id} in n{i}: {len(found)} {found[:1]}")

        threads = [threading.Thread(target=search, args=(model, DimensionMismatchError)) for model in (OLD, NEW)]
        for thread in threads:
            thread.start()
        store.reembed(new)
        before = counted["new"]
        while counted["new"] < before + 20 and not problems:
            pass
        stop.set()
        for thread in threads:
            thread.join()
        assert problems == []
        assert counted["old"]
