"""Tests of damage that no checksum detects: it raises CorruptStoreError or is repaired from the rows."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import orjson
import pytest

from super_advanced_agents import FAISSVectorStore
from super_advanced_agents.errors import CorruptStoreError
from super_advanced_agents.stores.faiss.keywords.index import FLUSH_ROWS
from super_advanced_agents.types import Match, Weights

_SEARCHES: dict[str, Callable[[FAISSVectorStore], list[Match]]] = {
    "vector": lambda store: store.search([1.0, 0.0], 5),
    "keyword": lambda store: store.search_keywords("cat", 5),
    "hybrid": lambda store: store.search_hybrid([1.0, 0.0], "cat", 5),
    "predicate": lambda store: store.search_with_filter([1.0, 0.0], 5, lambda _: True),
}


@pytest.mark.parametrize("search", _SEARCHES)
@pytest.mark.parametrize("column", ["uid", "text", "metadata", "source", "session", "created_at", "updated_at"])
def test_search_refuses_a_row_with_a_value_of_another_type(tmp_path: Path, column: str, search: str) -> None:
    """A flipped bit can change the type of the value that SQLite returns."""
    with FAISSVectorStore(2, tmp_path) as store:
        store.add([1.0, 0.0], {"text": "a cat"}, "u", source="cats.md", session="monday")
        assert [match.uid for match in store.search_keywords("cat", 5)] == ["u"]
    with closing(sqlite3.connect(tmp_path / "memory.sqlite3", isolation_level=None)) as connection:
        connection.execute(f"UPDATE records SET {column} = x'ff'")  # a column of the parameters
    with FAISSVectorStore(2, tmp_path) as store, pytest.raises(CorruptStoreError):
        _SEARCHES[search](store)


def test_hybrid_search_refuses_a_damaged_priority(tmp_path: Path) -> None:
    """Age and priority are read apart from the rest of a row, and only when they have a weight."""
    with FAISSVectorStore(2, tmp_path) as store:
        store.add([1.0, 0.0], {"text": "a cat"}, "u", priority=1.0)
    with closing(sqlite3.connect(tmp_path / "memory.sqlite3", isolation_level=None)) as connection:
        connection.execute("UPDATE records SET priority = x'ff'")
    with FAISSVectorStore(2, tmp_path) as store, pytest.raises(CorruptStoreError):
        store.search_hybrid([1.0, 0.0], "cat", 5, weights=Weights(priority=1.0))


@pytest.mark.parametrize("scope", ["7", "x'ff'"])
def test_row_of_an_unknown_namespace_is_refused(tmp_path: Path, scope: str) -> None:
    """It belongs to no tenant, so it may be shown to none."""
    with FAISSVectorStore(2, tmp_path) as store:
        store.add([1.0, 0.0], {"text": "a cat"}, "u")
    with closing(sqlite3.connect(tmp_path / "memory.sqlite3", isolation_level=None)) as connection:
        connection.execute(f"UPDATE records SET scope = {scope}")
    with FAISSVectorStore(2, tmp_path) as store, pytest.raises(CorruptStoreError):
        store.scan()


def test_keyword_snapshot_without_its_list_of_segments_is_dropped(tmp_path: Path) -> None:
    """Without `meta.json` the library opens an empty index, though the manifest may not miss the file."""
    count = FLUSH_ROWS + 100  # fewer are not written when the store closes
    with FAISSVectorStore(2, tmp_path) as store:
        for start in range(0, count, 1_000):
            rows = range(start, min(start + 1_000, count))
            store.add_batch(
                [[1.0, 0.0]] * len(rows), [{"text": f"cat number{i}"} for i in rows], [f"u{i}" for i in rows]
            )
        assert len(store.search_keywords("cat", 1_000)) == count
    manifest = tmp_path / "words" / "manifest.json"
    body = orjson.loads(manifest.read_bytes())["body"]
    del body["files"]["meta.json"]
    manifest.write_bytes(orjson.dumps({"sha256": hashlib.sha256(orjson.dumps(body)).hexdigest(), "body": body}))
    with FAISSVectorStore(2, tmp_path) as store:
        assert [match.uid for match in store.search_keywords("number7", 5)] == ["u7"]
        assert len(store.search_keywords("cat", 1_000)) == count
