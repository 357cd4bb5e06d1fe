"""Tests of the `where` language: the meaning of each operator, and that indexes and plain Python agree."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyroaring import BitMap

from super_advanced_agents.config import Limits
from super_advanced_agents.errors import FilterError
from super_advanced_agents.stores.faiss.metadata import index as attributes_module
from super_advanced_agents.stores.faiss.metadata.columns import NumberColumn
from super_advanced_agents.stores.faiss.metadata.index import MetadataIndex
from super_advanced_agents.stores.filters import And, Compares, Contains, Equals, Exists, Not, Or, matches, parse
from super_advanced_agents.stores.records.record_fields import named_fields
from super_advanced_agents.types import JSONValue, Metadata

EDGES = [0, 1, -1, 2**53 - 1, 2**53, 2**53 + 1, -(2**53), -(2**53) - 1, 2**63, 2**64 - 1, -(2**63)]
LONG = "x" * 300

# Few keys and few values, difficult ones among them, so that filters often match.
KEYS = st.sampled_from(["a", "b", "a.b", "a.b.c", "b.a", "text", "text.a", "c-d", "a.0", "", "a b", "\u0433", "a."])
NUMBERS = st.sampled_from([*EDGES, *(float(edge) for edge in EDGES), 0.5, -0.0, 1e-320, 1e300]) | st.integers(-3, 3)
STRINGS = st.sampled_from(["", "a", "ab", "b", "1", "true", LONG, LONG + "y", "\u00e9", "a" * 256, "a" * 257])
SCALARS = st.none() | st.booleans() | NUMBERS | STRINGS
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "c", "b.c", "0", ""]), inner, max_size=3)
    ),
    max_leaves=5,
)
METADATA = st.dictionaries(KEYS | st.sampled_from(["", "$gt", "a b"]), VALUES, max_size=4)
OPERATORS = st.one_of(
    VALUES.filter(lambda value: not isinstance(value, dict) or not any(k.startswith("$") for k in value)),
    st.fixed_dictionaries({}, optional={"$eq": VALUES, "$ne": VALUES, "$contains": VALUES}).filter(bool),
    st.fixed_dictionaries({}, optional=dict.fromkeys(("$gt", "$gte", "$lt", "$lte"), NUMBERS | STRINGS)).filter(bool),
    st.fixed_dictionaries({"$in": st.lists(VALUES, max_size=3)}),
    st.fixed_dictionaries({"$nin": st.lists(VALUES, max_size=3)}),
    st.fixed_dictionaries({"$exists": st.booleans()}),
)
CONDITIONS = OPERATORS | st.fixed_dictionaries(
    {"$not": st.fixed_dictionaries({}, optional={"$eq": VALUES, "$gt": NUMBERS, "$exists": st.booleans()}).filter(bool)}
)
TIMES = st.sampled_from([10, 20.0, "1970-01-01T00:00:20Z", "1970-01-01T01:00:30+01:00", 30])
TEXTS = st.sampled_from(["a", "b", LONG, None])
OWN_FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "$source": TEXTS | st.fixed_dictionaries({"$contains": st.sampled_from(["b", "x"])}),
        "$session": st.fixed_dictionaries({"$in": st.lists(TEXTS, max_size=2)}) | STRINGS,
        "$created_at": TIMES | st.fixed_dictionaries({}, optional={"$gt": TIMES, "$lte": TIMES}).filter(bool),
        "$uid": st.fixed_dictionaries({"$nin": st.lists(st.sampled_from(["u1", "u2"]), max_size=2)}),
    },
)
FILTERS = st.recursive(
    st.dictionaries(KEYS, CONDITIONS, max_size=2) | OWN_FILTERS,
    lambda inner: st.one_of(
        st.fixed_dictionaries({"$and": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"$or": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"$not": inner}),
        st.fixed_dictionaries({"$not": inner, "a": CONDITIONS}),
    ),
    max_leaves=6,
)


class _Table:
    """A table of rows that gives the metadata index what `RecordTable` would give it, without texts."""

    def __init__(self, metadatas: Sequence[Metadata]) -> None:
        self.rows = dict(enumerate(metadatas, start=1))
        self.reads = 0

    def sized_metadata_of(self, rows: Sequence[int]) -> list[tuple[int, int, Metadata]]:
        found = []
        for row in rows:
            metadata = self.rows[row]
            text_apart = isinstance(metadata.get("text"), str)
            indexed = {k: v for k, v in metadata.items() if k != "text" or not text_apart}
            found.append((row, len(json.dumps(indexed)), indexed))
        return found

    def metadata_of(self, rows: Sequence[int]) -> list[tuple[int, Metadata]]:
        self.reads += len(rows)
        return [(row, self.rows[row] | own_fields(row)) for row in rows]

    def field_of(self, name: str, rows: Sequence[int]) -> list[tuple[int, JSONValue]]:
        return [(row, own_fields(row)[name]) for row in rows]


def own_fields(row: int) -> Metadata:
    """Return the fields beside the metadata of a row; rows of even numbers have a source."""
    return named_fields([f"u{row}", None if row % 2 else LONG if row % 4 else "b", "a", 10.0 * row, 0.5])


@pytest.fixture
def no_spare_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the index drop dead rows as soon as they outnumber the live ones; the limit is private and large."""
    monkeypatch.setattr(attributes_module, "_SPARE_ROWS", 0)


