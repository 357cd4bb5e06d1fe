"""Tests of concurrent calls: reads stay consistent while rows are replaced, and no call waits for ever."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.stores.conftest import DIM, Internals, busy_writer, sealed, vectors

from super_advanced_agents import FAISSVectorStore
from super_advanced_agents.errors import OverloadedError
from super_advanced_agents.stores.faiss.index import Index
from super_advanced_agents.stores.faiss.keywords.index import Keywords
from super_advanced_agents.stores.faiss.rows import write_ahead_log
from super_advanced_agents.types import Match

Opened = Callable[..., FAISSVectorStore]
_PATIENCE_S = 120.0
"""The time after which a wait counts as a deadlock."""


def _together(*works: Callable[[], object]) -> None:
    """Start each function in its own thread at the same moment, and raise the first error."""
    begin = threading.Barrier(len(works))

    def work(each: Callable[[], object]) -> None:
        begin.wait()
        each()

    with ThreadPoolExecutor(len(works)) as pool:
        for done in [pool.submit(work, each) for each in works]:
            done.result(_PATIENCE_S)


@pytest.fixture(params=["memory", "disk", "graphs"])
def store(request: pytest.FixtureRequest, opened: Opened) -> FAISSVectorStore:
    """A store in memory, one on disk, and one that is sealing all the time."""
    if request.param == "memory":
        return opened(None)
    return opened(index="hnsw", buffer_rows=16) if request.param == "graphs" else opened()


def test_delete_by_filter_and_filtered_reads_do_not_deadlock(store: FAISSVectorStore) -> None:
    """The writer needs the filters' lock while a reader holds it and needs the rows: once a deadlock in memory."""

    def delete() -> None:
        for i in range(60):
            store.add_batch(vectors(5), [{"n": i}] * 5)
            assert store.delete(where={"n": i}) == 5

    def read() -> None:
        for i in range(60):
            store.count({"n": {"$lt": i}})
            store.search(np.ones(DIM), where={"n": i})
            store.scan({"n": i})

    _together(delete, read, read)
    assert store.count() == 0


def test_reads_return_a_record_exactly_once_while_it_is_replaced(store: FAISSVectorStore) -> None:
    """Get, search, scan and count neither miss it nor return it twice."""
    store.add(np.ones(DIM), {"hot": True}, "hot")
    store.add_batch(vectors(30), None, [f"cold{i:02d}" for i in range(30)])
    finished = threading.Event()

    def replace() -> None:
        for i in range(120):
            store.add(np.ones(DIM), {"hot": True, "i": i}, "hot")
        finished.set()

    def read() -> None:
        while not finished.is_set():
            assert [record.uid for record in store.get(["hot"])] == ["hot"]
            assert store.count({"hot": True}) == 1
            assert store.search(np.ones(DIM), 1)[0].uid == "hot"
            assert [match.uid for match in store.search(np.ones(DIM), 3, where={"hot": True})] == ["hot"]
            assert [record.uid for record in store.scan({"hot": True})] == ["hot"]
            assert [record.uid for record in store.scan(limit=40)][-1] == "hot"
            assert len(store.search(np.ones(DIM), 40)) == 31

    _together(replace, read, read)


def test_reads_return_a_batch_whole_while_it_is_replaced(store: FAISSVectorStore) -> None:
    """All records of a batch carry one tag, and each read returns all of them with equal tags."""
    names = {letter: [f"{letter}{i}" for i in range(12)] for letter in "abc"}
    for letter, uids in names.items():
        store.add_batch(vectors(12), [{"batch": letter, "tag": 0}] * 12, uids)
    left = threading.Semaphore(0)

    def write(letter: str) -> None:
        for tag in range(1, 40):
            store.add_batch(vectors(12, tag), [{"batch": letter, "tag": tag}] * 12, names[letter])
        left.release()

    def read(letter: str) -> None:
        uids = names[letter]
        last = 0
        while not left.acquire(blocking=False):
            found = store.search(np.ones(DIM), 50, where={"batch": letter})
            seen = [
                [match.metadata["tag"] for match in found],
                [record.metadata["tag"] for record in store.get(uids)],
                [record.metadata["tag"] for record in store.scan({"batch": letter}, limit=50)],
            ]
            for tags in seen:
                assert len(tags) == 12
                assert len(set(tags)) == 1
            assert store.count({"batch": letter}) == 12
            newest = seen[0][0]
            assert isinstance(newest, int)
            assert newest >= last, "a search went back in time"
            last = newest

    _together(*(lambda letter=letter: write(letter) for letter in "abc"), *(lambda: read("a") for _ in range(2)))  # type: ignore[misc]


