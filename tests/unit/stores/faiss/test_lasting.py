"""Tests of a store's state for its namespaces: it persists, and a failed transaction leaves none of it."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.stores.conftest import vectors
from tests.unit.stores.faiss.rows.test_schema import ANSWERS, OLD

from super_advanced_agents import FAISSVectorStore
from super_advanced_agents.errors import ModelMismatchError, StoreError
from super_advanced_agents.stores.faiss.maintenance.inspection import settings_of
from super_advanced_agents.stores.faiss.rows import duplicates, table

Open = Callable[..., FAISSVectorStore]


@pytest.fixture
def filled(opened: Open) -> FAISSVectorStore:
    """A store on disk with a model, a deduplicated namespace, and a session whose turns were put in reverse."""
    store = opened()
    store.add_batch(vectors(3), [{"text": text} for text in ("one", "two", "three")], list("abc"), sessions=["s"] * 3)
    turns = store.scan()
    store.delete(where={})
    store.put([replace(turn, place=10**9 - i, model_id="m") for i, turn in enumerate(turns)])  # the other way round
    assert store.add(vectors(1)[0], {"text": "two"}, dedupe="exact") == "b"
    return store


def _neighbours(store: FAISSVectorStore, word: str) -> set[str]:
    return {match.uid for match in store.search_keywords(word)}


def _check(store: FAISSVectorStore) -> None:
    assert store.add(vectors(1)[0], {"text": "two"}, "other", dedupe="exact") == "b"
    with pytest.raises(ModelMismatchError):
        store.add(vectors(1)[0], model_id="another")
    with pytest.raises(ModelMismatchError):
        store.search(vectors(1)[0], namespace="default", model_id="another")
    assert _neighbours(store, "three") == {"c", "b"}
    assert _neighbours(store, "two") == {"a", "b", "c"}


def test_model_digests_and_session_places_persist_after_reopening(filled: FAISSVectorStore, opened: Open) -> None:
    """A new turn follows those that were put into its session."""
    _check(filled)
    filled.close()
    store = opened()
    _check(store)
    store.add(vectors(1)[0], {"text": "four"}, "d", session="s")
    assert _neighbours(store, "four") == {"a", "d"}
    store.close()
    assert _neighbours(opened(), "four") == {"a", "d"}


def test_failed_transaction_leaves_no_namespace_model_digest_or_place(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next write creates all of them."""
    store = opened()
    store.add_batch(vectors(2), [{"text": "one"}, {"text": "two"}], ["a", "b"], sessions=["s", "s"])
    [turn, _] = store.scan()

    def broken(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("planted")

    with monkeypatch.context() as planted:
        planted.setattr(table, "insert_statement", broken)
        for failing in (
            lambda: store.add(vectors(1)[0], {"text": "new"}, "x", dedupe="exact", model_id="m"),
            lambda: store.add(vectors(1)[0], {"text": "one"}, "x", namespace="new", model_id="m"),
            lambda: store.put([replace(turn, place=10**9)]),
        ):
            with pytest.raises(StoreError, match="planted"):
                failing()
    assert "place_offset" not in (settings_of(tmp_path / "store") or {"place_offset": ""})
    assert store.stats()["models"] == {}
    assert (store.count(), store.count(namespace="new")) == (2, 0)
    assert store.add(vectors(1)[0], {"text": "one"}, "x", dedupe="exact", model_id="other") == "a"
    assert store.add(vectors(1)[0], {"text": "one"}, "x", namespace="new", model_id="other") == "x"
    assert store.put([turn]) == 1
    store.add_batch(vectors(1), [{"text": "later"}], ["later"], sessions=["s"])
    assert [record.place < 100 for record in store.get(["later"])] == [True]  # not behind the place that failed


def test_dedupe_finds_records_on_every_page_of_a_namespace(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first write with `dedupe` reads every record of its namespace, page by page."""
    monkeypatch.setattr(duplicates, "_PAGE", 7)  # private: a real page has 2,000 records
    store = opened()
    texts = [{"text": f"text {i}"} if i % 3 else {"n": i} for i in range(50)]
    uids = store.add_batch(vectors(50), texts)  # type: ignore[arg-type]
    store.add_batch(vectors(50), texts, namespace="other")  # type: ignore[arg-type]
    assert store.add_batch(vectors(50), texts, dedupe="exact") == uids  # type: ignore[arg-type]
    assert store.count() == 100


def test_store_of_schema_1_supports_dedupe_models_and_places(tmp_path: Path) -> None:
    """Its records are found as duplicates, keep their places in another store, and have the newest model."""
    folder = tmp_path / "store"
    folder.mkdir()
    shutil.copy(OLD / "memory.sqlite3", folder)
    with FAISSVectorStore(4, folder) as store, FAISSVectorStore(4, tmp_path / "copy") as copy:
        museum = next(record for record in ANSWERS["records"] if record["uid"] == "museum")
        assert store.add(museum["vector"], museum["metadata"], dedupe="exact") == "museum"
        with pytest.raises(ModelMismatchError, match=r"new/model.*old/model"):
            store.add(museum["vector"], model_id="old/model")
        turns = store.scan(namespace="talks")
        assert copy.put(turns) == 5
        for one in (store, copy):
            assert [match.uid for match in one.search_keywords("piano", namespace="talks")] == ["turn-3", "turn-1"]
