"""Tests of the indexes of records' own fields: what they read, what they hold, and what they give back."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from tests.unit.stores.conftest import Internals, vectors

from super_advanced_agents import FAISSVectorStore
from super_advanced_agents.config import STORE_DATABASE
from super_advanced_agents.errors import CorruptStoreError
from super_advanced_agents.stores.faiss.metadata import index as metadata_index
from super_advanced_agents.stores.faiss.rows.reader import RowReader
from super_advanced_agents.stores.wrappers.tenant_view import tenant_view
from super_advanced_agents.types import JSONValue


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The fields that filters read to index them, each with the number of rows."""
    read: list[tuple[str, int]] = []
    field_of = RowReader.field_of

    def counted(rows: RowReader, name: str, seqs: Sequence[int]) -> list[tuple[int, JSONValue]]:
        read.append((name, len(seqs)))
        return field_of(rows, name, seqs)

    monkeypatch.setattr(RowReader, "field_of", counted)
    return read


def test_filter_indexes_the_named_field_once_and_no_metadata(
    opened: Callable[..., FAISSVectorStore], reads: list[tuple[str, int]]
) -> None:
    """A second filter reads only the rows written since; what no filter names takes no memory."""
    store = opened()
    store.add_batch(vectors(50), [{"n": i} for i in range(50)], sources=["a.md"] * 20 + ["b.md"] * 30)
    assert store.count({"$source": "a.md"}) == 20
    assert store.count({"$source": {"$ne": "a.md"}}) == 30
    store.add_batch(vectors(3), sources=["a.md"] * 3)
    assert store.count({"$source": "a.md"}) == 23
    assert reads == [("$source", 50), ("$source", 3)]
    sizes = Internals(store).metadata_sizes("")
    assert (sizes["rows"], sizes["$source"]) == (0, 53)
    assert "$uid" not in sizes
    assert store.count({"n": {"$gte": 40}, "$source": "b.md"}) == 10


def test_filter_reads_only_the_rows_of_its_own_tenant(
    opened: Callable[..., FAISSVectorStore], reads: list[tuple[str, int]]
) -> None:
    """What others store costs nothing, also where the sources have one name."""
    store = opened(None)
    mine, theirs = tenant_view(store, "a"), tenant_view(store, "b")
    mine.add_batch(vectors(5), sources=["notes.md"] * 5)
    theirs.add_batch(vectors(500), sources=["notes.md"] * 500)
    assert mine.count({"$source": "notes.md"}, namespace="default") == 5
    assert mine.count({"$session": "notes.md"}, namespace="default") == 0
    assert reads == [("$source", 5), ("$session", 5)]


def test_index_of_deleted_rows_is_freed_and_built_again(
    opened: Callable[..., FAISSVectorStore], reads: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """When most of its rows are gone, the index goes, and the next filter indexes what is left."""
    monkeypatch.setattr(metadata_index, "_SPARE_ROWS", 0)
    store = opened()
    store.add_batch(vectors(40), sources=["old.md"] * 30 + ["new.md"] * 10)
    assert store.delete(where={"$source": "old.md"}) == 30
    Internals(store).wait_for_slow_filters()
    assert "$source" not in Internals(store).metadata_sizes("")
    assert store.count({"$source": "new.md"}) == 10
    assert reads == [("$source", 40), ("$source", 10)]


def test_filter_of_many_new_rows_is_evaluated_apart(opened: Callable[..., FAISSVectorStore]) -> None:
    """The first filter over thousands of rows does not hold up other searches; a long list of sources is right, too."""
    store = opened()
    for start in range(0, 3_000, 1_000):
        store.add_batch(vectors(1_000), sources=[f"{start + i}.md" for i in range(1_000)])
    own = Internals(store)
    assert store.count({"$source": {"$in": [f"{i}.md" for i in range(500, 1_500)]}}) == 1_000
    assert own.metadata_sizes("")["$source"] == 3_000


def test_damaged_field_is_reported_as_damage(opened: Callable[..., FAISSVectorStore], tmp_path: Path) -> None:
    """A time that is a text in the file is no crash of the filter."""
    with opened() as store:
        store.add_batch(vectors(2))
    with sqlite3.connect(tmp_path / "store" / STORE_DATABASE) as connection:
        connection.execute("UPDATE records SET created_at = 'noon' WHERE seq = 1")
    connection.close()
    with opened() as store, pytest.raises(CorruptStoreError):
        store.count({"$created_at": {"$gt": 0}})
