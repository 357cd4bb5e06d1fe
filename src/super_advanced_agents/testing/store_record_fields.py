"""Tests of filters on a record's own fields, such as `$source` and `$created_at`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from super_advanced_agents.errors import FilterError, InvalidInputError
from super_advanced_agents.stores.base import VectorStore
from super_advanced_agents.testing.store_metric import StoreMetric
from super_advanced_agents.testing.store_validation import at
from super_advanced_agents.types import Record

_NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
"""The time of the first record below; the others follow an hour apart."""

_FIELDS: list[tuple[str, str | None, str | None]] = [
    ("a", "trips/log.md", None),
    ("b", "trips/log.md", "s1"),
    ("c", "notes.md", "s1"),
    ("d", "x" * 1_000, "s2"),
    ("e", None, None),
]

CASES: list[tuple[Mapping[str, Any], str]] = [
    ({"$source": "trips/log.md"}, "ab"),
    ({"$source": {"$ne": "trips/log.md"}}, "cde"),
    ({"$source": {"$in": ["notes.md", None]}}, "ce"),
    ({"$source": {"$contains": "trips/"}}, "ab"),
    ({"$source": {"$gte": "notes", "$lt": "notf"}}, "c"),
    ({"$source": "x" * 1_000}, "d"),
    ({"$source": {"$exists": False}}, "e"),
    ({"$session": "s1"}, "bc"),
    ({"$session": {"$exists": True}}, "bcd"),
    ({"$session": {"$not": {"$in": ["s1", "s2"]}}}, "ae"),
    ({"$source": "trips/log.md", "$session": "s1"}, "b"),
    ({"$or": [{"$uid": "a"}, {"$session": "s2"}]}, "ad"),
    ({"n": {"$gte": 1}, "$session": "s1"}, "bc"),
    ({"text": {"$contains": "text"}, "$session": {"$ne": "s1"}}, "ade"),
    ({"$created_at": {"$gte": "2026-03-01T14:00:00Z"}}, "cde"),
    ({"$created_at": {"$gt": "2026-03-01T15:00:00+01:00"}}, "de"),
    ({"$created_at": "2026-03-01t08:00:00-05:00"}, "b"),
    ({"$created_at": {"$lte": _NOON + timedelta(hours=1)}}, "ab"),
    ({"$created_at": {"$lt": (_NOON + timedelta(hours=1)).astimezone(timezone(timedelta(hours=9)))}}, "a"),
    ({"$created_at": {"$in": [_NOON.timestamp(), "2026-03-01T16:00Z"]}}, "ae"),
    ({"$created_at": {"$ne": _NOON.timestamp()}}, "bcde"),
    ({"$updated_at": {"$gte": _NOON.timestamp() + 7_200.25}}, "cde"),
    ({"$updated_at": "2026-03-01T13:00:00.250000Z"}, "b"),
]
"""Filters, and the uids of the records that they match."""

BAD_FILTERS: list[Mapping[str, Any]] = [
    {"$source": 5},
    {"$source": {"$gt": None}},
    {"$session": ["a"]},
    {"$created_at": None},
    {"$created_at": "yesterday"},
    {"$created_at": "2026-11-29T09:00:00"},
    {"$created_at": datetime(2026, 11, 29)},  # noqa: DTZ001  # without a zone on purpose
    {"$updated_at": {"$gt": True}},
    {"$updated_at": {"$in": ["2026-11-29T09:00:00Z", "now"]}},
    {"$updated_at": {"$contains": 5}},
]
"""Filters that compare a record's own field with a value of another kind."""