def test_acknowledged_write_is_visible_to_every_thread(store: FAISSVectorStore) -> None:
    """Get, count, search and scan find it from another thread."""
    acknowledged: list[tuple[str, int]] = []
    finished = threading.Event()

    def write() -> None:
        for i in range(80):
            acknowledged.append((store.add(vectors(1, i)[0], {"i": i}), i))
        finished.set()

    def read() -> None:
        rng = np.random.default_rng(threading.get_ident())
        while not finished.is_set():
            if not acknowledged:
                continue
            uid, i = acknowledged[-1] if rng.random() < 0.5 else acknowledged[rng.integers(len(acknowledged))]
            assert store.get([uid])[0].metadata == {"i": i}
            assert store.count({"i": i}) == 1
            assert store.search(vectors(1, i)[0], 1)[0].uid == uid
            assert uid in [record.uid for record in store.scan({"i": {"$gte": i}}, limit=200)]

    _together(write, read, read)


def test_scan_pages_return_each_record_once_while_records_are_replaced(opened: Opened) -> None:
    """A record that is not deleted is on exactly one page, however often it is written meanwhile."""
    store = opened(None)
    names = [f"{i:03d}" for i in range(120)]
    store.add_batch(vectors(120), None, names)
    finished = threading.Event()

    def write() -> None:
        for i in range(120):
            store.add_batch(vectors(40, i), None, names[i % 3 :: 3])
        finished.set()

    def read() -> None:
        while not finished.is_set():
            seen: list[str] = []
            while page := store.scan(after=seen[-1] if seen else None, limit=17):
                seen += [record.uid for record in page]
            assert seen == names

    _together(write, read, read)


def test_threads_add_records_while_graphs_are_built(opened: Opened, tmp_path: Path) -> None:
    """Many threads start sealing at once and none fails; every row is there, also after reopening."""
    store = opened(index="hnsw", buffer_rows=16)

    def write() -> None:
        for i in range(40):
            store.add_batch(vectors(8, i))

    _together(*[write] * 6)
    assert store.count() == 6 * 40 * 8
    assert sealed(store) > 0
    store.close()
    again = opened(index="hnsw", buffer_rows=16)
    assert again.count() == 6 * 40 * 8
    assert len(again.search(np.ones(DIM), 1_000)) == 1_000


async def test_cancelled_write_is_dropped_when_it_has_not_begun(opened: Opened) -> None:
    """The other writes of the queue are executed."""
    store = await asyncio.to_thread(opened, None)
    await store.acount()
    with busy_writer(store):
        calls = [asyncio.ensure_future(store.aadd(np.ones(DIM), {"i": i})) for i in range(6)]
        calls.append(asyncio.ensure_future(store.adelete(where={})))
        await asyncio.sleep(0)
        calls[1].cancel()
        calls[4].cancel()
        calls[6].cancel()
        await asyncio.sleep(0)
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    cancelled = [i for i, outcome in enumerate(outcomes) if isinstance(outcome, asyncio.CancelledError)]
    assert cancelled == [1, 4, 6]
    assert sorted([record.metadata["i"] for record in await store.ascan()]) == [0, 2, 3, 5]


async def test_full_write_queue_refuses_writes_and_executes_the_accepted_ones(opened: Opened) -> None:
    """The error says after how many seconds to try again."""
    store = await asyncio.to_thread(opened, None, max_queued_records=10)
    await store.acount()
    with busy_writer(store):
        calls = [asyncio.ensure_future(store.aadd_batch(vectors(4))) for _ in range(4)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, OverloadedError)]
    assert len(refused) == 2
    assert refused[0].retry_after_s > 0
    assert await store.acount() == 8


