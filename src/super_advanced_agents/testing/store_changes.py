"""Tests of `VectorStore.update`, and of the rule of one embedding model per namespace."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from super_advanced_agents.config import Limits
from super_advanced_agents.errors import (
    ConfigurationError,
    DimensionMismatchError,
    InvalidInputError,
    ModelMismatchError,
)
from super_advanced_agents.stores.base import VectorStore
from super_advanced_agents.testing.store_repeats import StoreRepeats
from super_advanced_agents.testing.store_validation import DIM, MakeStore, at
from super_advanced_agents.types import Metadata

PATCHES: list[tuple[Metadata, Metadata, Metadata]] = [  # most are examples of RFC 7396, appendix A
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ({"text": "old", "n": 1}, {"text": "new"}, {"text": "new", "n": 1}),
    ({"text": "old", "n": 1}, {"text": None}, {"n": 1}),
    ({"n": 1}, {}, {"n": 1}),
]

BAD_CHANGES: list[tuple[str, dict[str, Any]]] = [
    ("changes", {"changes": "text"}),
    ("changes", {"changes": {"a": math.nan}}),
    ("changes", {"changes": {1: "a"}}),
    ("changes", {"changes": {"text": " "}}),
    ("changes", {"changes": {"a": "x" * Limits().metadata_bytes}}),
    (
        "changes",
        {"changes": {"b": "x" * (Limits().metadata_bytes - 100)}},
    ),  # too large only together with the existing metadata
    ("vector", {"vector": "1234"}),
    ("model_id", {"vector": at(0), "model_id": 5}),
    ("source", {"source": ""}),
    ("expires_in_s", {"expires_in_s": 0}),
    ("expires_in_s", {"expires_in_s": "long"}),
    ("priority", {"priority": math.inf}),
    ("namespace", {"namespace": "a\n"}),
]


class StoreChanges(StoreRepeats):
    """Test `VectorStore.update`, which changes one record; a mixin of `VectorStoreSuite`."""

    @pytest.mark.parametrize(("before", "patch", "after"), PATCHES, ids=[repr(patch) for _, patch, _ in PATCHES])
    def test_update_merges_a_patch_into_the_metadata(
        self, store: VectorStore, before: Metadata, patch: Metadata, after: Metadata
    ) -> None:
        """An update sets, merges or removes metadata keys by a merge patch; the rest stays."""
        store.add(at(30), before, "x", source="file", session="s", expires_in_s=900, priority=2.0, model_id="m")
        [old] = store.get(["x"])
        assert store.update("x", patch) is True
        [new] = store.get(["x"])
        assert new.metadata == after
        np.testing.assert_array_equal(new.vector, old.vector)
        assert replace(new, vector=old.vector, metadata=before, updated_at=old.updated_at) == old
        assert new.updated_at >= old.updated_at
        assert [match.metadata for match in store.search(at(30), where=after)] == [after]

    def test_update_sets_and_removes_source_lifetime_and_priority(self, store: VectorStore) -> None:
        """An update stores a given source, lifetime or priority, and removes one that is None."""
        store.add(at(0), {"v": 1}, "x")
        assert store.update("x", source="file", expires_in_s=900, priority=3)
        [record] = store.get(["x"])
        assert (record.source, record.priority, record.metadata) == ("file", 3.0, {"v": 1})
        assert record.expires_at == pytest.approx(record.updated_at + 900)
        assert store.update("x", source=None, expires_in_s=None, priority=None)
        [record] = store.get(["x"])
        assert (record.source, record.priority, record.expires_at) == (None, None, None)
        assert store.update("x", expires_in_s=1e-6)
        assert store.get(["x"]) == []

    def test_search_finds_an_updated_vector_and_text(self, store: VectorStore) -> None:
        """After an update, a search finds the record's new vector and text and not the old ones."""
        store.add_batch([at(0), at(5)], [{"text": "alpha"}, {"text": "beta"}], ["x", "y"], model_id="m")
        assert store.update("x", {"text": "gamma"}, vector=at(90) * 3, model_id="m")
        assert [match.uid for match in store.search(at(0), 2)] == ["y", "x"]
        assert store.search(at(90), 1)[0].score == pytest.approx(self.score(at(90) * 3, at(90)), abs=1e-5)
        np.testing.assert_array_equal(store.get(["x"])[0].vector, at(90) * 3)
        assert [match.uid for match in store.search_keywords("gamma")] == ["x"]
        assert store.search_keywords("alpha") == []

    def test_updated_turn_keeps_its_place_in_the_session(self, store: VectorStore) -> None:
        """A record of a conversation still has the records around it as neighbours after an update."""
        texts = ["Where did you buy the piano?", "In a shop.", "Lovely.", "Thanks."]
        store.add_batch([at(i) for i in range(4)], [{"text": t} for t in texts], list("abcd"), sessions=["s"] * 4)
        assert store.update("b", {"text": "In Lyon."})
        assert [match.uid for match in store.search_keywords("piano")] == ["a", "b"]
        assert {match.uid for match in store.search_keywords("Lyon")} == {"a", "b", "c"}

    def test_update_returns_false_when_the_record_does_not_exist(self, store: VectorStore) -> None:
        """An update of a record that is unknown, deleted, expired or elsewhere returns False."""
        store.add_batch([at(0)] * 2, None, ["deleted", "expired"], expires_in_s=[None, 1e-6])
        store.delete(["deleted"])
        store.add(at(0), {"v": 1}, "x", namespace="other")
        for uid in ("nobody", "deleted", "expired", "x"):
            assert store.update(uid, {"v": 2}) is False
            assert store.update(uid, {"v": 2}, namespace="nowhere") is False
        assert store.update("x", {"v": 2}, namespace="other") is True
        assert [record.metadata for record in store.scan()] == [{"v": 2}]

    @pytest.mark.parametrize(("named", "arguments"), BAD_CHANGES, ids=[f"{n} {str(a)[:30]}" for n, a in BAD_CHANGES])
    def test_update_refuses_an_invalid_change_and_leaves_the_record(
        self, store: VectorStore, named: str, arguments: dict[str, Any]
    ) -> None:
        """An invalid update raises an error that names the argument, and the record is unchanged."""
        store.add(at(0), {"a": "y" * 200}, "x")
        before = store.get(["x"])[0].updated_at
        with pytest.raises(InvalidInputError, match=named):
            store.update("x", **arguments)
        with pytest.raises(DimensionMismatchError):
            store.update("x", vector=np.ones(DIM + 1))
        with pytest.raises(InvalidInputError, match="uid"):
            store.update("", {"a": 1})
        [record] = store.get(["x"])
        assert (record.metadata, record.updated_at) == ({"a": "y" * 200}, before)

    async def test_concurrent_updates_of_one_record_are_all_applied(self, store: VectorStore) -> None:
        """Forty concurrent updates of one record are all stored, although another one is invalid."""
        await store.aadd(at(0), {"n": 0}, "x")
        changes: list[Metadata] = [{f"k{i}": i} for i in range(40)]
        bad = store.aupdate("x", {"b": "x" * (Limits().metadata_bytes - 2)})
        done = await asyncio.gather(*(store.aupdate("x", change) for change in changes), bad, return_exceptions=True)
        assert done[:-1] == [True] * 40
        assert isinstance(done[-1], InvalidInputError)
        [record] = await store.aget(["x"])
        assert record.metadata == {"n": 0, **{f"k{i}": i for i in range(40)}}