class StoreRecordFields(StoreMetric):
    """Test filters on a record's own fields; a mixin of `VectorStoreSuite`."""

    def _put(self, store: VectorStore) -> None:
        records = []
        for i, (uid, source, session) in enumerate(_FIELDS):
            created_at = _NOON.timestamp() + 3_600 * i
            metadata: dict[str, Any] = {"n": i, "text": f"text {i}", "source": "of the metadata"}
            times = {"created_at": created_at, "updated_at": created_at + 0.25}
            fields = {"model_id": None, "source": source, "session": session, "expires_at": None}
            records.append(
                Record(uid=uid, vector=at(10 * i), metadata=metadata, namespace="default", **times, **fields)  # type: ignore[arg-type]
            )
        store.put(records)

    @pytest.mark.parametrize(("where", "expected"), CASES, ids=[repr(where)[:60] for where, _ in CASES])
    def test_filter_on_own_fields_selects_the_same_records_in_every_operation(
        self, store: VectorStore, where: Mapping[str, Any], expected: str
    ) -> None:
        """Searches, counts, pages and deletions select equal records by source, session and times."""
        self._put(store)
        assert "".join(record.uid for record in store.scan(where)) == expected
        assert store.count(where) == len(expected)
        assert {match.uid for match in store.search(at(0), 5, where=where)} == set(expected)
        assert {match.uid for match in store.search_hybrid(at(0), "text", 5, where=where)} == set(expected)
        assert {match.uid for match in store.search_keywords("text", 5, where=where)} == set(expected)
        assert {m.uid for m in store.search_with_filter(at(0), 5, lambda _: True, where=where)} == set(expected)
        assert store.delete(where=where) == len(expected)
        assert {record.uid for record in store.scan()} == {uid for uid, _, _ in _FIELDS} - set(expected)

    @pytest.mark.parametrize("where", BAD_FILTERS, ids=lambda where: repr(where)[:60])
    def test_filter_on_own_fields_refuses_values_of_another_kind(
        self, store: VectorStore, where: Mapping[str, Any]
    ) -> None:
        """A filter with a value of the wrong type raises an error that names the field."""
        [name] = where
        calls: list[Callable[[], object]] = [
            lambda: store.count(where),
            lambda: store.search(at(0), where=where),
        ]
        for call in calls:
            with pytest.raises(FilterError, match=re.escape(name)):
                call()

    def test_search_returns_top_k_when_own_field_matches_far_records(self, store: VectorStore) -> None:
        """A search finds the only two records of a source among a hundred more similar ones."""
        sources = ["far.md" if i in {97, 99} else "near.md" for i in range(100)]
        store.add_batch([at(i) for i in range(100)], uids=[f"{i:02}" for i in range(100)], sources=sources)
        matches = store.search(at(0), 2, where={"$source": "far.md"})
        assert [(match.uid, match.source) for match in matches] == [("97", "far.md"), ("99", "far.md")]

    def test_times_of_a_match_find_it_again_as_number_and_as_text(self, store: VectorStore) -> None:
        """A filter on the time of a match finds the record, by its number and by ISO 8601."""
        store.add(at(0), {"text": "now"}, "a")
        [match] = store.search(at(0), 1)
        assert match.created_at is not None
        written = datetime.fromtimestamp(match.created_at, UTC).isoformat()
        for time in (match.created_at, written):
            assert store.count({"$created_at": time}) == 1
            assert store.count({"$created_at": {"$gt": time}}) == 0

    def test_filter_on_own_fields_sees_replaced_updated_and_deleted_records(self, store: VectorStore) -> None:
        """A filter on own fields gives new results after each write, also if it was cached before."""
        store.add_batch([at(0), at(1)], uids=["a", "b"], sources=["one", "one"])
        assert store.count({"$source": "one"}) == 2
        store.add(at(2), None, "a", source="two")
        assert (store.count({"$source": "one"}), store.count({"$source": "two"})) == (1, 1)
        assert store.update("b", source="two")
        assert store.count({"$source": "two"}) == 2
        [before] = store.get(["b"])
        assert before.updated_at > before.created_at
        assert store.count({"$updated_at": {"$gt": before.created_at}}) >= 1
        store.delete(["a"])
        assert store.count({"$source": "two"}) == 1

    def test_reserved_keys_are_refused_in_new_metadata_and_kept_in_stored_records(self, store: VectorStore) -> None:
        """New metadata may hold no reserved key; a record of an older version may keep its own."""
        with pytest.raises(InvalidInputError, match="reserved"):
            store.add(at(0), {"$source": "forged"})
        self._put(store)
        [record] = store.get(["a"])
        old = Record(**{**vars_of(record), "metadata": {"$source": "forged", "n": 0}})
        assert store.put([old]) == 1
        assert [each.uid for each in store.scan({"$source": "forged"})] == []
        assert store.update("a", {"n": 7})
        assert store.get(["a"])[0].metadata == {"$source": "forged", "n": 7}
        with pytest.raises(InvalidInputError, match="reserved"):
            store.update("a", {"$other": 1})
        assert store.update("a", {"$source": None})
        assert store.get(["a"])[0].metadata == {"n": 7}


def vars_of(record: Record) -> dict[str, Any]:
    """Return the fields of a record as arguments of another one."""
    return {name: getattr(record, name) for name in Record.__dataclass_fields__}
