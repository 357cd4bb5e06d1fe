"""Tests of `VectorStore.put`, which stores complete records, and of record priorities."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from super_advanced_agents.errors import DimensionMismatchError, InvalidInputError, ModelMismatchError
from super_advanced_agents.stores.base import VectorStore
from super_advanced_agents.testing.store_metric import StoreMetric
from super_advanced_agents.testing.store_validation import DIM, MakeStore, at
from super_advanced_agents.types import Record

BAD_FIELDS: list[tuple[str, Any]] = [
    ("uid", ""),
    ("uid", None),
    ("namespace", "a\n"),
    ("namespace", None),
    ("vector", np.ones(DIM + 1, np.float32)),
    ("vector", None),
    ("metadata", {"a": math.nan}),
    ("metadata", "text"),
    ("model_id", 5),
    ("source", ""),
    ("session", 5),
    ("created_at", None),
    ("created_at", math.inf),
    ("updated_at", "now"),
    ("expires_at", math.nan),
    ("expires_at", True),
    ("expires_at", 10**400),
    ("priority", math.nan),
    ("priority", "high"),
    ("place", -1),
    ("place", 1.5),
    ("place", 2**53),
]


def assert_equal(found: Sequence[Record], expected: Sequence[Record], *, but_for: Sequence[str] = ()) -> None:
    """Assert that two lists of records are equal in every field that is not in `but_for`."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.vector, other.vector)
        fields = set(Record.__dataclass_fields__) - {"vector", *but_for}
        assert {name: getattr(one, name) for name in fields} == {name: getattr(other, name) for name in fields}


