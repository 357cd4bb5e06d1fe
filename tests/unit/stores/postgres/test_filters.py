"""Tests that filters as SQL select what `filters.matches` selects, on a real PostgreSQL server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.postgres import fresh_schema

from super_advanced_agents.stores.filters import matches, parse
from super_advanced_agents.stores.postgres import PgVectorStore
from super_advanced_agents.stores.records.record_fields import fields_of
from super_advanced_agents.types import Record

TEXTS = st.sampled_from(
    ["", "a", "A", "art", "start", "\u00e9", "\U0001f600", "nul\0", "%s", "'", "\\", '"', "1", "{}"]
)
LARGE = [2**53, 2.0**53, 2**53 + 1, 2.0**53 + 2, 1e16, 2**63, 2.0**63, -(2**63), -(2.0**63), 9223372036854776000, 1e300]
NUMBERS = st.sampled_from([0, 1, 1.0, -1, 0.5, 1e-7, *LARGE])
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["c", "x.y", "\u00e9", "0"]), inner, max_size=2)
    ),
    max_leaves=4,
)
KEYS = st.sampled_from(["a", "b", "b.c", "b.x.y", "b.0", "text", "text.c", "due date", "'; --", "%(a)s", "no"])
METADATA = st.dictionaries(KEYS, VALUES, max_size=4)

OPERATORS = st.one_of(
    st.fixed_dictionaries({"$eq": VALUES}),
    st.fixed_dictionaries({"$ne": VALUES}),
    st.fixed_dictionaries({"$in": st.lists(VALUES, max_size=20)}),
    st.fixed_dictionaries({"$nin": st.lists(VALUES, max_size=3)}),
    st.fixed_dictionaries({"$gt": st.one_of(NUMBERS, TEXTS)}),
    st.fixed_dictionaries({"$gte": st.one_of(NUMBERS, TEXTS)}),
    st.fixed_dictionaries({"$lt": st.one_of(NUMBERS, TEXTS)}),
    st.fixed_dictionaries({"$lte": st.one_of(NUMBERS, TEXTS)}),
    st.fixed_dictionaries({"$exists": st.booleans()}),
    st.fixed_dictionaries({"$contains": VALUES}),
)
NAMES = st.one_of(st.none(), st.sampled_from(["a", "b.md", "\0", "\ud800", "x\0y"]))
OWN = st.one_of(
    st.builds(lambda name, value: {name: value}, st.sampled_from(["$source", "$session", "$uid"]), NAMES),
    st.builds(
        lambda name, operator, value: {name: {operator: value}},
        st.sampled_from(["$source", "$session", "$uid"]),
        st.sampled_from(["$gt", "$gte", "$lt", "$lte", "$contains"]),
        st.sampled_from(["a", "b", "a\0", "\ud800"]),
    ),
    st.builds(
        lambda operator, seconds: {"$created_at": {operator: seconds}},
        st.sampled_from(["$eq", "$gt", "$gte", "$lt", "$lte", "$ne"]),
        st.sampled_from([1e9, 1e9 + 1e-6, 1e9 - 1e-6, 1e9 + 0.5, 0.0]),
    ),
)
FILTERS = st.recursive(
    st.one_of(st.dictionaries(KEYS, OPERATORS, max_size=2), OWN),
    lambda inner: st.one_of(
        st.builds(lambda one: {"$not": one}, inner),
        st.builds(lambda some: {"$and": some}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda some: {"$or": some}, st.lists(inner, min_size=1, max_size=3)),
    ),
    max_leaves=4,
)


class _Records(list[Record]):
    def __repr__(self) -> str:  # Hypothesis prints the arguments
        return f"{len(self)} records"


@pytest.fixture(scope="module")
def records() -> _Records:
    """Return records of many kinds of metadata, the same in each run."""
    found: list[dict[str, Any]] = []

    @given(METADATA)
    @settings(max_examples=120, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    def collect(metadata: dict[str, Any]) -> None:
        text = metadata.get("text")
        if not isinstance(text, str) or (text.strip() and "\0" not in text):
            found.append(metadata)

    collect()
    found += [metadata for number in LARGE for metadata in ({"a": number}, {"a": [number]}, {"b": {"c": number}})]
    return _Records(
        Record(
            uid=f"{i:03}",
            vector=np.ones(2, np.float32),
            metadata=metadata,
            namespace="default",
            model_id=None,
            source=(None, "a", "b.md")[i % 3],
            session=(None, "a")[i % 2],
            created_at=1e9 + (i % 3 - 1) * 1e-6,
            updated_at=1e9,
            expires_at=None,
        )
        for i, metadata in enumerate(found)
    )


@pytest.fixture(scope="module")
def store(postgres_url: str, records: _Records) -> Iterator[PgVectorStore]:
    """Return a store of these records."""
    with fresh_schema(postgres_url) as url, PgVectorStore(url, 2) as store:
        store.put(records)
        yield store


@given(where=FILTERS)
@settings(max_examples=300)
def test_sql_selects_what_the_syntax_tree_matches(
    store: PgVectorStore, records: _Records, where: dict[str, Any]
) -> None:
    """Every operator over every kind of value, with odd keys, odd texts and negation."""
    tree = parse(where)
    expected = [record.uid for record in records if matches(tree, {**record.metadata, **fields_of(record)})]
    assert [record.uid for record in store.scan(where, limit=1_000)] == expected


@pytest.mark.parametrize("operator", ["$eq", "$in", "$gt", "$gte", "$lt", "$lte", "$contains"])
def test_sql_compares_large_numbers_by_their_values(store: PgVectorStore, records: _Records, operator: str) -> None:
    """A float of 2**53 or more equals the integer that it is, not the one that its shortest decimal is."""
    for bound in [*LARGE, int(1e300), 10**300, 10**23, int(1e23), 10**400]:
        for key, value in (("a", bound), ("b.c", bound), ("a", [bound])):
            if not isinstance(value, list) or operator in ("$eq", "$in"):
                where = {key: {operator: [value] if operator == "$in" else value}}
                tree = parse(where)
                expected = [record.uid for record in records if matches(tree, record.metadata)]
                assert [record.uid for record in store.scan(where, limit=1_000)] == expected, where
