"""Tests of `dedupe="exact"`, by which an add skips records whose content is already stored."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.stores.base import VectorStore
from super_advanced_agents.testing.store_validation import at
from super_advanced_agents.types import Match, Metadata

CAT: Metadata = {"text": "One cat.", "type": "fact", "tags": [{"a": 1, "b": None}]}

OTHERS: list[tuple[str, Metadata]] = [
    ("another text", {**CAT, "text": "Two cats."}),
    ("another value", {**CAT, "type": "note"}),
    ("a value inside", {**CAT, "tags": [{"a": 2, "b": None}]}),
    ("another type of number", {**CAT, "tags": [{"a": 1.0, "b": None}]}),
    ("a value more", {**CAT, "n": None}),
    ("a value less", {"text": "One cat.", "type": "fact"}),
    ("no text", {"type": "fact", "tags": [{"a": 1, "b": None}]}),
]


def _uids(matches: Sequence[Match]) -> list[str]:
    return [match.uid for match in matches]


class StoreDuplicates:
    """Test adds with `dedupe="exact"`, which skip duplicates; a mixin of `VectorStoreSuite`."""

    def test_add_returns_the_existing_uid_when_the_content_is_equal(self, store: VectorStore) -> None:
        """An add of content that is already stored returns the stored record's uid and adds nothing."""
        uid = store.add(at(0), CAT, source="first", dedupe="exact")
        [before] = store.get([uid])
        reordered: Metadata = {"tags": [{"b": None, "a": 1}], "type": "fact", "text": "One cat."}
        assert store.add(at(40), reordered, source="second", session="s", priority=2.0, dedupe="exact") == uid
        assert store.add(at(0), CAT, "named", dedupe="exact") == uid
        [after] = store.get([uid, "named"])
        assert (after.source, after.priority, after.updated_at) == ("first", None, before.updated_at)
        assert store.count() == 1
        assert _uids(store.search(at(0))) == [uid]

    @pytest.mark.parametrize("metadata", [other for _, other in OTHERS], ids=[name for name, _ in OTHERS])
    def test_add_stores_a_record_whose_content_differs(self, store: VectorStore, metadata: Metadata) -> None:
        """A record whose text or any metadata value differs is stored as another record."""
        assert store.add(at(0), CAT, dedupe="exact") != store.add(at(0), metadata, dedupe="exact")
        assert store.count() == 2

    def test_vector_is_part_of_the_content_when_there_is_no_text(self, store: VectorStore) -> None:
        """Records without text are duplicates only if metadata and vectors are both equal."""
        uid = store.add(at(0), {"n": 1}, dedupe="exact")
        assert store.add(at(0), {"n": 1}, dedupe="exact") == uid
        assert store.add(at(0) * 2, {"n": 1}, dedupe="exact") != uid
        assert store.count() == 2

    def test_dedupe_finds_records_that_were_added_without_it(self, store: VectorStore) -> None:
        """An add with `dedupe` also finds duplicates that were stored without it, or by `put`."""
        uids = store.add_batch([at(0), at(1), at(2)], [CAT, {"n": 1}, CAT])
        assert store.add(at(0), CAT, dedupe="exact") == uids[0]
        assert store.add(at(1), {"n": 1}, dedupe="exact") == uids[1]
        later = store.add(at(3), {"text": "Later."})
        assert store.add(at(4), {"text": "Later."}, dedupe="exact") == later
        assert store.add(at(4), {"text": "Later."}) != later
        assert store.count() == 5
        [record] = store.get([later])
        assert store.put([replace(record, uid="put", metadata={"text": "Put."})]) == 1
        assert store.add(at(4), {"text": "Put."}, dedupe="exact") == "put"

    def test_dedupe_stores_equal_records_of_one_batch_once(self, store: VectorStore) -> None:
        """Of equal records in one batch only the first is stored; its uid is returned for each."""
        uids = store.add_batch(
            [at(i) for i in range(5)],
            [CAT, {"text": "a"}, CAT, {"text": "b"}, {"text": "a"}],
            ["x", None, "y", "z", None],
            dedupe="exact",
        )
        assert uids == ["x", uids[1], "x", "z", uids[1]]
        assert {record.uid: record.metadata for record in store.scan()} == {
            "x": CAT, uids[1]: {"text": "a"}, "z": {"text": "b"}
        }  # fmt: skip
        assert store.search(at(4), 1)[0].uid == "z"
        assert store.add_batch([], dedupe="exact") == []

    def test_dedupe_replaces_a_record_whose_uid_exists(self, store: VectorStore) -> None:
        """An add with an existing uid replaces that record, even if another has equal content."""
        store.add_batch([at(0), at(1)], [CAT, {"text": "old"}], ["x", "y"])
        assert store.add(at(50), CAT, "y", dedupe="exact") == "y"
        assert [record.metadata for record in store.get(["x", "y"])] == [CAT, CAT]
        assert store.add(at(1), {"text": "old"}, "w", dedupe="exact") == "w"
        assert (
            store.add_batch([at(1), at(2)], [{"text": "new"}, {"text": "old"}], ["w", None], dedupe="exact")[1] != "w"
        )
        assert store.count({"text": "old"}) == 1
        assert store.add_batch([at(1)] * 2, [{"text": "both"}] * 2, [None, "w"], dedupe="exact") == ["w", "w"]

    def test_dedupe_stores_content_again_when_the_old_record_is_gone(self, store: VectorStore) -> None:
        """A record that is deleted, expired, replaced or in another namespace is no duplicate."""
        store.add(at(0), CAT, "x", dedupe="exact")
        assert store.delete(["x"]) == 1
        assert store.add(at(0), CAT, "y", dedupe="exact") == "y"
        store.add(at(0), {"text": "other"}, "y")
        assert store.add(at(0), CAT, "z", dedupe="exact", expires_in_s=1e-6) == "z"
        assert store.add(at(0), CAT, "w", dedupe="exact") == "w"
        assert store.add(at(0), CAT, "v", dedupe="exact", namespace="elsewhere") == "v"
        assert [record.uid for record in store.scan()] == ["v", "w", "y"]

    async def test_concurrent_adds_of_equal_content_store_one_record(self, store: VectorStore) -> None:
        """Concurrent adds of equal texts store each text once, and all return that record's uid."""
        await store.aadd(at(0), {"text": "text 3"}, "there")
        adding = [store.aadd(at(i), {"text": f"text {i % 5}"}, dedupe="exact") for i in range(60)]
        batches = [
            store.aadd_batch([at(i)] * 6, [{"text": f"text {j}"} for j in range(6)], dedupe="exact") for i in range(20)
        ]
        single, batched = await asyncio.gather(asyncio.gather(*adding), asyncio.gather(*batches))
        assert await store.acount() == 6
        by_text = {str(record.text): record.uid for record in await store.ascan()}
        assert by_text["text 3"] == "there"
        assert single == [by_text[f"text {i % 5}"] for i in range(60)]
        assert batched == [[by_text[f"text {j}"] for j in range(6)]] * 20

    @pytest.mark.parametrize("dedupe", ["fuzzy", "", True, 1, ["exact"]])
    def test_add_refuses_an_unknown_dedupe_value(self, store: VectorStore, dedupe: Any) -> None:
        """An add raises InvalidInputError if `dedupe` is neither `"exact"` nor None."""
        with pytest.raises(InvalidInputError, match="dedupe"):
            store.add(at(0), CAT, dedupe=dedupe)
        assert store.count() == 0