class StoreModels:
    """Test that a namespace holds vectors of one embedding model; a `VectorStoreSuite` mixin."""

    def test_writes_refuse_vectors_of_another_model(self, store: VectorStore) -> None:
        """Add, put and update refuse a vector of another embedding model than the namespace's."""
        store.add(at(0), {"v": 1}, "x", model_id="model/one")
        [record] = store.get(["x"])
        for call in (
            lambda: store.add(at(1), model_id="model/two"),
            lambda: store.add_batch([at(1), at(2)], model_id="model/two", dedupe="exact"),
            lambda: store.put(
                [replace(record, uid="w", namespace="other"), replace(record, uid="y", model_id="model/two")]
            ),
        ):
            with pytest.raises(ModelMismatchError, match=r"'model/one'.*'model/two'.*saa reembed"):
                call()
        store.add(at(1), None, "y", model_id="model/one")
        with pytest.raises(ModelMismatchError):
            store.update("x", vector=at(1), model_id="model/two")
        assert [stored.uid for stored in store.scan()] == ["x", "y"]
        assert issubclass(ModelMismatchError, ConfigurationError)

    def test_search_refuses_a_query_of_another_model(self, store: VectorStore) -> None:
        """A search of a namespace refuses a query whose `model_id` is not that of its vectors."""
        store.add(at(0), {"text": "one"}, "x", namespace="a", model_id="model/one")
        store.add(at(0), {"text": "two"}, "y", namespace="b", model_id="model/two")
        for call in (
            lambda: store.search(at(0), namespace="a", model_id="model/two"),
            lambda: store.search_batch([at(0)], namespace="a", model_id="model/three"),
            lambda: store.search_hybrid(at(0), "one", namespace="a", model_id="model/two"),
            lambda: store.search_with_filter(at(0), 1, lambda metadata: True, namespace="a", model_id="model/two"),
        ):
            with pytest.raises(ModelMismatchError, match=r"'a'.*'model/one'"):
                call()
        assert [match.uid for match in store.search(at(0), namespace="a", model_id="model/one")] == ["x"]
        assert [match.uid for match in store.search_hybrid(at(0), "one", namespace="a", model_id="model/one")] == ["x"]
        assert (
            len(store.search(at(0), namespace="a"))
            == len(store.search(at(0), namespace="b", model_id="model/two"))
            == 1
        )
        assert len(store.search(at(0), model_id="model/three")) == 2
        assert store.search(at(0), namespace="nowhere", model_id="model/three") == []
        with pytest.raises(InvalidInputError, match="model_id"):
            store.search(at(0), namespace="a", model_id="")

    def test_namespace_accepts_another_model_when_no_old_vector_is_left(self, store: VectorStore) -> None:
        """A namespace accepts another model once its vectors are deleted, expired or all replaced."""
        store.add_batch([at(0), at(1)], None, ["x", "y"], model_id="one")
        store.delete(where={})
        assert store.search(at(0), namespace="default", model_id="two") == []
        store.add(at(0), None, "x", model_id="two", expires_in_s=1e-6)
        store.add_batch([at(0), at(1)], None, ["x", "y"], model_id="three")
        with pytest.raises(ModelMismatchError):
            store.add(at(0), None, "x", model_id="four")
        store.add_batch([at(0), at(1), at(2)], None, ["x", "y", "z"], model_id="four")
        assert {record.model_id for record in store.scan()} == {"four"}
        assert len(store.search(at(0), namespace="default", model_id="four")) == 3
        with pytest.raises(ModelMismatchError):
            store.search(at(0), namespace="default", model_id="three")

    def test_vectors_without_a_model_id_are_accepted_in_any_namespace(
        self, store: VectorStore, make_store: MakeStore
    ) -> None:
        """A vector without a model id is accepted in any namespace and does not set its model."""
        store.add(at(0), None, "bare")
        store.add(at(1), None, "x", model_id="one")
        store.add(at(2), None, "bare too")
        with pytest.raises(ModelMismatchError):
            store.add(at(3), None, "y", model_id="two")
        assert {record.uid: record.model_id for record in store.scan()} == {"bare": None, "bare too": None, "x": "one"}
        copy = make_store(DIM)
        assert copy.put(store.scan()) == 3
        assert {record.uid: record.model_id for record in copy.scan()} == {"bare": None, "bare too": None, "x": "one"}
        assert copy.update("bare", {"v": 1})
        with pytest.raises(ModelMismatchError):
            copy.add(at(3), None, "y", model_id="two")

    async def test_concurrent_adds_succeed_when_another_model_is_refused(self, store: VectorStore) -> None:
        """Valid adds are stored even when concurrent adds of another embedding model are refused."""
        await store.aadd(at(0), None, "x", model_id="one")
        calls = [store.aadd(at(i), None, f"u{i}", model_id="two" if i % 3 == 0 else "one") for i in range(30)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert [isinstance(outcome, ModelMismatchError) for outcome in outcomes] == [i % 3 == 0 for i in range(30)]
        assert await store.acount() == 21
