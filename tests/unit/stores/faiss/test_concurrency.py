"""Threads and tasks at once: reads stay whole while rows are replaced, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.stores.conftest import DIM, busy_writer, sealed, vectors

from super_advanced_agents import FAISSVectorStore
from super_advanced_agents.errors import OverloadedError
from super_advanced_agents.types import Match

Opened = Callable[..., FAISSVectorStore]
_PATIENCE_S = 120.0
"""Only a deadlock waits this long."""


def _together(*works: Callable[[], object]) -> None:
    """Run each in a thread of its own, from one moment on, and raise what any of them raises."""
    begin = threading.Barrier(len(works))

    def work(each: Callable[[], object]) -> None:
        begin.wait()
        each()

    with ThreadPoolExecutor(len(works)) as pool:
        for done in [pool.submit(work, each) for each in works]:
            done.result(_PATIENCE_S)


@pytest.fixture(params=["memory", "disk", "graphs"])
def store(request: pytest.FixtureRequest, opened: Opened) -> FAISSVectorStore:
    """One in memory, one on disk, one that seals all the time."""
    if request.param == "memory":
        return opened(None)
    return opened(index="hnsw", buffer_rows=16) if request.param == "graphs" else opened()


def test_deleting_by_filter_and_filtered_reads_do_not_wait_for_each_other(store: FAISSVectorStore) -> None:
    """The writer wants the filters' lock, a reader holds it and wants the rows: once a deadlock in memory."""

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


def test_a_record_that_is_being_replaced_is_always_there(store: FAISSVectorStore) -> None:
    """Get, search, scan and count never miss it, and never see it twice."""
    store.add(np.ones(DIM), {"hot": True}, "hot")
    store.add_batch(vectors(30), None, [f"cold{i:02d}" for i in range(30)])
    over = threading.Event()

    def replace() -> None:
        for i in range(120):
            store.add(np.ones(DIM), {"hot": True, "i": i}, "hot")
        over.set()

    def read() -> None:
        while not over.is_set():
            assert [record.uid for record in store.get(["hot"])] == ["hot"]
            assert store.count({"hot": True}) == 1
            assert store.search(np.ones(DIM), 1)[0].uid == "hot"
            assert [match.uid for match in store.search(np.ones(DIM), 3, where={"hot": True})] == ["hot"]
            assert [record.uid for record in store.scan({"hot": True})] == ["hot"]
            assert [record.uid for record in store.scan(limit=40)][-1] == "hot"
            assert len(store.search(np.ones(DIM), 40)) == 31

    _together(replace, read, read)


def test_no_read_sees_half_a_batch(store: FAISSVectorStore) -> None:
    """All records of a batch carry one tag; whatever a read returns of a batch is all of it, and of one tag."""
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


def test_acknowledged_writes_are_seen_by_every_thread(store: FAISSVectorStore) -> None:
    """A writer tells the others what it was told; they find it, in every way of reading."""
    told: list[tuple[str, int]] = []
    over = threading.Event()

    def write() -> None:
        for i in range(80):
            told.append((store.add(vectors(1, i)[0], {"i": i}), i))
        over.set()

    def read() -> None:
        rng = np.random.default_rng(threading.get_ident())
        while not over.is_set():
            if not told:
                continue
            uid, i = told[-1] if rng.random() < 0.5 else told[rng.integers(len(told))]
            assert store.get([uid])[0].metadata == {"i": i}
            assert store.count({"i": i}) == 1
            assert store.search(vectors(1, i)[0], 1)[0].uid == uid
            assert uid in [record.uid for record in store.scan({"i": {"$gte": i}}, limit=200)]

    _together(write, read, read)


def test_pages_are_whole_while_records_are_replaced(opened: Opened) -> None:
    """Records nobody deletes are on exactly one page, however often they are written meanwhile."""
    store = opened(None)
    names = [f"{i:03d}" for i in range(120)]
    store.add_batch(vectors(120), None, names)
    over = threading.Event()

    def write() -> None:
        for i in range(120):
            store.add_batch(vectors(40, i), None, names[i % 3 :: 3])
        over.set()

    def read() -> None:
        while not over.is_set():
            seen: list[str] = []
            while page := store.scan(after=seen[-1] if seen else None, limit=17):
                seen += [record.uid for record in page]
            assert seen == names

    _together(write, read, read)


