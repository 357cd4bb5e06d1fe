"""Tests of filter expressions, evaluated by a real Milvus server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymilvus import DataType, MilvusClient
from tests.unit.stores.milvus.conftest import DIM

from super_advanced_agents.stores import MilvusVectorStore
from super_advanced_agents.stores.filters import matches, parse
from super_advanced_agents.stores.milvus.expressions import among, quote
from super_advanced_agents.stores.milvus.facts import MAX_FACTS, fact_hashes
from super_advanced_agents.stores.records.record_fields import fields_of
from super_advanced_agents.types import Record

TRICKY = ['"', "\\", "\\\\", "'", "\n\r\t", "\0", "\x7f", "%", "{x}", "\\u0041", "\u2028", "\U0001f600", "ä", "a\u0308"]

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
MANY: dict[str, Any] = {"a": 1, **{first + second: 1 for first in LETTERS[:44] for second in LETTERS}}
"""Metadata with more facts than a list holds, within the limit of bytes."""

DOCUMENTS: list[dict[str, Any]] = [
    {},
    {"a": None},
    {"a": 1},
    {"a": 1.0, "b": "x"},
    {"a": True},
    {"a": "1"},
    {"a": "x y"},
    {"a": 2**63, "b": -1.5},
    {"a": [1, "x", None]},
    {"a": [[1], {"b": 1}]},
    {"a": {"b": 1, "c": {"d": "x"}}},
    {"a.b": "dotted", "a": {"b": 2}},
    {"a": {"b.c": 1}},
    {"a": "", "b": 0},
    {"ä 'quoted\"": "\\"},
    {"text": "x marks the spot", "b": False},
    MANY,
]

VALUES = st.sampled_from(
    [None, True, False, 0, 1, 1.0, -1.5, 2**63, "1", "x", "", "dotted", "\\", [1], {"b": 1}, 4_300]
)
KEYS = st.sampled_from(["a", "b", "a.b", "a.c.d", "a.b.c", "text", "aa", "QZ", "ä 'quoted\"", "nothing"])
BOUNDS = st.sampled_from([0, 1, 1.5, -2, 2**62, "", "1", "x"])
TERMS = st.one_of(
    st.tuples(KEYS, VALUES).map(lambda pair: {pair[0]: {"$eq": pair[1]}}),
    st.tuples(KEYS, VALUES).map(lambda pair: {pair[0]: {"$ne": pair[1]}}),
    st.tuples(KEYS, st.lists(VALUES, max_size=3)).map(lambda pair: {pair[0]: {"$in": pair[1]}}),
    st.tuples(KEYS, st.lists(VALUES, max_size=3)).map(lambda pair: {pair[0]: {"$nin": pair[1]}}),
    st.tuples(KEYS, st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), BOUNDS).map(lambda t: {t[0]: {t[1]: t[2]}}),
    st.tuples(KEYS, st.booleans()).map(lambda pair: {pair[0]: {"$exists": pair[1]}}),
    st.tuples(KEYS, VALUES).map(lambda pair: {pair[0]: {"$contains": pair[1]}}),
)
FILTERS = st.recursive(
    TERMS,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda each: {"$and": each}),
        st.lists(inner, min_size=1, max_size=3).map(lambda each: {"$or": each}),
        inner.map(lambda each: {"$not": each}),
    ),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def texts(milvus_url: str) -> Iterator[tuple[MilvusClient, str]]:
    """A collection with a column of strings."""
    name = f"texts_{uuid4().hex}"
    client = MilvusClient(uri=milvus_url.replace("milvus:", "http:"), dedicated=True)
    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("pk", DataType.INT64, is_primary=True)
    schema.add_field("value", DataType.VARCHAR, max_length=1_000)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=2)
    indexes = client.prepare_index_params()
    indexes.add_index("vector", index_type="FLAT", metric_type="L2")
    client.create_collection(name, schema=schema, index_params=indexes)
    yield client, name
    client.drop_collection(name)
    client.close()


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(max_size=40) | st.sampled_from(TRICKY), min_size=1, max_size=20, unique=True))
def test_quoted_value_is_equal_to_itself_and_to_nothing_else(texts, values):
    """Quotes, backslashes, control characters and any script stay within the literal."""
    client, name = texts
    client.delete(name, filter="pk >= 0")
    client.upsert(name, [{"pk": i, "value": value, "vector": [0.0, 1.0]} for i, value in enumerate(values)])
    for i, value in enumerate(values):
        for expression, expected in (
            (f"value == {quote(value)}", [i]),
            (f"pk < {len(values)} and not ({among('value', [value])})", [j for j in range(len(values)) if j != i]),
        ):
            found = client.query(name, filter=expression, output_fields=["value"], consistency_level="Session")
            assert sorted(row["pk"] for row in found) == expected
            assert {row["value"] for row in found} == {values[j] for j in expected}


def test_filter_selects_what_the_reference_does(store: MilvusVectorStore):
    """Values of all types, missing fields, dots, nested objects, and a row with more facts than a list holds."""
    store.add_batch(np.ones((len(DOCUMENTS), DIM)), DOCUMENTS, [f"{i:02}" for i in range(len(DOCUMENTS))])

    @settings(max_examples=60)
    @given(FILTERS)
    def check(where):
        tree = parse(where)
        expected = [f"{i:02}" for i, metadata in enumerate(DOCUMENTS) if matches(tree, metadata)]
        assert [record.uid for record in store.scan(where, limit=100)] == expected
        assert store.count(where) == len(expected)
        assert sorted(match.uid for match in store.search(np.ones(DIM), 100, where=where)) == expected

    check()


NAMES = st.sampled_from([None, "", "a", "b.md", "B", "ä", "\0", "\ud800", "x\0y", "a\udfff", "\U0001f600", '"', "\\"])
BOUND_NAMES = NAMES.filter(lambda name: name is not None)
OWN_NAMES = st.sampled_from(["$source", "$session", "$uid"])
TIMES = st.sampled_from([1e9, 1e9 + 1e-6, 1e9 - 1e-6, 1e9 + 0.5, 0.0, -1.0, 1e-6, 1e16])
OWN = st.one_of(
    st.tuples(OWN_NAMES, st.sampled_from(["$eq", "$ne"]), NAMES).map(lambda t: {t[0]: {t[1]: t[2]}}),
    st.tuples(OWN_NAMES, st.sampled_from(["$in", "$nin"]), st.lists(NAMES, max_size=3)).map(
        lambda t: {t[0]: {t[1]: t[2]}}
    ),
    st.tuples(OWN_NAMES, st.sampled_from(["$gt", "$gte", "$lt", "$lte", "$contains"]), BOUND_NAMES).map(
        lambda t: {t[0]: {t[1]: t[2]}}
    ),
    st.tuples(OWN_NAMES, st.booleans()).map(lambda t: {t[0]: {"$exists": t[1]}}),
    st.tuples(st.sampled_from(["$eq", "$ne", "$gt", "$gte", "$lt", "$lte"]), TIMES).map(
        lambda t: {"$created_at": {t[0]: t[1]}}
    ),
)


def test_filter_of_a_records_own_fields_selects_what_the_reference_does(store: MilvusVectorStore):
    """Records without a source or a session, empty texts, lone surrogates, and times a microsecond apart."""
    records = [
        Record(
            uid=f"{i:02}",
            vector=np.ones(DIM, np.float32),
            metadata={},
            namespace="default",
            model_id=None,
            source=(None, "a", "b.md", "ä", "\U0001f600")[i % 5],
            session=(None, "a", "B")[i % 3],
            created_at=1e9 + (i % 3 - 1) * 1e-6,
            updated_at=1e9,
            expires_at=None,
        )
        for i in range(15)
    ]
    store.put(records)

    @settings(max_examples=150)
    @given(st.one_of(OWN, OWN.map(lambda inner: {"$not": inner})))
    def check(where):
        tree = parse(where)
        expected = [record.uid for record in records if matches(tree, fields_of(record))]
        assert [record.uid for record in store.scan(where, limit=100)] == expected
        assert store.count(where) == len(expected)

    check()


def test_facts_of_a_large_record_are_cut_and_marked():
    """The first ones stay, so that the record is found by them or decided outside."""
    hashes, complete = fact_hashes(MANY)
    assert (len(hashes), complete) == (MAX_FACTS, False)
    assert fact_hashes({"a": 1})[1]