async def test_concurrent_writes_share_one_commit(opened: Opened) -> None:
    """64 queued writes need one transaction."""
    store = await asyncio.to_thread(opened)
    await store.acount()
    with busy_writer(store):
        calls = [asyncio.ensure_future(store.aadd(np.ones(DIM))) for _ in range(64)]
        await asyncio.sleep(0)
    await asyncio.gather(*calls)
    stats = await store.astats()
    assert (stats["added"], stats["commits"]) == (64, 1)


async def test_writes_of_a_failed_transaction_raise_separate_errors(opened: Opened) -> None:
    """Each caller gets an exception object of its own to raise."""
    store = await asyncio.to_thread(opened)
    await store.acount()
    connection = Internals(store).connection
    [pages] = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    with busy_writer(store):
        calls = [asyncio.ensure_future(store.aadd_batch(np.ones((1_000, DIM)))) for _ in range(3)]
        await asyncio.sleep(0)
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert len({id(outcome) for outcome in outcomes}) == 3
    assert {type(outcome).__name__ for outcome in outcomes} == {"StoreFullError"}
    assert await store.acount() == 0


def test_writes_that_share_a_transaction_are_executed_in_order(opened: Opened) -> None:
    """Each write sees the effects of those before it."""
    store = opened(None)
    store.add(np.ones(DIM), {"v": 0}, "x")

    async def go() -> list[object]:
        calls = [
            store.adelete(["x"]),
            store.aadd(np.ones(DIM), {"v": 1}, "x"),
            store.aadd(np.ones(DIM), {"v": 2}, "x"),
            store.adelete(where={"v": 2}),
            store.adelete(["x"]),
            store.aadd(np.ones(DIM), {"v": 3}, "x"),
            store.adelete(["x"], where={"v": 1}),
        ]
        with busy_writer(store):
            tasks = [asyncio.ensure_future(call) for call in calls]
            await asyncio.sleep(0)
        return list(await asyncio.gather(*tasks))

    assert asyncio.run(go()) == [1, "x", "x", 1, 0, "x", 0]
    assert [record.metadata for record in store.scan()] == [{"v": 3}]


def test_log_is_truncated_by_a_commit_after_a_long_read_has_ended(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that never ends prevents SQLite from truncating the write-ahead log."""
    monkeypatch.setattr(write_ahead_log, "_LOG_BYTES", 500_000)  # private: a log is truncated from 64 MiB on
    store = opened()
    log = tmp_path / "store" / "memory.sqlite3-wal"
    Internals(store).connection.execute("PRAGMA busy_timeout = 10")
    store.add_batch(vectors(1_000))
    with (
        closing(sqlite3.connect(tmp_path / "store" / "memory.sqlite3")) as reader,
        closing(reader.execute("SELECT seq FROM records")) as rows,
    ):
        assert rows.fetchone()  # the others are never fetched
        for i in range(10):
            store.add_batch(vectors(1_000, i))
        grown = log.stat().st_size
        assert grown > 500_000
    for i in range(30):
        store.add_batch(vectors(1_000, i))
        grown = max(grown, log.stat().st_size)
    assert log.stat().st_size < grown
    assert store.count() == 41_000


def test_keyword_search_finds_a_record_while_it_is_replaced(
    store: FAISSVectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The search is repeated when the text of a visible record was deleted before it was read."""
    vector = vectors(1)[0]
    store.add(vector, {"text": "word"}, "u")
    searched, apply, search = threading.Event(), Index.apply, Keywords.search

    def search_and_signal(*arguments: Any) -> Any:
        try:
            return search(*arguments)
        finally:
            searched.set()

    with ThreadPoolExecutor(1) as pool:
        found: list[Future[list[Match]]] = []

        def search_and_apply(*arguments: Any) -> None:
            """Search after the commit and before the view shows the new row."""
            found.append(pool.submit(store.search_keywords, "word"))
            searched.wait(_PATIENCE_S)
            apply(*arguments)

        monkeypatch.setattr(Keywords, "search", search_and_signal)
        monkeypatch.setattr(Index, "apply", search_and_apply)
        store.add(vector, {"text": "word"}, "u")
        assert [match.uid for match in found[0].result(_PATIENCE_S)] == ["u"]
