"""Tests of a vector store's argument validation and `where` filters."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date
from typing import Any, TypeAlias

import numpy as np
import pytest

from super_advanced_agents.config import Limits
from super_advanced_agents.errors import DimensionMismatchError, FilterError, InvalidInputError
from super_advanced_agents.stores.base import VectorStore
from super_advanced_agents.types import Metadata, Vector

MakeStore: TypeAlias = Callable[..., VectorStore]
"""A function that returns an empty store of the dimension it is called with."""

DIM = 4
"""The length of the vectors in this suite."""


def at(degrees: float) -> Vector:
    """Return a unit vector of `DIM` numbers that forms an angle of `degrees` with `at(0)`."""
    angle = math.radians(degrees)
    return np.array([math.cos(angle), math.sin(angle), *[0.0] * (DIM - 2)], dtype=np.float32)


def _nested(depth: int) -> Metadata:
    metadata: Metadata = {"bottom": 1}
    for _ in range(depth):
        metadata = {"deeper": metadata}
    return metadata


class _NotJson:
    pass


BAD_VECTORS: list[tuple[str, Any]] = [
    ("empty", []),
    ("too short", [1.0] * (DIM - 1)),
    ("too long", [1.0] * (DIM + 1)),
    ("nested", [[1.0] * DIM]),
    ("ragged", [1.0, [2.0, 3.0], 4.0, 5.0]),
    ("NaN", [1.0, math.nan, 0.0, 0.0]),
    ("infinite", [1.0, math.inf, 0.0, 0.0]),
    ("beyond float32", np.array([1e300, 0.0, 0.0, 0.0])),
    ("beyond float64", [10**400, 0, 0, 0]),
    ("a string", "1234"),
    ("strings", ["1", "2", "3", "4"]),
    ("None", None),
    ("Nones", [None] * DIM),
    ("a number", 5.0),
    ("complex", np.array([1j] * DIM)),
    ("a dict", {"a": 1}),
    ("objects", [_NotJson()] * DIM),
]

BAD_METADATA: list[tuple[str, Any]] = [
    ("not an object", ["a"]),
    ("a string", "text"),
    ("a key that is no string", {1: "a"}),
    ("a key that is no string, inside", {"a": {None: "b"}}),
    ("a lone surrogate in a key", {"\ud800": 1}),
    ("a lone surrogate in a value", {"a": "\udfff"}),
    ("NaN", {"a": math.nan}),
    ("infinite", {"a": [1, {"b": -math.inf}]}),
    ("an integer beyond 64 bits", {"a": 2**65}),
    ("too deep", _nested(Limits().metadata_depth)),
    ("too large", {"a": "x" * Limits().metadata_bytes}),
    ("bytes", {"a": b"x"}),
    ("a set", {"a": {1}}),
    ("an object", {"a": _NotJson()}),
    ("a date", {"a": np.datetime64("2024-01-01")}),
    ("a numpy array", {"a": np.zeros(2)}),
    ("a reserved key", {"$source": "a"}),
    ("an empty text", {"text": ""}),
    ("a blank text", {"text": " \n\t"}),
    ("a NUL in the text", {"text": "a\0b"}),
    ("a lone surrogate in the text", {"text": "a\ud800"}),
    ("a text of 65 KiB", {"text": "x" * 65 * 1024}),
    ("a text of 65 KiB in few characters", {"text": "\N{SNOWMAN}" * (65 * 1024 // 3)}),
    ("a text of 10 MB", {"text": "x" * 10_000_000}),
]

BAD_UIDS: list[Any] = ["", "x" * 257, "a\0b", "a\nb", "\ud800", 5, b"x", ["x"]]
BAD_NAMESPACES: list[Any] = ["", "a" * 257, "a\n", "a\0", "\x7f", "\u202e", "\ud800", 5]

BAD_FILTERS: list[Any] = [
    [],
    "type",
    5,
    {"a": {"$unknown": 1}},
    {"$unknown": [{"a": 1}]},
    {"$where": "1"},
    {"a": {"$gt": None}},
    {"a": {"$gt": True}},
    {"a": {"$lt": [1]}},
    {"a": {"$gte": {"b": 1}}},
    {"a": {"$gt": math.nan}},
    {"a": math.inf},
    {"a": {"$in": 5}},
    {"a": {"$in": "abc"}},
    {"a": {"$nin": {"b": 1}}},
    {"a": {"$exists": 1}},
    {"a": {"$exists": "yes"}},
    {"a": {"$not": 5}},
    {"a": {"$not": {}}},
    {"a": {"$gt": 1, "b": 2}},
    {"a": b"bytes"},
    {"a": {"$eq": _NotJson()}},
    {"$and": []},
    {"$or": []},
    {"$and": {"a": 1}},
    {"$or": [5]},
    {"$not": [{"a": 1}]},
    {"\ud800": 1},
    {"a" * 129: 1},
    {5: 1},
    {"$text": 1},
    {"day": date(2026, 11, 29)},
    {"$and": [{"a": i} for i in range(65)]},
    {"$or": [{} for _ in range(100_000)]},
    {"a": {"$in": list(range(1_001))}},
    {"a": {"$nin": list(range(400_000))}},
    {"a": {"$contains": "x" * 65_537}},
]


def _filter_of_depth(depth: int) -> dict[str, Any]:
    where: dict[str, Any] = {"a": 1}
    for _ in range(depth):
        where = {"$not": where}
    return where


FILTER_CASES: list[tuple[dict[str, Any], str]] = [
    ({}, "abcdefg"),
    ({"type": "fact"}, "ab"),
    ({"type": {"$eq": "fact"}}, "ab"),
    ({"type": {"$ne": "fact"}}, "cdefg"),
    ({"day": 1}, "ad"),
    ({"day": 1.0}, "ad"),
    ({"day": True}, "e"),
    ({"day": None}, "f"),
    ({"day": {"$gte": 1}}, "abd"),
    ({"day": {"$gt": 1}}, "b"),
    ({"day": {"$lt": 9}}, "ad"),
    ({"day": {"$lte": 9}}, "abd"),
    ({"day": {"$gt": 0, "$lt": 5}}, "ad"),
    ({"day": {"$gt": ""}}, "c"),
    ({"day": {"$in": [9, "monday"]}}, "bc"),
    ({"day": {"$in": []}}, ""),
    ({"day": {"$nin": [1, None]}}, "bceg"),
    ({"day": {"$exists": True}}, "abcdef"),
    ({"day": {"$exists": False}}, "g"),
    ({"day": {"$not": {"$gt": 1}}}, "acdefg"),
    ({"tags": {"$contains": "art"}}, "ac"),
    ({"tags": ["art", 1]}, "a"),
    ({"tags": {"$contains": 1}}, "a"),
    ({"type": {"$contains": "ac"}}, "ab"),
    ({"place.city": "Paris"}, "bd"),
    ({"place": {"city": "Paris"}}, "b"),
    ({"big": 2**53 + 1}, "a"),
    ({"big": {"$gt": 2**53}}, "ad"),
    ({"big": {"$lt": 10**30}}, "abd"),
    ({"big": 2**63}, "d"),
    ({"big": {"$gt": 2**63 - 1}}, "d"),
    ({"long": {"$contains": "needle"}}, "g"),
    ({"text": {"$contains": "museum"}}, "f"),
    ({"text": {"$exists": True}}, "f"),
    ({"$or": [{"type": "fact"}, {"day": None}]}, "abf"),
    ({"$and": [{"type": "fact"}, {"day": 9}]}, "b"),
    ({"type": "fact", "$not": {"day": 9}}, "a"),
    ({"$not": {"$or": [{"type": "fact"}, {"day": {"$exists": True}}]}}, "g"),
    ({"due date": "monday"}, "e"),
    ({"\u0433\u043e\u0440\u043e\u0434": {"$in": ["Paris", "Oslo"]}}, "e"),
    ({"a'; --.deep": {"$exists": True}}, "e"),
    ({"": 1}, "e"),
    ({"$type": "fact"}, "ab"),
    ({"$type": {"$exists": False}}, "defg"),
    ({"$uid": {"$in": ["b", "g", "z"]}}, "bg"),
    ({"$uid": {"$gte": "f"}}, "fg"),
    ({"$source": None}, "abcdefg"),
    ({"$created_at": {"$lt": "2001-01-01T00:00:00Z"}}, ""),
    ({"nobody": 1}, ""),
    ({"nobody": {"$ne": 1}}, "abcdefg"),
]
"""Filters, and the uids of the `FILTER_RECORDS` that they match."""

FILTER_RECORDS: dict[str, Metadata] = {
    "a": {"type": "fact", "day": 1, "tags": ["art", 1], "big": 2**53 + 1},
    "b": {"type": "fact", "day": 9, "place": {"city": "Paris"}, "big": 2**53},
    "c": {"type": "note", "day": "monday", "tags": "start"},
    "d": {"day": 1.0, "place.city": "Paris", "big": 2.0**63},
    "e": {"day": True, "due date": "monday", "\u0433\u043e\u0440\u043e\u0434": "Oslo", "a'; --": {"deep": 1}, "": 1},
    "f": {"day": None, "text": "The museum opens at nine."},
    "g": {"long": "x" * 300 + "needle"},
}


class StoreValidation:
    """Test a store's argument validation and `where` filters; a mixin of `VectorStoreSuite`."""

    @pytest.fixture
    def make_store(self) -> MakeStore:
        """Return a function that opens an empty store of a given dimension; subclasses override it.

        The subclass also closes the stores.
        """
        raise NotImplementedError

    @pytest.fixture
    def store(self, make_store: MakeStore) -> VectorStore:
        """Return an empty store for vectors of `DIM` numbers."""
        return make_store(DIM)

    @pytest.mark.parametrize("vector", [value for _, value in BAD_VECTORS], ids=[name for name, _ in BAD_VECTORS])
    def test_add_and_search_refuse_an_invalid_vector(self, store: VectorStore, vector: Any) -> None:
        """Adds and searches refuse an invalid vector, alone, in a batch or as a query."""
        with pytest.raises(InvalidInputError):
            store.add(vector)
        with pytest.raises(InvalidInputError):
            store.add_batch([at(0), vector, at(1)])
        with pytest.raises(InvalidInputError):
            store.search(vector)
        with pytest.raises(InvalidInputError):
            store.search_with_filter(vector, 1, lambda metadata: True)
        assert store.count() == 0

    @pytest.mark.parametrize(
        "vectors", [5.0, np.float32(5.0), None, "abc", np.array(1.0), np.ones((1, 1, DIM)), {1: 2}]
    )
    def test_batches_refuse_an_argument_that_is_not_a_list_of_vectors(self, store: VectorStore, vectors: Any) -> None:
        """`add_batch` and `search_batch` refuse vectors that are not of shape (n, dim)."""
        with pytest.raises(InvalidInputError):
            store.add_batch(vectors)
        with pytest.raises(InvalidInputError):
            store.search_batch(vectors)

    async def test_large_invalid_batch_is_refused_like_a_small_one(self, store: VectorStore) -> None:
        """A batch of 300 records, validated in a thread, raises an error that names the invalid one."""
        metadatas: list[Any] = [{}] * 299 + [{"a": math.nan}]
        with pytest.raises(InvalidInputError, match=r"metadatas\[299\]"):
            await store.aadd_batch(np.ones((300, DIM)), metadatas)
        assert len(await store.aadd_batch(np.ones((300, DIM)), [*metadatas[:299], None])) == 300
        assert await store.acount() == 300

    def test_vector_of_another_length_raises_dimension_mismatch(self, store: VectorStore) -> None:
        """A vector of another length is refused in an add, a query or a batch."""
        with pytest.raises(DimensionMismatchError):
            store.add_batch(np.ones((2, DIM + 1)))
        with pytest.raises(DimensionMismatchError, match=r"\[1\]"):
            store.add_batch([at(0), at(0)[:2]])
        with pytest.raises(DimensionMismatchError):
            store.search(np.ones(DIM - 1))

    @pytest.mark.parametrize("metadata", [value for _, value in BAD_METADATA], ids=[name for name, _ in BAD_METADATA])
    def test_add_batch_stores_nothing_when_metadata_is_invalid(self, store: VectorStore, metadata: Any) -> None:
        """Invalid metadata in a batch raises a short error with its index, and nothing is stored."""
        with pytest.raises(InvalidInputError) as refused:
            store.add_batch([at(0), at(1)], [{"fine": True}, metadata])
        assert "metadatas[1]" in str(refused.value)
        assert len(str(refused.value)) < 300
        assert store.count() == 0

    def test_add_refuses_metadata_that_contains_itself(self, store: VectorStore) -> None:
        """An add refuses a metadata object that contains itself, which has no JSON form."""
        endless: dict[str, Any] = {}
        endless["again"] = endless
        with pytest.raises(InvalidInputError):
            store.add(at(0), endless)

    @pytest.mark.parametrize("uid", BAD_UIDS, ids=ascii)
    def test_every_operation_refuses_an_invalid_uid(self, store: VectorStore, uid: Any) -> None:
        """Add, get, delete and scan refuse an invalid uid, and nothing is stored."""
        for call in (
            lambda: store.add(at(0), None, uid),
            lambda: store.add_batch([at(0), at(1)], None, ["fine", uid]),
            lambda: store.get([uid]),
            lambda: store.delete([uid]),
            lambda: store.scan(after=uid),
        ):
            with pytest.raises(InvalidInputError):
                call()
        assert store.count() == 0

    @pytest.mark.parametrize("namespace", BAD_NAMESPACES, ids=ascii)
    def test_every_operation_refuses_an_invalid_namespace(self, store: VectorStore, namespace: Any) -> None:
        """Writes, searches, reads and deletes refuse an invalid namespace."""
        for call in (
            lambda: store.add(at(0), namespace=namespace),
            lambda: store.search(at(0), namespace=namespace),
            lambda: store.search_with_filter(at(0), 1, lambda metadata: True, namespace=namespace),
            lambda: store.get(["a"], namespace=namespace),
            lambda: store.delete(["a"], namespace=namespace),
            lambda: store.count(namespace=namespace),
            lambda: store.scan(namespace=namespace),
        ):
            with pytest.raises(InvalidInputError):
                call()

    @pytest.mark.parametrize("top_k", [0, -1, 1_001, True, 1.0, "5", None])
    def test_search_refuses_an_invalid_top_k(self, store: VectorStore, top_k: Any) -> None:
        """A search refuses a `top_k` that is not an integer from 1 to 1,000."""
        with pytest.raises(InvalidInputError, match="top_k"):
            store.search(at(0), top_k)
        with pytest.raises(InvalidInputError, match="top_k"):
            store.search_with_filter(at(0), top_k, lambda metadata: True)

    @pytest.mark.parametrize("limit", [0, -1, 1_001, True, 1.0, None])
    def test_scan_refuses_an_invalid_limit(self, store: VectorStore, limit: Any) -> None:
        """A scan refuses a `limit` that is not an integer from 1 to 1,000."""
        with pytest.raises(InvalidInputError, match="limit"):
            store.scan(limit=limit)

    def test_batches_of_more_than_1000_entries_are_refused(self, store: VectorStore) -> None:
        """A batch of 1,000 records is accepted; 1,001 records, queries or uids are refused."""
        with pytest.raises(InvalidInputError, match="1000"):
            store.add_batch(np.ones((1_001, DIM)))
        with pytest.raises(InvalidInputError, match="1000"):
            store.add_batch([at(0)] * 1_001)
        with pytest.raises(InvalidInputError, match="1000"):
            store.search_batch([at(0)] * 1_001)
        for call in (store.get, store.delete):
            with pytest.raises(InvalidInputError, match="1000"):
                call([f"u{i}" for i in range(1_001)])
        assert store.count() == 0
        assert len(store.add_batch(np.ones((1_000, DIM)))) == 1_000

    def test_add_batch_refuses_lists_of_another_length(self, store: VectorStore) -> None:
        """`add_batch` refuses a list, such as `metadatas`, without exactly one entry per vector."""
        for name in ("metadatas", "uids", "sources", "sessions", "expires_in_s", "priorities"):
            for values in ([None], [None] * 3, "ab", {"a": 1}, 5):
                with pytest.raises(InvalidInputError, match=name):
                    store.add_batch([at(0), at(1)], **{name: values})  # type: ignore[arg-type]
        assert store.count() == 0

    @pytest.mark.parametrize("lifetime", [0, -1, math.nan, math.inf, True, "5", 10**400])
    def test_add_refuses_an_invalid_lifetime(self, store: VectorStore, lifetime: Any) -> None:
        """An add refuses an `expires_in_s` that is not a positive, finite number."""
        with pytest.raises(InvalidInputError, match="expires_in_s"):
            store.add(at(0), expires_in_s=lifetime)

    @pytest.mark.parametrize("name", ["", "a\0b", "\ud800", "x" * 2_000, 5], ids=ascii)
    def test_add_refuses_an_invalid_source_or_model_id(self, store: VectorStore, name: Any) -> None:
        """An add refuses a source or a model id that is not a short, printable string."""
        with pytest.raises(InvalidInputError, match="source"):
            store.add(at(0), source=name)
        with pytest.raises(InvalidInputError, match="model_id"):
            store.add(at(0), model_id=name)

    @pytest.mark.parametrize("where", [*BAD_FILTERS, _filter_of_depth(40)], ids=lambda where: repr(where)[:50])
    def test_every_operation_refuses_a_malformed_filter(self, store: VectorStore, where: Any) -> None:
        """Search, count, scan and delete refuse a malformed filter, and nothing is deleted."""
        store.add(at(0), {"a": 1}, "kept")
        for call in (
            lambda: store.search(at(0), where=where),
            lambda: store.search_with_filter(at(0), 1, lambda metadata: True, where=where),
            lambda: store.count(where),
            lambda: store.scan(where),
            lambda: store.delete(where=where),
            lambda: store.delete(["kept"], where=where),
        ):
            with pytest.raises(FilterError):
                call()
        assert store.count() == 1

    def test_delete_refuses_a_call_without_uids_and_filter(self, store: VectorStore) -> None:
        """`delete` refuses a call without uids and filter, and a string instead of a list of uids."""
        store.add(at(0), None, "kept")
        with pytest.raises(InvalidInputError):
            store.delete()
        with pytest.raises(InvalidInputError):
            store.delete("kept")
        with pytest.raises(InvalidInputError):
            store.get("kept")
        with pytest.raises(InvalidInputError):
            store.search_with_filter(at(0), 1, None)  # type: ignore[arg-type]
        assert store.count() == 1

    @pytest.mark.parametrize(("where", "expected"), FILTER_CASES, ids=[repr(where)[:60] for where, _ in FILTER_CASES])
    def test_filter_selects_the_same_records_in_every_operation(
        self, store: VectorStore, where: dict[str, Any], expected: str
    ) -> None:
        """Search, count, scan and delete select the same records for each `where` operator."""
        store.add_batch(
            [at(i) for i in range(len(FILTER_RECORDS))], list(FILTER_RECORDS.values()), list(FILTER_RECORDS)
        )
        assert "".join(match.uid for match in store.search(at(0), 100, where=where)) == expected
        assert "".join(record.uid for record in store.scan(where)) == expected
        assert store.count(where) == len(expected)
        assert store.delete(where=where) == len(expected)
        remaining = [record.uid for record in store.scan()]
        assert remaining == [uid for uid in FILTER_RECORDS if uid not in expected]