class StoreLife(StoreMetric):
    """Test `put`, which stores complete records, and priorities; a `VectorStoreSuite` mixin."""

    # -- whole records --------------------------------------------------------------------------------------------

    def test_put_stores_every_field_in_another_store(self, store: VectorStore, make_store: MakeStore) -> None:
        """Records that `put` copies to another store keep every field, and searches find them."""
        store.add_batch(
            np.array([at(0), at(10), [3.0, 0.0, -4.0, 0.5]]),
            [{"text": "One cat."}, {"n": [1, None]}, None],
            ["a", "b", "c"],
            model_id="m",
            sources=["file.md", None, None],
            expires_in_s=[None, 900, None],
            priorities=[None, -2.5, 1],
        )
        store.add(at(0), {"v": 1}, "a", namespace="other")
        store.add(at(20), {"v": 2}, "a", namespace="other")
        store.add_batch([at(40)] * 2, None, ["t0", "t1"], namespace="other", sessions=["s", "s"])
        exported = store.scan()
        assert [(record.uid, record.priority) for record in exported if record.namespace == "default"] == [
            ("a", None), ("b", -2.5), ("c", 1.0)
        ]  # fmt: skip
        copy = make_store(DIM)
        assert copy.put(exported) == 6
        assert_equal(copy.scan(), exported)
        by_score = sorted(copy.scan(namespace="default"), key=lambda record: -self.score(record.vector, at(0)))
        best = [record.uid for record in by_score[:2]]
        assert [match.uid for match in copy.search(at(0), 2, namespace="default")] == best
        assert [match.uid for match in copy.search_keywords("cat")] == ["a"]

    def test_put_replaces_a_record_with_the_same_uid(self, store: VectorStore) -> None:
        """`put` replaces all fields of a record, even its creation time. Of equal uids the last wins."""
        store.add_batch([at(0), at(1)], [{"v": 0}, {"v": 1}], ["x", "y"])
        [old] = store.get(["x"])
        new = replace(old, metadata={"v": 3}, vector=at(50), created_at=5.0, updated_at=6.0, priority=2.0)
        assert store.put([replace(new, metadata={"v": 2}), new]) == 1
        assert_equal(store.get(["x"]), [new])
        assert store.count() == 2
        assert store.put([]) == 0

    def test_put_leaves_expired_records_out(self, store: VectorStore) -> None:
        """`put` skips an expired record: it is not counted, and a stored record stays as it is."""
        store.add_batch([at(0), at(1)], None, ["x", "y"], expires_in_s=[900, 900])
        x, y = store.get(["x", "y"])
        expired = replace(x, expires_at=time.time() - 1)
        assert store.put([expired, replace(y, uid="z")]) == 1
        assert store.put([expired]) == 0
        assert_equal(store.get(["x"]), [x])
        assert [record.uid for record in store.scan()] == ["x", "y", "z"]

    @pytest.mark.parametrize("order", ["by uid", "backwards", "one by one"])
    def test_put_keeps_the_order_of_turns_in_a_session(
        self, store: VectorStore, make_store: MakeStore, order: str
    ) -> None:
        """Records of a conversation that are put in any order keep their positions and neighbours."""
        texts = ["Where did you buy the piano?", "In a shop in Lyon.", "Lovely.", "Thanks.", "Bye."]
        names = ["d", "b", "e", "a", "c"]
        vectors = np.random.default_rng(0).normal(size=(5, DIM))
        for name, text, vector in zip(names, texts, vectors, strict=True):
            store.add(vector, {"text": text}, name, session="monday")
            store.add(vector, {"text": "Something else."}, f"z-{name}", session="tuesday")
        store.add(vectors[1], {"text": "In Lyon, in a shop."}, "b", session="monday")  # a replaced turn keeps its place
        exported = store.scan()
        copy = make_store(DIM)
        if order == "one by one":
            assert [copy.put([record]) for record in exported] == [1] * 10
        else:
            assert copy.put(exported if order == "by uid" else exported[::-1]) == 10
        for one in (store, copy):
            one.add(vectors[0], {"text": "One more thing."}, "later", session="monday")
            assert [match.uid for match in one.search_keywords("piano")] == ["d", "b"]
            assert {match.uid for match in one.search_keywords("lovely")} == {"b", "e", "a"}
            assert {match.uid for match in one.search_keywords("bye")} == {"a", "c", "later"}
        places = {record.uid: record.place for record in copy.scan()}
        assert sorted([*names, "later"], key=lambda name: places[name] or 0) == [*names, "later"]

    def test_put_appends_a_turn_without_a_place_to_its_session(self, store: VectorStore) -> None:
        """`put` appends records whose `place` is None to their conversation, in the order given."""
        store.add_batch([at(0), at(10)], [{"text": "alpha"}, {"text": "beta"}], ["t0", "t1"], sessions=["s", "s"])
        turns = [replace(record, uid=f"u{i}", place=None) for i, record in enumerate(store.get(["t1", "t0"]))]
        assert (
            store.put([replace(turns[0], metadata={"text": "gamma"}), replace(turns[1], metadata={"text": "delta"})])
            == 2
        )
        assert {match.uid for match in store.search_keywords("gamma")} == {"t1", "u0", "u1"}
        assert {match.uid for match in store.search_keywords("delta")} == {"u0", "u1"}

    @pytest.mark.parametrize(
        ("field", "value"), BAD_FIELDS, ids=[f"{name} {value!r:.20}" for name, value in BAD_FIELDS]
    )
    def test_put_stores_nothing_when_one_record_is_invalid(self, store: VectorStore, field: str, value: Any) -> None:
        """If one record is invalid, `put` stores none and raises an error that names its index."""
        store.add_batch([at(0), at(1)], None, ["x", "y"], sessions=["s", "s"])
        good, other = store.get(["x", "y"])
        bad = replace(other, **{"uid": "z", field: value})
        with pytest.raises(InvalidInputError, match=r"records\[1\]"):
            store.put([replace(good, uid="w"), bad])
        assert store.count() == 2

    def test_put_refuses_an_invalid_list_of_records(self, store: VectorStore) -> None:
        """`put` refuses other types than records, too many records, and vectors of another length."""
        store.add(at(0), None, "x")
        [record] = store.get(["x"])
        for records in ("x", record, None, [None], [{"uid": "x"}], {"x": record}):
            with pytest.raises(InvalidInputError):
                store.put(records)  # type: ignore[arg-type]
        with pytest.raises(InvalidInputError, match="1000"):
            store.put([replace(record, uid=f"u{i}") for i in range(1_001)])
        with pytest.raises(DimensionMismatchError):
            store.put([replace(record, vector=np.ones(DIM + 1, np.float32))])
        assert store.count() == 1
        assert store.put([replace(record, uid=f"u{i:04}") for i in range(1_000)]) == 1_000

    def test_put_refuses_records_of_two_models_in_one_namespace(self, store: VectorStore) -> None:
        """`put` refuses records of two embedding models in one namespace, but not in two namespaces."""
        store.add(at(0), None, "x", model_id="one")
        [record] = store.get(["x"])
        other = replace(record, uid="y", model_id="two")
        with pytest.raises(ModelMismatchError, match=r"'one'.*'two'"):
            store.put([replace(record, uid="w"), other])
        assert store.count() == 1
        assert (
            store.put(
                [
                    replace(record, uid="w"),
                    replace(other, namespace="elsewhere"),
                    replace(record, uid="v", model_id=None),
                ]
            )
            == 3
        )

    async def test_aput_stores_a_large_batch(self, store: VectorStore) -> None:
        """`aput` stores a batch of 300 records, which is validated in a worker thread."""
        await store.aadd(at(0), {"a": 1}, "x")
        [record] = await store.aget(["x"])
        assert await store.aput([replace(record, uid=f"u{i}") for i in range(300)]) == 300
        assert await store.acount() == 301

    # -- priorities -----------------------------------------------------------------------------------------------

    def test_priority_comes_back_as_it_was_added(self, store: VectorStore) -> None:
        """A record has the priority it was added with until it is replaced by one without."""
        store.add(at(0), None, "x", priority=7)
        assert [record.priority for record in store.get(["x"])] == [7.0]
        store.add(at(0), None, "x")
        assert [record.priority for record in store.get(["x"])] == [None]

    @pytest.mark.parametrize("priority", [math.nan, math.inf, True, "5", 10**400])
    def test_add_refuses_an_invalid_priority(self, store: VectorStore, priority: Any) -> None:
        """An add raises InvalidInputError if the priority is not a finite number."""
        with pytest.raises(InvalidInputError, match="priorit"):
            store.add(at(0), priority=priority)
        assert store.count() == 0
