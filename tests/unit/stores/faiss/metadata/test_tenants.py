"""Tests of metadata indexes apart by tenant: what they read, what they hold, and what they give back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from tests.unit.stores.conftest import DIM, Internals, vectors

from super_advanced_agents import FAISSVectorStore
from super_advanced_agents.stores.faiss.metadata import index as metadata_index
from super_advanced_agents.stores.faiss.rows.reader import RowReader
from super_advanced_agents.stores.wrappers.tenant_view import tenant_view
from super_advanced_agents.types import Metadata

WHERES = [{"only_b": 1}, {"only_b": {"$contains": "x"}}, {"nested.only_b": {"$gt": "a"}}, {"only_b": {"$exists": True}}]


@pytest.fixture
def rows_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the rows that filters read, to index them or to evaluate a condition."""
    read: list[int] = []
    sized_metadata_of, metadata_of = RowReader.sized_metadata_of, RowReader.metadata_of

    def indexed(rows: RowReader, seqs: Sequence[int]) -> list[tuple[int, int, Metadata]]:
        read.extend(seqs)
        return sized_metadata_of(rows, seqs)

    def evaluated(rows: RowReader, seqs: Sequence[int]) -> list[tuple[int, Metadata]]:
        read.extend(seqs)
        return metadata_of(rows, seqs)

    monkeypatch.setattr(RowReader, "sized_metadata_of", indexed)
    monkeypatch.setattr(RowReader, "metadata_of", evaluated)
    return read


@pytest.mark.parametrize("where", WHERES)
def test_filter_by_a_field_of_another_tenant_reads_the_rows_that_a_field_of_nobody_reads(
    opened: Callable[..., FAISSVectorStore], rows_read: list[int], where: Metadata
) -> None:
    """Each reads the caller's own rows once; the other tenant has a field with 500 long values and 100 fields more."""
    store = opened(None)
    a, b = tenant_view(store, "a"), tenant_view(store, "b")
    own = Internals(store)
    a.add_batch(vectors(5), [{"mine": i} for i in range(5)], namespace="n")
    last_own = own.rows.last_seq
    fields: list[Metadata | None] = [
        {"only_b": "x" * 300, "nested": {"only_b": f"b{i}"}, f"f{i % 100}": i} for i in range(500)
    ]
    b.add_batch(vectors(500), fields, namespace="n")
    assert b.count({"only_b": {"$contains": "x"}}, namespace="n") == 500
    rows_read.clear()
    assert a.count({"nobody": 1}, namespace="n") == 0
    assert sorted(rows_read) == list(range(1, last_own + 1))
    rows_read.clear()
    assert a.count(where, namespace="n") == 0
    assert rows_read == []
    assert own.metadata_sizes("a")["fields"] == 1
    assert own.metadata_sizes("b")["fields"] == 103


def test_filter_over_the_whole_store_finds_the_rows_of_every_tenant(opened: Callable[..., FAISSVectorStore]) -> None:
    """The owner of a shared store filters all of it, also by a field that some tenants lack."""
    store = opened(None)
    for name in ("a", "b", "c"):
        view = tenant_view(store, name)
        view.add_batch(vectors(4), [{"n": i, name: True} for i in range(4)], namespace="n", expires_in_s=[1_000.0] * 4)
    assert store.count({"n": {"$gte": 2}}) == 6
    assert store.count({"a": True}) == 4
    assert store.count({"a": {"$exists": False}}) == 8
    assert [len(store.search(vectors(1)[0], 12, where={"b": True}))] == [4]
    assert store.delete(where={"n": 3}) == 3


@pytest.mark.parametrize("shape", ["fields", "lists", "nested", "long paths"])
def test_memory_of_metadata_indexes_is_bounded_for_any_legal_metadata(
    opened: Callable[..., FAISSVectorStore], monkeypatch: pytest.MonkeyPatch, shape: str
) -> None:
    """Unique fields, list members, nested objects and long names take at most the base and six bytes a character."""
    monkeypatch.setattr(metadata_index, "_BASE_BYTES", 100_000)
    store = opened(None)
    view = tenant_view(store, "a")
    made: dict[str, Callable[[int], Metadata]] = {
        "fields": lambda i: {f"k{i}_{j}": j for j in range(60)},
        "lists": lambda i: {"list": [f"{i:x}{j:x}" for j in range(200)]},
        "nested": lambda i: {"a": {"b": {"c": {"d": {f"e{j}": i for j in range(40)}}}}},
        "long paths": lambda i: {"a" * 60: {"b" * 60: {f"c{i}_{j}": j for j in range(60)}}, f"é{i}": 1, "x" * 400: 1},
    }
    make = made[shape]
    metadatas: list[Metadata | None] = [{**make(i), "i": i} for i in range(300)]
    view.add_batch(vectors(300), metadatas, namespace="n")
    assert view.count({"i": {"$lt": 10}}, namespace="n") == 10
    assert view.count({"k299_59": 59}, namespace="n") == (shape == "fields")
    assert view.count({"list": {"$contains": "12b1"}}, namespace="n") == (2 if shape == "lists" else 0)
    sizes = Internals(store).metadata_sizes("a")
    chars = sum(len(str(metadata)) for metadata in metadatas)
    assert sizes["rows"] == 300
    assert sizes["fields"] <= metadata_index.MAX_FIELDS
    assert sizes["bytes"] <= 100_000 + 6 * chars + 100_000  # the last row may exceed it


def test_memory_of_metadata_is_freed_when_the_records_are_deleted(opened: Callable[..., FAISSVectorStore]) -> None:
    """A delete leaves no indexed row behind, and the records that come later are found."""
    store = opened(None)
    view = tenant_view(store, "a")
    view.add_batch(vectors(300), [{f"k{i}": i} for i in range(300)], namespace="n")
    assert view.count({"k7": 7}, namespace="n") == 1
    assert Internals(store).metadata_sizes("a")["fields"] == 300
    assert view.delete(where={}, namespace="n") == 300
    Internals(store).wait_for_slow_filters()
    assert {name: size for name, size in Internals(store).metadata_sizes("a").items() if size} == {}
    view.add_batch(vectors(3), [{"k7": 7}] * 3, namespace="n")
    assert view.count({"k7": 7}, namespace="n") == 3


def test_fields_beyond_the_greatest_number_are_filtered_by_reading_only_the_rows_that_may_have_them(
    opened: Callable[..., FAISSVectorStore], rows_read: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A filter by an indexed field reads no row then; one by another field reads those that had no room."""
    monkeypatch.setattr(metadata_index, "MAX_FIELDS", 2)
    store = opened(None)
    assert store.dim == DIM
    view = tenant_view(store, "a")
    view.add_batch(vectors(6), [{"a": i} if i < 3 else {"a": i, f"b{i}": i} for i in range(6)], namespace="n")
    assert view.count({"a": 1}, namespace="n") == 1
    rows_read.clear()
    assert view.count({"a": {"$gte": 4}}, namespace="n") == 2
    assert rows_read == []
    assert view.count({"b5": 5}, namespace="n") == 1
    assert len(set(rows_read)) == len(rows_read) == 2
