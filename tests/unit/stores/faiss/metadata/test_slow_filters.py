"""Tests of slow filters: they delay neither other reads nor writes, and read each row once."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.stores.conftest import Internals, vectors

from super_advanced_agents import FAISSVectorStore
from super_advanced_agents._runtime.concurrency import gil
from super_advanced_agents._runtime.concurrency.budget import time_limited
from super_advanced_agents.config import Limits
from super_advanced_agents.errors import DeadlineExceededError
from super_advanced_agents.stores.faiss.rows.reader import RowReader
from super_advanced_agents.types import Metadata

QUERY = vectors(1, 7)[0]
SLOW = {"text": {"$contains": "needle"}}
FAST = {"third": 1}

OPERATIONS: dict[str, Callable[[FAISSVectorStore, Any], Awaitable[Any]]] = {
    "count": lambda store, where: store.acount(where),
    "scan": lambda store, where: store.ascan(where, limit=5),
    "search": lambda store, where: store.asearch(QUERY, 5, where=where),
    "hybrid": lambda store, where: store.asearch_hybrid(QUERY, "hay", 5, where=where),
    "keywords": lambda store, where: store.asearch_keywords("hay", 5, where=where),
    "predicate": lambda store, where: store.asearch_with_filter(QUERY, 5, bool, where=where),
    "delete": lambda store, where: store.adelete(where=where),
}


@pytest.fixture
def store(opened: Callable[..., FAISSVectorStore]) -> FAISSVectorStore:
    """A store of 600 records with indexed metadata, a third of which have the needle in their text."""
    store = opened(limits=Limits(filter_values=40_000, filter_bytes=2**20))
    metadatas: list[Metadata | None] = [
        {"text": f"hay {i} {'needle' if i % 3 == 0 else 'straw'}", "third": i % 3, "name": f"n{i}"} for i in range(600)
    ]
    store.add_batch(vectors(600), metadatas, [f"{i:03d}" for i in range(600)])
    assert store.count({"third": 0}) == 200
    assert len(store.search_keywords("hay", 3)) == 3
    return store


@contextmanager
def _reading_held(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[threading.Event, list[int]]]:
    """Hold up every filter that reads rows; yields an event that is set when one does, and the rows read."""
    begun, go_on, read = threading.Event(), threading.Event(), list[int]()
    metadata_of = RowReader.metadata_of

    def held(rows: RowReader, seqs: Sequence[int]) -> Any:
        begun.set()
        go_on.wait(120)
        found = metadata_of(rows, seqs)
        read.extend(seq for seq, _ in found)
        return found

    monkeypatch.setattr(RowReader, "metadata_of", held)
    try:
        yield begun, read
    finally:
        go_on.set()


async def _assert_other_calls_finish(store: FAISSVectorStore) -> None:
    """Assert that reads with and without a filter, searches of every kind, and writes finish."""
    async with asyncio.timeout(30):
        for where in (FAST, None):
            for name, operation in OPERATIONS.items():
                if name != "delete":
                    await operation(store, where)
        [uid] = await store.aadd_batch(vectors(1, 3), [{"third": 9}])
        assert await store.adelete(where={"third": 9}) == 1
        assert await store.aget([uid]) == []


@pytest.mark.parametrize("name", OPERATIONS)
async def test_other_reads_and_writes_finish_while_a_slow_filter_reads_rows(
    store: FAISSVectorStore, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Three callers whose filter reads texts are held up while they read; every other caller is served."""
    with _reading_held(monkeypatch) as (begun, _):
        slow = [asyncio.ensure_future(OPERATIONS[name](store, SLOW)) for _ in range(3)]
        assert await asyncio.to_thread(begun.wait, 30)
        await _assert_other_calls_finish(store)
    found = await asyncio.gather(*slow)
    if name in ("count", "delete"):
        assert sorted(found) == ([200] * 3 if name == "count" else [0, 0, 200])
    else:
        assert [len(each) for each in found] == [5] * 3


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a filter slow from 100 values on, and its steps 64 values long.

    These private limits are so high that a test would have to store tens of thousands of records.
    """
    monkeypatch.setattr("super_advanced_agents.stores.faiss.metadata.field_index._MANY_VALUES", 100)
    monkeypatch.setattr("super_advanced_agents.stores.faiss.metadata.field_index._STEP", 64)


@pytest.mark.usefixtures("small_steps")
@pytest.mark.parametrize(
    ("where", "matching"),
    [
        ({"third": {"$in": list(range(1, 40_000))}}, 400),
        ({"name": {"$in": [f"n{i}" for i in range(100, 40_000)]}}, 500),
        ({"name": {"$contains": "n1"}}, 111),
        ({"name": {"$gte": "n5"}}, 155),
    ],
    ids=["numbers", "strings", "substring", "range"],
)
async def test_other_reads_and_writes_finish_while_a_slow_filter_compares_values(
    store: FAISSVectorStore, monkeypatch: pytest.MonkeyPatch, where: Any, matching: int
) -> None:
    """A long `$in` and a comparison with many strings take steps, and hold no lock between them."""
    begun, go_on = threading.Event(), threading.Event()

    def sleep(seconds: float) -> None:
        if threading.current_thread().name == "store filters":
            begun.set()
            go_on.wait(120)
        time.sleep(seconds)

    monkeypatch.setattr(gil, "time", SimpleNamespace(sleep=sleep))
    slow = asyncio.ensure_future(store.acount(where))
    try:
        assert await asyncio.to_thread(begun.wait, 30)
        await _assert_other_calls_finish(store)
    finally:
        go_on.set()
    assert await slow == matching


@pytest.mark.parametrize("name", OPERATIONS)
async def test_slow_filter_stops_when_its_caller_has_left(
    store: FAISSVectorStore, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A cancelled call reads no further page of rows; the next one reads only what is left."""
    with _reading_held(monkeypatch) as (begun, read):
        slow = asyncio.ensure_future(OPERATIONS[name](store, SLOW))
        assert await asyncio.to_thread(begun.wait, 30)
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow
    assert await store.acount({"third": 0}) == 200
    assert await store.acount(SLOW) == 200
    assert len(read) < 2 * 600


