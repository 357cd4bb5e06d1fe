"""Tests of writes that are repeated with their `write_id`, as clients do after a lost reply."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from super_advanced_agents.errors import InvalidInputError, ModelMismatchError
from super_advanced_agents.stores.base import VectorStore
from super_advanced_agents.stores.requests import (
    AddRequest,
    Bounds,
    DeleteRequest,
    PutRequest,
    UpdateRequest,
    WriteRequest,
)
from super_advanced_agents.testing.store_metric import StoreMetric
from super_advanced_agents.testing.store_validation import DIM, at


def _execute(store: VectorStore, request: WriteRequest[Any]) -> Any:
    return asyncio.run(store.aexecute(request))


def _add(*uids: str | None, metadata: dict[str, Any] | None = None, degrees: float = 0.0, **options: Any) -> AddRequest:
    vectors: Any = [at(degrees + 10 * number) for number, _ in enumerate(uids)]
    metadatas = [metadata or {}] * len(uids)
    return AddRequest(bounds=Bounds(dim=DIM), vectors=vectors, metadatas=metadatas, uids=uids, **options)


OTHER_WRITES: dict[str, WriteRequest[Any]] = {
    "add with other metadata": _add("a", metadata={"n": 2}, write_id="w1"),
    "add of another uid": _add("b", metadata={"n": 1}, write_id="w1"),
    "add of more": _add("a", "b", metadata={"n": 1}, write_id="w1"),
    "add of another vector": _add("a", metadata={"n": 1}, degrees=20, write_id="w1"),
    "add to another namespace": _add("a", metadata={"n": 1}, namespace="other", write_id="w1"),
    "add for a time": _add("a", metadata={"n": 1}, expires_in_s=[60.0], write_id="w1"),
    "update": UpdateRequest(bounds=Bounds(dim=DIM), uid="a", changes={"n": 2}, write_id="w1"),
    "delete": DeleteRequest(bounds=Bounds(dim=DIM), uids=["a"], write_id="w1"),
    "delete by filter": DeleteRequest(bounds=Bounds(dim=DIM), where={"n": 1}, write_id="w1"),
}
"""Writes with the id of an earlier one, which added record `a` with `{"n": 1}`."""


class StoreRepeats(StoreMetric):
    """Test that a repeated write changes nothing; a mixin of `VectorStoreSuite`."""

    def test_repeated_add_does_not_bring_back_a_deleted_record(self, store: VectorStore) -> None:
        """A repeated add returns the uids of the first, and restores no record deleted meanwhile."""
        request = _add("a", "b", write_id="w1")
        assert _execute(store, request) == ["a", "b"]
        assert store.delete(["a"]) == 1
        assert _execute(store, request) == ["a", "b"]
        assert [record.uid for record in store.scan()] == ["b"]

    def test_repeated_add_does_not_undo_an_update(self, store: VectorStore) -> None:
        """A repeated add leaves a record as an update made it after the first add."""
        request = _add("a", metadata={"n": 1}, write_id="w1")
        _execute(store, request)
        assert store.update("a", {"n": 2}) is True
        _execute(store, request)
        assert [record.metadata for record in store.scan()] == [{"n": 2}]

    def test_repeated_add_with_dedupe_returns_the_uid_of_the_first_result(self, store: VectorStore) -> None:
        """A repeated add with `dedupe` returns the same uid, even if that record is gone by then."""
        _execute(store, _add("old", metadata={"text": "the same"}))
        request = _add("new", metadata={"text": "the same"}, dedupe="exact", write_id="w1")
        assert _execute(store, request) == ["old"]
        store.delete(["old"])
        assert _execute(store, request) == ["old"]
        assert store.count() == 0

    def test_repeated_put_stores_nothing(self, store: VectorStore) -> None:
        """A repeated put stores nothing, and returns the number that the first one stored."""
        store.add(at(30), {"n": 1}, "a")
        records = store.get(["a"])
        store.delete(["a"])
        request = PutRequest(bounds=Bounds(dim=DIM), records=records, write_id="w1")
        assert _execute(store, request) == 1
        store.delete(["a"])
        assert _execute(store, request) == 1
        assert store.count() == 0

    def test_repeated_update_does_not_undo_a_later_one(self, store: VectorStore) -> None:
        """A repeated update changes nothing, and returns the result of the first."""
        store.add(at(30), {"n": 1}, "a")
        request = UpdateRequest(bounds=Bounds(dim=DIM), uid="a", changes={"n": 2}, write_id="w1")
        assert _execute(store, request) is True
        store.update("a", {"n": 3})
        assert _execute(store, request) is True
        assert [record.metadata for record in store.get(["a"])] == [{"n": 3}]
        store.delete(["a"])
        assert _execute(store, request) is True

    def test_repeated_delete_leaves_new_records_and_returns_the_first_count(self, store: VectorStore) -> None:
        """A repeated delete leaves a record that was added later with the same uid."""
        store.add_batch([at(0), at(10)], [{"n": 1}, {"n": 2}], ["a", "b"])
        by_uid = DeleteRequest(bounds=Bounds(dim=DIM), uids=["a"], write_id="w1")
        by_filter = DeleteRequest(bounds=Bounds(dim=DIM), where={"n": 2}, write_id="w2")
        assert [_execute(store, by_uid), _execute(store, by_filter)] == [1, 1]
        store.add_batch([at(0), at(10)], [{"n": 1}, {"n": 2}], ["a", "b"])
        assert [_execute(store, by_uid), _execute(store, by_filter)] == [1, 1]
        assert store.count() == 2

    def test_repeated_add_without_uids_returns_those_of_the_first(self, store: VectorStore) -> None:
        """A repeated add without uids returns the uids that the first one made."""
        request = _add("a", None, write_id="w1")
        first = _execute(store, request)
        assert _execute(store, request) == first
        assert sorted(first) == sorted(record.uid for record in store.scan())

    @pytest.mark.parametrize("other", OTHER_WRITES.values(), ids=OTHER_WRITES)
    def test_id_that_was_used_for_another_write_is_refused(self, store: VectorStore, other: WriteRequest[Any]) -> None:
        """A write with the id of another write is refused: acknowledging it would lose the write."""
        first = _add("a", metadata={"n": 1}, write_id="w1")
        _execute(store, first)
        before = store.scan()
        with pytest.raises(InvalidInputError) as raised:
            _execute(store, other)
        assert raised.value.field == "write_id"
        assert [(record.uid, record.metadata) for record in store.scan()] == [("a", {"n": 1})]
        assert _execute(store, first) == ["a"]
        assert len(before) == store.count() == 1

    def test_text_that_is_embedded_again_is_the_same_write(self, store: VectorStore) -> None:
        """A write is repeated even if its vectors differ in their last bits, as from another batch."""
        for degrees in (0.0, 0.001):
            request = _add("a", metadata={"text": "words"}, degrees=degrees, model_id="model", write_id="w1")
            assert _execute(store, request) == ["a"]
        assert store.count() == 1

    def test_refused_write_is_not_remembered(self, store: VectorStore) -> None:
        """A refused write can be sent again with its id, once it is valid."""
        store.add(at(0), uid="m", model_id="model")
        wrong = _add("a", model_id="another", write_id="w1")
        for _ in range(2):
            with pytest.raises(ModelMismatchError):
                _execute(store, wrong)
        assert _execute(store, _add("a", model_id="model", write_id="w1")) == ["a"]
        assert store.count() == 2

    def test_writes_with_different_ids_are_all_carried_out(self, store: VectorStore) -> None:
        """Equal writes with different ids are carried out each."""
        for write_id in ("w1", "w2"):
            _execute(store, _add("a", write_id=write_id))
            assert store.delete(["a"]) == 1

    def test_write_id_that_is_no_name_is_refused(self, store: VectorStore) -> None:
        """A malformed id is refused with an error that names the field, and nothing is stored."""
        with pytest.raises(InvalidInputError) as raised:
            _add("a", write_id="not a name")
        assert raised.value.field == "write_id"
        assert store.count() == 0
