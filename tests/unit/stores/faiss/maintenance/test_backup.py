"""Tests of backup and restore: a backup is a checked, consistent copy, and a restore is one step."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.unit.stores.conftest import DIM, assert_same, brute_force, sealed, vectors

from super_advanced_agents import FAISSVectorStore
from super_advanced_agents.errors import CorruptStoreError, ResourceClosedError, StoreError, StoreLockedError
from super_advanced_agents.stores.faiss.maintenance.backup import MANIFEST, back_up, read_backup
from super_advanced_agents.stores.faiss.maintenance.inspection import settings_of
from super_advanced_agents.stores.faiss.maintenance.restore import restore

Opened = Callable[..., FAISSVectorStore]
GRAPHS = {"index": "hnsw", "buffer_rows": 32}


def _answers(store: FAISSVectorStore) -> list[list[tuple[str, float]]]:
    return [[(match.uid, match.score) for match in store.search(query, 10)] for query in vectors(5, 99)]


def _names(answers: list[list[tuple[str, float]]]) -> list[list[str]]:
    return [[uid for uid, _ in found] for found in answers]


def _files_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def _identity(folder: Path) -> str:
    settings = settings_of(folder)
    assert settings is not None
    return settings["identity"]


@pytest.mark.parametrize("lasting", [True, False])
def test_backup_opens_as_a_store_with_the_same_records_and_results(
    opened: Opened, tmp_path: Path, lasting: bool
) -> None:
    """Records that are written after the backup are not in it."""
    store = opened(tmp_path / "store" if lasting else None)
    store.add_batch(vectors(200), [{"text": f"text {i}", "i": i} for i in range(200)])
    before, records = _answers(store), store.scan(limit=1_000)
    backup = store.backup(tmp_path / "copies" / "monday")
    store.add_batch(vectors(50, 1))
    assert backup.records == 200
    assert read_backup(backup.path) == backup
    assert _files_in(backup.path) == {"memory.sqlite3", MANIFEST}
    copy = opened(backup.path)
    assert _answers(copy) == before
    for ours, theirs in zip(copy.scan(limit=1_000), records, strict=True):
        np.testing.assert_array_equal(ours.vector, theirs.vector)
        assert (ours.uid, ours.metadata, ours.created_at) == (theirs.uid, theirs.metadata, theirs.created_at)
    assert _files_in(tmp_path / "copies") == {"monday"}


def test_backup_holds_every_acknowledged_batch_whole_while_writers_continue(
    opened: Opened, tmp_path: Path, campaign: int
) -> None:
    """Of each of four writers it holds the first batches, none of them in part."""
    store = opened(**GRAPHS)
    stop = threading.Event()
    acknowledged = [0] * 4

    def write(writer: int) -> None:
        while not stop.is_set():
            batch = acknowledged[writer]
            store.add_batch(vectors(20, batch), [{"writer": writer, "batch": batch}] * 20)
            acknowledged[writer] += 1

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    before = []
    for cycle in range(3 * campaign):
        before.append(list(acknowledged))
        store.backup(tmp_path / f"copy-{cycle}")
    stop.set()
    for thread in threads:
        thread.join()
    for cycle, least in enumerate(before):
        with FAISSVectorStore(DIM, tmp_path / f"copy-{cycle}") as copy:
            for writer in range(4):
                held = 0
                while count := copy.count({"writer": writer, "batch": held}):
                    assert count == 20, "a batch is torn"
                    held += 1
                assert held >= least[writer], "an acknowledged batch is missing"
                assert copy.count({"writer": writer}) == 20 * held, "a later batch is there without an earlier one"


def test_write_is_acknowledged_in_the_middle_of_a_backup(large: FAISSVectorStore, tmp_path: Path) -> None:
    """The backup holds the records of the moment when it began."""
    store = large
    steps: list[int] = []

    def on_copied(done: int, total: int) -> None:
        assert 0 < done <= total
        if not steps:
            store.add(vectors(1)[0], uid="meanwhile")
        steps.append(done)

    backup = store.backup(tmp_path / "copy", on_copied=on_copied)
    assert len(steps) > 1
    assert (backup.records, store.count()) == (1_000, 1_001)


def test_restore_over_a_store_returns_the_results_of_the_backup(opened: Opened, tmp_path: Path) -> None:
    """Graphs of later rows have the same identity and another history, so they are dropped."""
    store = opened(**GRAPHS)
    for i in range(4):
        store.add_batch(vectors(60, i), None, [f"{i}-{n:02d}" for n in range(60)])
        sealed(store)
    before = _answers(store)
    identity = _identity(tmp_path / "store")
    backup = store.backup(tmp_path / "copy")
    for i in range(4):
        store.add_batch(vectors(60, 50 + i), None, [f"{i}-{n:02d}" for n in range(60)])
        sealed(store)
    assert _answers(store) != before
    with pytest.raises(StoreLockedError):
        restore(backup.path, tmp_path / "store", force=True)
    store.close()

    aside = restore(backup.path, tmp_path / "store", force=True)
    assert aside is not None
    shutil.copytree(aside / "index", tmp_path / "store" / "index")
    restored = opened(**GRAPHS)
    assert _identity(tmp_path / "store") == identity
    assert restored.count() == 240
    for query in vectors(5, 99):
        assert_same(restored.search(query, 10), brute_force(restored, query, 10))
    assert [[uid for uid, _ in found] for found in _answers(restored)] == [
        [uid for uid, _ in found] for found in before
    ]
    with FAISSVectorStore(DIM, aside) as old:
        assert old.get(["0-00"])[0].vector.tolist() == vectors(60, 50)[0].tolist()


def test_backup_and_restore_refuse_a_target_that_is_not_empty(opened: Opened, tmp_path: Path) -> None:
    """A forced restore moves the old content aside, and an empty folder is accepted."""
    store = opened()
    store.add_batch(vectors(5))
    full, empty = tmp_path / "full", tmp_path / "empty"
    full.mkdir()
    empty.mkdir()
    (full / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match="not empty"):
        store.backup(full)
    store.backup(empty)
    with pytest.raises(StoreError, match="not empty"):
        restore(empty, full)
    assert _files_in(full) == {"notes.txt"}
    aside = restore(empty, full, force=True)
    assert aside is not None
    assert _files_in(aside) == {"notes.txt"}
    assert restore(empty, tmp_path / "new" / "folder") is None
    with FAISSVectorStore(DIM, tmp_path / "new" / "folder") as restored:
        assert restored.count() == 5
    with pytest.raises(StoreError, match="no store"):
        back_up(tmp_path / "nowhere", tmp_path / "copy")
    assert _files_in(tmp_path) == {"store", "full", "empty", "new", aside.name}


@pytest.mark.parametrize("damage", ["flipped", "truncated", "missing", "manifest", "elsewhere", "newer"])
def test_restore_refuses_a_damaged_backup_and_leaves_the_store(opened: Opened, tmp_path: Path, damage: str) -> None:
    """The store that it should replace stays as it was."""
    store = opened()
    store.add_batch(vectors(500))
    store.backup(tmp_path / "copy")
    store.add_batch(vectors(5))
    store.close()
    database, manifest = tmp_path / "copy" / "memory.sqlite3", tmp_path / "copy" / MANIFEST
    content = bytearray(database.read_bytes())
    manifest_body = json.loads(manifest.read_text())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
        database.write_bytes(content)
    elif damage == "truncated":
        database.write_bytes(content[:-1])
    elif damage == "missing":
        database.unlink()
    elif damage == "manifest":
        manifest.write_text(manifest.read_text()[:-40])
    elif damage == "elsewhere":
        manifest_body["files"][0]["name"] = "../memory.sqlite3"
        manifest.write_text(json.dumps(manifest_body))
    else:
        manifest_body["files"][0]["schema"] = 1_000
        manifest.write_text(json.dumps(manifest_body))
    error = StoreError if damage == "newer" else CorruptStoreError
    with pytest.raises(error, match="backup"):
        restore(tmp_path / "copy", tmp_path / "store", force=True)
    assert opened().count() == 505
    assert _files_in(tmp_path) == {"store", "copy"}


def test_backup_refuses_a_damaged_store(opened: Opened, tmp_path: Path) -> None:
    """A copy that cannot be read is no backup."""
    store = opened()
    store.add_batch(vectors(500))
    store.close()
    database = tmp_path / "store" / "memory.sqlite3"
    content = bytearray(database.read_bytes())
    content[3 * 8192 : 12 * 8192] = bytes(9 * 8192)
    database.write_bytes(content)
    with pytest.raises(CorruptStoreError):
        back_up(tmp_path / "store", tmp_path / "copy")
    assert _files_in(tmp_path) == {"store"}


@pytest.fixture
def large(opened: Opened) -> FAISSVectorStore:
    """A store of several megabytes, whose backup takes several steps."""
    store = opened()
    store.add_batch(vectors(1_000), [{"filling": "x" * 8_000}] * 1_000)
    return store


async def test_cancelled_backup_leaves_no_files_and_the_next_one_succeeds(
    large: FAISSVectorStore, tmp_path: Path
) -> None:
    """It stops at its next step, and the store continues to work."""
    store = large
    loop = asyncio.get_running_loop()
    begun, go_on = asyncio.Event(), threading.Event()

    def on_copied(done: int, total: int) -> None:
        loop.call_soon_threadsafe(begun.set)
        go_on.wait()

    task = asyncio.ensure_future(store.abackup(tmp_path / "copy", on_copied=on_copied))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    backup = await store.abackup(tmp_path / "other")
    assert backup.records == 1_000
    await store.aclose()  # the reader that gave up has ended
    assert {path.name for path in await asyncio.to_thread(tmp_path.iterdir)} == {"store", "other"}


async def test_reads_finish_while_two_backups_are_held_up(large: FAISSVectorStore, tmp_path: Path) -> None:
    """Records can be got, counted and scanned."""
    loop = asyncio.get_running_loop()
    begun, go_on = asyncio.Event(), threading.Event()

    def on_copied(done: int, total: int) -> None:
        loop.call_soon_threadsafe(begun.set)
        go_on.wait()

    backups = [asyncio.ensure_future(large.abackup(tmp_path / name, on_copied=on_copied)) for name in ("one", "two")]
    try:
        await begun.wait()
        [record] = await asyncio.wait_for(large.ascan(limit=1), 60)
        assert await asyncio.wait_for(large.acount(), 60) == 1_000
        assert [got.uid for got in await asyncio.wait_for(large.aget([record.uid]), 60)] == [record.uid]
    finally:
        go_on.set()
    assert [backup.records for backup in await asyncio.gather(*backups)] == [1_000, 1_000]


def test_backup_raises_and_leaves_no_files_when_the_store_is_closed(large: FAISSVectorStore, tmp_path: Path) -> None:
    """Its caller gets ResourceClosedError."""
    store = large
    closing: list[threading.Thread] = []

    def on_copied(done: int, total: int) -> None:
        if not closing:
            closing.append(threading.Thread(target=store.close))
            closing[0].start()
            while not store.closed:
                closing[0].join(0.001)

    with pytest.raises(ResourceClosedError):
        store.backup(tmp_path / "copy", on_copied=on_copied)
    closing[0].join()
    assert _files_in(tmp_path) == {"store"}


def test_backup_replaces_the_unfinished_folder_of_a_killed_one(opened: Opened, tmp_path: Path) -> None:
    """The folder of an earlier attempt is begun anew."""
    store = opened()
    store.add_batch(vectors(5))
    left = tmp_path / ".copy.part"
    (left / "deep").mkdir(parents=True)
    (left / "memory.sqlite3").write_bytes(b"half")
    (left / "deep" / "file").write_bytes(b"half")
    assert store.backup(tmp_path / "copy").records == 5
    assert _files_in(tmp_path / "copy") == {"memory.sqlite3", MANIFEST}
    assert _files_in(tmp_path) == {"store", "copy"}