@pytest.mark.parametrize(
    ("name", "where"),
    # A predicate may take any time, and a write that has begun is completed.
    [(name, SLOW) for name in OPERATIONS if name != "predicate"]
    + [(name, FAST) for name in OPERATIONS if name not in ("predicate", "delete")],
)
async def test_call_whose_time_is_over_fails_and_disturbs_no_other(
    store: FAISSVectorStore, name: str, where: Any
) -> None:
    """The time is that of one call; a call beside it, with the same filter and more time, gets its result."""
    patient = asyncio.ensure_future(store.acount(where))
    with time_limited(1e-9), pytest.raises(DeadlineExceededError, match="narrow the filter"):
        await OPERATIONS[name](store, where)
    assert await patient == 200
    assert await store.acount(where) == 200


async def test_delete_by_slow_filter_sees_the_records_written_while_it_read(
    store: FAISSVectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It deletes the records that match when it is executed, and reads each row once."""
    with _reading_held(monkeypatch) as (begun, read):
        slow = asyncio.ensure_future(store.adelete(where=SLOW))
        assert await asyncio.to_thread(begun.wait, 30)
        async with asyncio.timeout(30):
            await store.aadd_batch(vectors(2, 3), [{"text": "a needle"}, {"text": "none"}], ["new", "other"])
            await store.aadd_batch(vectors(1, 4), [{"text": "straw now"}], ["000"])
            await store.adelete(["003"])
            assert await store.acount({"third": 0}) == 198
    assert await slow == 199
    assert await store.acount() == 402
    assert {record.uid for record in await store.aget(["new", "other", "000", "003"])} == {"other", "000"}
    assert len(read) == len(set(read))


async def test_slow_filter_finds_records_that_are_replaced_while_it_reads(
    store: FAISSVectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new record matches too, and no row is read twice."""
    with _reading_held(monkeypatch) as (begun, read):
        slow = asyncio.ensure_future(store.acount(SLOW))
        assert await asyncio.to_thread(begun.wait, 30)
        await store.aadd_batch(vectors(2, 4), [{"text": "another needle"}] * 2, ["000", "300"])
    assert await slow == 200
    assert len(read) == len(set(read))


@pytest.fixture
def indexing_held(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[threading.Event, threading.Event]]:
    """Hold up every filter that indexes metadata; an event that is set when one does, and one that releases it."""
    begun, go_on = threading.Event(), threading.Event()
    sized_metadata_of = RowReader.sized_metadata_of

    def held(rows: RowReader, seqs: Sequence[int]) -> list[tuple[int, int, Metadata]]:
        begun.set()
        go_on.wait(120)
        return sized_metadata_of(rows, seqs)

    monkeypatch.setattr(RowReader, "sized_metadata_of", held)
    yield begun, go_on
    go_on.set()


@pytest.fixture
def unfiltered(indexing_held: object, opened: Callable[..., FAISSVectorStore]) -> FAISSVectorStore:
    """A store of 4,000 records that no filter has read yet, opened when indexing was held up already."""
    store = opened()
    metadatas: list[Metadata | None] = [{"text": f"hay {i}", "third": i % 3} for i in range(4_000)]
    for start in range(0, 4_000, 1_000):
        store.add_batch(vectors(1_000, start), metadatas[start : start + 1_000])
    return store


async def test_searches_and_writes_finish_while_the_first_filter_indexes_metadata(
    unfiltered: FAISSVectorStore, indexing_held: tuple[threading.Event, threading.Event]
) -> None:
    """The first filter after opening reads the metadata of every record."""
    store = unfiltered
    begun, go_on = indexing_held
    first = asyncio.ensure_future(store.asearch_hybrid(QUERY, "hay", 5, where=FAST))
    try:
        assert await asyncio.to_thread(begun.wait, 30)
        async with asyncio.timeout(30):
            assert len(await store.asearch_hybrid(QUERY, "hay", 5)) == 5
            assert len(await store.asearch(QUERY, 5)) == 5
            await store.aadd_batch(vectors(1, 3))
    finally:
        go_on.set()
    assert len(await first) == 5


def test_filter_indexes_stay_small_when_records_are_replaced_many_times(
    opened: Callable[..., FAISSVectorStore],
) -> None:
    """100 expiring records are replaced 100 times, and no table keeps 10,000 rows."""
    store = opened()
    names = [f"{i:02d}" for i in range(100)]
    for round_ in range(100):
        metadatas: list[Metadata | None] = [{"round": round_, "tag": f"{round_}-{i}"} for i in range(100)]
        store.add_batch(vectors(100, round_), metadatas, names, expires_in_s=[10_000.0 + i for i in range(100)])
        assert store.count({"round": round_}) == 100
        assert store.count({"tag": {"$contains": f"{round_}-"}, "round": {"$gte": round_}}) == 100
    most = 2 * 100 + 1_024 + 100
    sizes = Internals(store).filter_table_sizes()
    assert sizes["strings of tag"] >= sizes["numbers of round"] > 0
    assert {table: size for table, size in sizes.items() if size > most and table != "bytes"} == {}
