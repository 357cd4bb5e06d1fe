"""Equal content stored once: the part of `store_suite` about `dedupe="exact"`."""

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
    """What `dedupe="exact"` owes; mixed into `VectorStoreSuite`."""

    def test_equal_content_is_stored_once(self, store: VectorStore) -> None:
        """The uid that is there comes back, and its record stays as it is."""
        uid = store.add(at(0), CAT, source="first", dedupe="exact")
        [before] = store.get([uid])
        turned: Metadata = {"tags": [{"b": None, "a": 1}], "type": "fact", "text": "One cat."}
        assert store.add(at(40), turned, source="second", session="s", priority=2.0, dedupe="exact") == uid
        assert store.add(at(0), CAT, "named", dedupe="exact") == uid
        [after] = store.get([uid, "named"])
        assert (after.source, after.priority, after.updated_at) == ("first", None, before.updated_at)
        assert store.count() == 1
        assert _uids(store.search(at(0))) == [uid]

    @pytest.mark.parametrize("metadata", [other for _, other in OTHERS], ids=[name for name, _ in OTHERS])
    def test_whatever_differs_is_stored(self, store: VectorStore, metadata: Metadata) -> None:
        """In the text, or anywhere in the metadata."""
        assert store.add(at(0), CAT, dedupe="exact") != store.add(at(0), metadata, dedupe="exact")
        assert store.count() == 2

    def test_without_a_text_the_vector_counts(self, store: VectorStore) -> None:
        """Bit by bit, as it was given; with a text it does not."""
        uid = store.add(at(0), {"n": 1}, dedupe="exact")
        assert store.add(at(0), {"n": 1}, dedupe="exact") == uid
        assert store.add(at(0) * 2, {"n": 1}, dedupe="exact") != uid
        assert store.count() == 2

    def test_what_was_added_without_dedupe_counts_too(self, store: VectorStore) -> None:
        """Before the first write with it, and between two."""
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

    def test_equal_records_of_one_batch_are_one(self, store: VectorStore) -> None:
        """The first of them is stored; the uids come back in the order of the records."""
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

    def test_a_name_that_is_there_is_replaced_as_ever(self, store: VectorStore) -> None:
        """Also when another record has the content; what the name held before is nobody's content any more."""
        store.add_batch([at(0), at(1)], [CAT, {"text": "old"}], ["x", "y"])
        assert store.add(at(50), CAT, "y", dedupe="exact") == "y"
        assert [record.metadata for record in store.get(["x", "y"])] == [CAT, CAT]
        assert store.add(at(1), {"text": "old"}, "w", dedupe="exact") == "w"
        assert (
            store.add_batch([at(1), at(2)], [{"text": "new"}, {"text": "old"}], ["w", None], dedupe="exact")[1] != "w"
        )
        assert store.count({"text": "old"}) == 1
        assert store.add_batch([at(1)] * 2, [{"text": "both"}] * 2, [None, "w"], dedupe="exact") == ["w", "w"]

    def test_content_that_is_gone_is_stored_again(self, store: VectorStore) -> None:
        """Deleted, expired, replaced, or in another namespace."""
        store.add(at(0), CAT, "x", dedupe="exact")
        assert store.delete(["x"]) == 1
        assert store.add(at(0), CAT, "y", dedupe="exact") == "y"
        store.add(at(0), {"text": "other"}, "y")
        assert store.add(at(0), CAT, "z", dedupe="exact", expires_in_s=1e-6) == "z"
        assert store.add(at(0), CAT, "w", dedupe="exact") == "w"
        assert store.add(at(0), CAT, "v", dedupe="exact", namespace="elsewhere") == "v"
        assert [record.uid for record in store.scan()] == ["v", "w", "y"]

    async def test_of_many_who_add_the_same_one_stores_it(self, store: VectorStore) -> None:
        """However their writes fall together."""
        await store.aadd(at(0), {"text": "text 3"}, "there")
        adding = [store.aadd(at(i), {"text": f"text {i % 5}"}, dedupe="exact") for i in range(60)]
        batches = [
            store.aadd_batch([at(i)] * 6, [{"text": f"text {j}"} for j in range(6)], dedupe="exact") for i in range(20)
        ]
        alone, together = await asyncio.gather(asyncio.gather(*adding), asyncio.gather(*batches))
        assert await store.acount() == 6
        by_text = {str(record.text): record.uid for record in await store.ascan()}
        assert by_text["text 3"] == "there"
        assert alone == [by_text[f"text {i % 5}"] for i in range(60)]
        assert together == [[by_text[f"text {j}"] for j in range(6)]] * 20

    @pytest.mark.parametrize("dedupe", ["fuzzy", "", True, 1, ["exact"]])
    def test_another_way_of_deduplicating_is_refused(self, store: VectorStore, dedupe: Any) -> None:
        """Only what is exact is offered."""
        with pytest.raises(InvalidInputError, match="dedupe"):
            store.add(at(0), CAT, dedupe=dedupe)
        assert store.count() == 0