def test_many_threads_adding_while_graphs_are_made(opened: Opened, tmp_path: Path) -> None:
    """Sealing is begun by many at once and fails none of them; the rows come back, also after opening again."""
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


async def test_a_cancelled_write_that_had_not_begun_is_dropped(opened: Opened) -> None:
    """The writes beside it are carried out; the queue holds nothing of it."""
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


async def test_a_full_queue_refuses_and_the_rest_is_stored(opened: Opened) -> None:
    """What does not fit is told when to come back; what was accepted is carried out."""
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


async def test_concurrent_writers_share_commits(opened: Opened) -> None:
    """64 callers at once need far fewer transactions than writes."""
    store = await asyncio.to_thread(opened)
    await store.acount()
    with busy_writer(store):
        calls = [asyncio.ensure_future(store.aadd(np.ones(DIM))) for _ in range(64)]
        await asyncio.sleep(0)
    await asyncio.gather(*calls)
    stats = await store.astats()
    assert (stats["added"], stats["commits"]) == (64, 1)


async def test_neighbours_in_one_commit_keep_their_own_errors(opened: Opened) -> None:
    """When a shared transaction fails, each caller gets an error of its own to raise."""
    store = await asyncio.to_thread(opened)
    await store.acount()
    pages = store._rows._writer.execute("PRAGMA page_count").fetchone()[0]
    store._rows._writer.execute(f"PRAGMA max_page_count = {pages}")
    with busy_writer(store):
        calls = [asyncio.ensure_future(store.aadd_batch(np.ones((1_000, DIM)))) for _ in range(3)]
        await asyncio.sleep(0)
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert len({id(outcome) for outcome in outcomes}) == 3
    assert {type(outcome).__name__ for outcome in outcomes} == {"StoreFullError"}
    assert await store.acount() == 0


def test_deletes_and_adds_of_one_commit_happen_in_order(opened: Opened) -> None:
    """Each sees what those before it did, though they share a transaction."""
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


def test_the_log_does_not_grow_without_end_beside_readers(opened: Opened, tmp_path: Path) -> None:
    """A reader that never leaves keeps the log; when it has left, a later commit folds the log in."""
    store = opened()
    log = tmp_path / "store" / "memory.sqlite3-wal"
    store._rows._log_bytes = 500_000
    store._rows._writer.execute("PRAGMA busy_timeout = 10")
    reader = store._rows._read("SELECT seq FROM records")
    store.add_batch(vectors(1_000))
    assert next(reader)
    store._rows._log_bytes = 500_000
    for i in range(10):
        store.add_batch(vectors(1_000, i))
    grown = log.stat().st_size
    assert grown > 500_000
    reader.close()
    for i in range(30):
        store.add_batch(vectors(1_000, i))
        grown = max(grown, log.stat().st_size)
    assert log.stat().st_size < grown
    assert store.count() == 41_000


def test_a_search_by_words_never_misses_what_is_being_replaced(
    store: FAISSVectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks again when the words of a record it should see were gone before it could read them."""
    vector = vectors(1)[0]
    store.add(vector, {"text": "word"}, "u")
    looked, apply, search = threading.Event(), store._index.apply, store._keywords.search

    def look(*arguments: Any) -> Any:
        try:
            return search(*arguments)
        finally:
            looked.set()

    with ThreadPoolExecutor(1) as pool:
        found: list[Future[list[Match]]] = []

        def looked_at_before(*arguments: Any) -> None:
            """The rows are committed, and the view does not show it yet."""
            found.append(pool.submit(store.search_keywords, "word"))
            looked.wait(_PATIENCE_S)
            apply(*arguments)

        monkeypatch.setattr(store._keywords, "search", look)
        monkeypatch.setattr(store._index, "apply", looked_at_before)
        store.add(vector, {"text": "word"}, "u")
        assert [match.uid for match in found[0].result(_PATIENCE_S)] == ["u"]