@pytest.fixture(params=[(1_000, 2**25), (2, 2**25), (0, 2**25), (1_000, 0), (1_000, 3_000)])
def room(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Limit the fields and the bytes of an index, down to none; the limits are private and large."""
    max_fields, base_bytes = request.param
    monkeypatch.setattr(attributes_module, "MAX_FIELDS", max_fields)
    monkeypatch.setattr(attributes_module, "_BASE_BYTES", base_bytes)
    monkeypatch.setattr(attributes_module, "_BYTES_PER_CHAR", 0)


@pytest.mark.usefixtures("no_spare_rows", "room")
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(METADATA, max_size=8), FILTERS, st.data())
def test_metadata_index_matches_the_rows_that_plain_python_matches(
    metadatas: list[Metadata], where: dict[str, Any], data: st.DataObject
) -> None:
    """They agree for any metadata and filter, also when the index is built in two steps, sees some rows or is full."""
    tree = parse(where)
    table = _Table(metadatas)
    attributes = MetadataIndex(table)
    seen_first = data.draw(st.integers(0, len(metadatas)))
    live = BitMap(data.draw(st.sets(st.sampled_from(sorted(table.rows))) if metadatas else st.just(set())))
    attributes.evaluate(tree, BitMap(range(1, seen_first + 1)))
    frozen = BitMap(live)
    expected = {row for row in live if matches(tree, table.rows[row] | own_fields(row))}
    with attributes.keep_progress(tree):
        for _ in range(2):
            assert set(attributes.evaluate(tree, live)) == expected
    attributes.drop_dead(live, len(metadatas))
    assert attributes.sizes()["rows"] <= 2 * len(live)
    assert set(attributes.evaluate(tree, live)) == expected
    assert live == frozen


@given(METADATA, FILTERS)
def test_not_and_or_combine_filters_logically_and_parse_is_repeatable(
    metadata: Metadata, where: dict[str, Any]
) -> None:
    """`$not` negates, `$and` and `$or` combine, and parsing a filter twice gives equal trees."""
    tree = parse(where)
    holds = matches(tree, metadata)
    assert matches(parse({"$not": where}), metadata) is not holds
    assert matches(parse({"$and": [where, {}]}), metadata) is holds
    assert matches(parse({"$or": [where, {"$not": {}}]}), metadata) is holds
    assert parse(where) == tree
    assert hash(parse(where)) == hash(tree)


@given(st.lists(st.tuples(NUMBERS, st.booleans()), max_size=30), NUMBERS)
def test_number_column_compares_exactly_beyond_float64_precision(added: list[tuple[float, bool]], bound: float) -> None:
    """Numbers beyond 2**53, which a float64 rounds, compare exactly, also when more are added between queries."""
    column = NumberColumn()
    rows: dict[int, float] = {}
    for row, (value, ask) in enumerate(added):
        column.add(value, row)
        rows[row] = value
        if ask:
            column.rows_in_range("$gt", 0)
    assert set(column.rows_in_range("$gt", bound)) == {row for row, value in rows.items() if value > bound}
    assert set(column.rows_in_range("$gte", bound)) == {row for row, value in rows.items() if value >= bound}
    assert set(column.rows_in_range("$lt", bound)) == {row for row, value in rows.items() if value < bound}
    assert set(column.rows_in_range("$lte", bound)) == {row for row, value in rows.items() if value <= bound}
    assert set(column.rows_equal_to([bound])) == {row for row, value in rows.items() if value == bound}
    assert set(column.rows_equal_to([bound, 1, 2**53 + 1])) == {
        row for row, v in rows.items() if v in (bound, 1, 2**53 + 1)
    }
    odd_rows = BitMap(row for row in rows if row % 2)
    column.retain(odd_rows)
    assert len(column) == len(odd_rows)
    column.add(bound, 1_000)
    assert set(column.rows_in_range("$gte", bound)) == {1_000, *(row for row in odd_rows if rows[row] >= bound)}


@pytest.mark.parametrize("bound", [10**400, -(10**400)])
def test_number_column_compares_with_integers_beyond_every_float(bound: int) -> None:
    """Python's integers have no limit, so a bound may exceed every float64."""
    column = NumberColumn()
    column.add(1.0, 7)
    assert set(column.rows_in_range("$lt", bound)) == ({7} if bound > 0 else set())
    assert set(column.rows_in_range("$gte", bound)) == (set() if bound > 0 else {7})


def test_parse_returns_a_typed_tree() -> None:
    """Each operator has its node, and keys side by side are combined with AND."""
    assert parse({}) == And(())
    assert parse({"a": 1}) == Equals("a", (("number", 1),))
    assert parse({"a": {"$ne": "x"}}) == Not(Equals("a", (("string", "x"),)))
    assert parse({"a": {"$gt": 1, "$lt": 5}}) == And((Compares("a", "$gt", 1), Compares("a", "$lt", 5)))
    assert parse({"a": {"$exists": False}}) == Not(Exists("a"))
    assert parse({"a": {"$contains": None}}) == Contains("a", ("null", None))
    assert parse({"$or": [{"a": True}]}) == Or((Equals("a", (("bool", True),)),))
    assert parse({"a": {"$not": {"$in": [1, "b"]}}}) == Not(Equals("a", (("number", 1), ("string", "b"))))


@pytest.mark.parametrize(
    ("where", "part"),
    [
        ({"city": {"$near": 1}}, "'$near' for 'city'"),
        ({"city": {"$gt": True}}, "$gt of 'city'"),
        ({"city": {"$in": 5}}, "$in of 'city'"),
        ({"$near": 1}, "'$near'"),
        ({"$created_at": "2026-11-29"}, "$created_at has no zone"),
        ({"$or": []}, "$or"),
        ({"$and": [{"a": i} for i in range(65)]}, "64 terms"),
    ],
)
def test_filter_error_names_the_key_and_the_operator(where: dict[str, Any], part: str) -> None:
    """The caller reads in the message which part of the filter to correct."""
    with pytest.raises(FilterError) as refused:
        parse(where)
    assert part in str(refused.value)
    assert refused.value.field


@pytest.mark.parametrize(
    "where",
    [{"a": 10**4300}, {"a": {"$gt": -(10**4300)}}, {"a": {"$in": [[10**4300]]}}],
    ids=["equal", "above", "in a list"],
)
def test_parse_refuses_an_integer_that_no_engine_can_write_down(where):
    """Python and JSON readers limit the digits of an integer."""
    with pytest.raises(FilterError, match="4300 digits"):
        parse(where)


def test_parse_takes_an_integer_of_the_most_digits():
    """The largest one can be compared by each engine."""
    assert parse({"a": [10**4299, -(10**4299)]})


def test_parse_counts_terms_over_the_whole_filter() -> None:
    """64 comparisons are accepted wherever they stand; an empty filter counts as one comparison."""
    assert parse({"$or": [{f"k{i}": {"$gt": 0, "$lt": 9}} for i in range(32)]})
    for where in ({"$or": [{f"k{i}": {"$gt": 0, "$lt": 9}} for i in range(33)]}, {"$or": [{}] * 65}):
        with pytest.raises(FilterError):
            parse(where)


@pytest.mark.parametrize(
    ("where", "field", "limit"),
    [
        ({"a": {"$in": list(range(1_001))}}, "a", "1000 values"),
        ({"a": {"$nin": ["x"] * 1_001}}, "a", "1000 values"),
        ({"$and": [{"a": {"$in": list(range(501))}}, {"b": {"$in": list(range(500))}}]}, "b", "1000 values"),
        ({"a": [[list(range(500))], list(range(501))]}, "a", "1000 values"),
        ({"a": [[]] * 1_001}, "a", "1000 values"),
        ({"a": {str(i): i for i in range(1_001)}}, "a", "1000 values"),
        ({"a": {"$contains": "x" * 65_537}}, "a", "65536 bytes"),
        ({"a": {"$gt": "x" * 65_537}}, "a", "65536 bytes"),
        ({"$or": [{"a": "x" * 40_000}, {"b": {"x" * 40_000: 1}}]}, "b", "65536 bytes"),
        ({"a": {"$in": [1 << 600_000]}}, "a", "65536 bytes"),
    ],
    ids=["in", "not in", "several lists", "nested lists", "empty lists", "members", "part", "bound", "keys", "digits"],
)
def test_parse_counts_every_value_of_a_filter_and_its_bytes(where: dict[str, Any], field: str, limit: str) -> None:
    """A term counts for as much as it compares with, so that one term cannot hide a million values."""
    with pytest.raises(FilterError, match=limit) as refused:
        parse(where)
    assert refused.value.field == field


def test_parse_accepts_as_many_values_and_bytes_as_the_limits_say() -> None:
    """1,000 values and 64 KiB are accepted, and limits of the caller's own replace those."""
    assert parse({"a": {"$in": list(range(1_000))}})
    assert parse({"a": "x" * 65_536})
    assert parse({"a": {"$in": list(range(1_001))}}, limits=Limits(filter_values=1_001))
    with pytest.raises(FilterError, match="3 values"):
        parse({"a": {"$in": [1, 2, 3, 4]}}, limits=Limits(filter_values=3))


def test_parse_refuses_a_long_list_before_it_looks_at_its_elements() -> None:
    """A list of any length is refused by its length, so the refusal costs the same for a million elements."""

    class Unread(list[int]):
        def __iter__(self) -> Iterator[int]:
            raise AssertionError("the elements were read")

    with pytest.raises(FilterError, match="1000 values"):
        parse({"a": {"$in": Unread(range(1_001))}})
    with pytest.raises(FilterError, match="1000 values"):
        parse({"a": Unread(range(1_001))})


def test_metadata_index_reads_long_strings_only_for_filters_on_them() -> None:
    """The index is built by the first filter, and a row is read only for a filter on its long string."""
    table = _Table([{"a": LONG, "text": "t"}, {"a": "short"}])
    attributes = MetadataIndex(table)
    everything = BitMap([1, 2])
    for where in ({"a": "short"}, {"a": {"$exists": True}}, {"b": {"$contains": "x"}}, {"a": {"$gt": 5}}):
        attributes.evaluate(parse(where), everything)
    assert table.reads == 0
    assert set(attributes.evaluate(parse({"a": {"$contains": "xx"}}), everything)) == {1}
    assert table.reads == 1


def test_metadata_index_continues_after_a_failed_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """When reading metadata fails half-way, the next filter continues there; no row is missing or doubled."""
    table = _Table([{"a": i} for i in range(6)])
    failing = iter([False, True])
    sized_metadata_of = table.sized_metadata_of

    def failing_reads(rows: Sequence[int]) -> list[tuple[int, int, Metadata]]:
        if next(failing, False):
            raise OSError("planted")
        return sized_metadata_of(rows)

    monkeypatch.setattr(table, "sized_metadata_of", failing_reads)
    monkeypatch.setattr(attributes_module, "_PAGE", 3)
    attributes = MetadataIndex(table)
    with pytest.raises(OSError, match="planted"):
        attributes.evaluate(parse({"a": {"$gte": 0}}), BitMap(range(1, 7)))
    assert set(attributes.evaluate(parse({"a": {"$gte": 0}}), BitMap(range(1, 7)))) == set(range(1, 7))
