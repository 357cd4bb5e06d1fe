"""Collections of a tenant are created, opened on use, deleted, and there again after a restart."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from super_advanced_agents.errors import (
    CollectionExistsError,
    CollectionNotFoundError,
    CorruptStoreError,
    InvalidInputError,
    OverloadedError,
)
from super_advanced_agents.stores.opening import open_store
from super_advanced_agents.tenancy import collection_places, collection_pool
from super_advanced_agents.tenancy.runtime import Runtime
from super_advanced_agents.tenancy.settings import Settings
from super_advanced_agents.tenancy.workspace import Workspace

ONE = np.array([1.0, 0.0, 0.0], np.float32)


def _settings(folder, **given):
    return Settings.load(data_dir=folder, embedding_model="all-MiniLM-L6-v2", **given)


def _folder_names(tmp_path):
    return {folder.name for folder in (tmp_path / "collections").iterdir()}


async def test_collection_survives_a_restart_with_its_records_and_settings(tmp_path):
    """A second runtime on the same folder stands for the next start."""
    async with Runtime(_settings(tmp_path)) as runtime:
        await runtime.aopen()
        workspace = Workspace(runtime, "default")
        info = await workspace.acreate_collection("notes", dim=3, metric="dot", storage="sq8")
        assert (info.name, info.dim, info.metric, info.index, info.storage) == ("notes", 3, "dot", "auto", "sq8")
        await (await workspace.acollection("notes")).aadd(ONE, {"text": "hello"}, "a")
    async with Runtime(_settings(tmp_path)) as runtime:
        await runtime.aopen()
        workspace = Workspace(runtime, "default")
        assert await workspace.acollections() == [info] == [await workspace.acollection_info("notes")]
        [found] = await (await workspace.acollection("notes")).asearch(ONE)
        assert (found.uid, found.metadata) == ("a", {"text": "hello"})


async def test_large_writes_of_a_collection_share_its_thread(tmp_path):
    """Each is made through an object of its own, and none of those leaves a thread behind when all is closed."""

    def threads():
        return [thread.name for thread in threading.enumerate() if thread.name == "store validation"]

    async with Runtime(_settings(tmp_path)) as runtime:
        await runtime.aopen()
        workspace = Workspace(runtime, "default")
        await workspace.acreate_collection("notes", dim=3)
        for _ in range(3):
            await (await workspace.acollection("notes")).aadd_batch([ONE] * 100)
        assert len(threads()) == 1
    assert threads() == []


async def test_tenants_have_separate_collections_of_the_same_name(tmp_path):
    """Neither tenant sees or deletes the other's collection."""
    async with Runtime(_settings(tmp_path)) as runtime:
        await runtime.aopen()
        ann, bob = Workspace(runtime, "ann"), Workspace(runtime, "bob")
        await ann.acreate_collection("notes", dim=3)
        with pytest.raises(CollectionNotFoundError):
            await bob.acollection("notes")
        await bob.acreate_collection("notes", dim=4)
        await (await ann.acollection("notes")).aadd(ONE)
        assert await (await bob.acollection("notes")).acount() == 0
        assert not await bob.adelete_collection("other")
        assert await bob.adelete_collection("notes")
        assert await (await ann.acollection("notes")).acount() == 1


async def test_create_collection_refuses_a_taken_name_without_exist_ok(tmp_path):
    """With `exist_ok` the settings must be equal; more than `max_collections` are refused."""
    async with Runtime(_settings(tmp_path, max_collections=2)) as runtime:
        await runtime.aopen()
        workspace = Workspace(runtime, "default")
        info = await workspace.acreate_collection("notes", dim=3)
        for wrong in ({"dim": 3}, {"dim": 4, "exist_ok": True}):
            with pytest.raises(CollectionExistsError, match="notes"):
                await workspace.acreate_collection("notes", **wrong)
        assert await workspace.acreate_collection("notes", dim=3, exist_ok=True) == info
        await workspace.acreate_collection("more", dim=3)
        with pytest.raises(InvalidInputError, match="max_collections"):
            await workspace.acreate_collection("most", dim=3)
        assert len(_folder_names(tmp_path)) == 2


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"name": "../up"}, "name"),
        ({"name": ""}, "name"),
        ({"dim": 0}, "dim"),
        ({"dim": True}, "dim"),
        ({"dim": 65_537}, "dim"),
        ({"metric": "l2"}, "metric"),
        ({"index": "annoy"}, "index"),
        ({"storage": "pq"}, "storage"),
        ({"storage": ["fp32"]}, "storage"),
    ],
)
async def test_create_collection_with_wrong_settings_makes_no_folder(tmp_path, wrong, field):
    """The error names the field."""
    async with Runtime(_settings(tmp_path)) as runtime:
        await runtime.aopen()
        with pytest.raises(InvalidInputError) as caught:
            await Workspace(runtime, "default").acreate_collection(**{"name": "notes", "dim": 3, **wrong})
        assert caught.value.field == field
        assert not _folder_names(tmp_path)


async def test_delete_collection_returns_before_running_calls_end(tmp_path):
    """Running calls end, later ones learn that the collection is gone, and then its folder goes."""
    async with Runtime(_settings(tmp_path)) as runtime:
        await runtime.aopen()
        workspace = Workspace(runtime, "default")
        await workspace.acreate_collection("notes", dim=3)
        notes = await workspace.acollection("notes")
        await notes.aadd(ONE)
        entry = runtime.catalog.collection("default", "notes")
        async with runtime.collections.using("default", entry) as store:
            assert await workspace.adelete_collection("notes")
            assert await store.acount() == 1
            with pytest.raises(CollectionNotFoundError):
                await notes.acount()
            await workspace.acreate_collection("notes", dim=5)
            with pytest.raises(CollectionNotFoundError, match="anew"):
                await notes.acount()
            assert await (await workspace.acollection("notes")).acount() == 0
            assert entry.id in _folder_names(tmp_path)
    assert entry.id not in _folder_names(tmp_path)


async def test_next_start_removes_the_folders_that_a_crash_left(tmp_path):
    """Folders of deleted collections and empty unknown folders go, and nothing else."""
    async with Runtime(_settings(tmp_path)) as runtime:
        await runtime.aopen()
        workspace = Workspace(runtime, "default")
        for name in ("kept", "gone"):
            await workspace.acreate_collection(name, dim=3)
            await (await workspace.acollection(name)).aadd(ONE)
        entry = runtime.catalog.collection("default", "gone")
        await runtime.catalog.adelete_collection("default", "gone")  # and the process ends here
    for name in ("0" * 32, "foreign"):
        (tmp_path / "collections" / name).mkdir()
    (tmp_path / "collections" / "foreign" / "file").write_text("not ours")
    async with Runtime(_settings(tmp_path)) as runtime:
        await runtime.aopen()
        workspace = Workspace(runtime, "default")
        assert [info.name for info in await workspace.acollections()] == ["kept"]
        assert await (await workspace.acollection("kept")).acount() == 1
    remaining = _folder_names(tmp_path)
    assert entry.id not in remaining
    assert len(remaining) == 2
    assert "foreign" in remaining


async def test_least_recently_used_collection_is_closed_beyond_max_open(tmp_path):
    """A collection in use stays open; when all of them are in use, the call is refused."""
    async with Runtime(_settings(tmp_path, max_open_collections=2)) as runtime:
        await runtime.aopen()
        workspace = Workspace(runtime, "default")
        for name in "abc":
            await workspace.acreate_collection(name, dim=3)
            await (await workspace.acollection(name)).aadd(ONE)
        assert runtime.collections.open_count == 2
        first, second = (runtime.catalog.collection("default", name) for name in "ab")
        async with runtime.collections.using("default", first) as store:
            await (await workspace.acollection("b")).acount()
            await (await workspace.acollection("c")).acount()
            assert await store.acount() == 1
            async with runtime.collections.using("default", second):
                with pytest.raises(OverloadedError) as caught:
                    await (await workspace.acollection("c")).acount()
                assert caught.value.retry_after_s > 0
        counts = await asyncio.gather(*[(await workspace.acollection(name)).acount() for name in "abcabcabc"])
        assert counts == [1] * 9
        assert runtime.collections.open_count <= 2


async def _count(runtime, name):
    async with runtime.collections.using("default", runtime.catalog.collection("default", name)) as store:
        return await store.acount()


async def test_collection_opens_while_the_one_it_replaces_still_closes(tmp_path, monkeypatch):
    """Only a caller of the closing collection waits for the close."""
    may_close = threading.Event()

    def open_slow_to_close(url, **options):
        store = open_store(url, **options)
        close = store.close

        def close_slowly():
            may_close.wait(60)
            close()

        store.close = close_slowly
        return store

    monkeypatch.setattr(collection_places, "open_store", open_slow_to_close)
    try:
        async with Runtime(_settings(tmp_path, max_open_collections=1)) as runtime:
            await runtime.aopen()
            for name in "ab":
                await Workspace(runtime, "default").acreate_collection(name, dim=3)
            assert await _count(runtime, "a") == 0
            assert await asyncio.wait_for(_count(runtime, "b"), 30) == 0
            again = asyncio.create_task(_count(runtime, "a"))
            await asyncio.sleep(0)  # lets the call begin to wait
            may_close.set()
            assert await again == 0
    finally:
        may_close.set()


async def test_waiting_callers_are_refused_together_when_all_collections_are_in_use(tmp_path, monkeypatch):
    """Each caller's time counts from its own call, not from the refusal of the one before it."""
    now = [0.0]
    monkeypatch.setattr(collection_pool, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(collection_pool, "_MAX_WAIT_S", 0.05)  # no setting; it would be a second of real waiting
    async with Runtime(_settings(tmp_path, max_open_collections=1)) as runtime:
        await runtime.aopen()
        for name in "abcd":
            await Workspace(runtime, "default").acreate_collection(name, dim=3)
        async with runtime.collections.using("default", runtime.catalog.collection("default", "a")):
            calls = [asyncio.create_task(_count(runtime, name)) for name in "bcd"]
            await asyncio.sleep(0)  # lets all calls begin to wait
            now[0] = 1.0
            refused = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 30)
            assert [type(each) for each in refused] == [OverloadedError] * 3
        assert await asyncio.gather(*(_count(runtime, name) for name in "bcd")) == [0] * 3


async def test_collections_open_concurrently(tmp_path, monkeypatch):
    """A collection on a slow disk delays no other."""
    both = threading.Barrier(2, timeout=30)

    def open_with_the_other(url, **options):
        both.wait()
        return open_store(url, **options)

    monkeypatch.setattr(collection_places, "open_store", open_with_the_other)
    async with Runtime(_settings(tmp_path)) as runtime:
        await runtime.aopen()
        for name in "ab":
            await Workspace(runtime, "default").acreate_collection(name, dim=3)
        assert await asyncio.gather(*(_count(runtime, name) for name in "ab")) == [0, 0]


async def test_cancelled_wait_for_a_collection_does_not_open_it(tmp_path):
    """The collection can be used and deleted afterwards."""
    async with Runtime(_settings(tmp_path, max_open_collections=1)) as runtime:
        await runtime.aopen()
        workspace = Workspace(runtime, "default")
        for name in "ab":
            await workspace.acreate_collection(name, dim=3)
        folder = runtime.catalog.collection("default", "b").id
        async with runtime.collections.using("default", runtime.catalog.collection("default", "a")):
            waiting = asyncio.create_task(_count(runtime, "b"))
            await asyncio.sleep(0)  # lets the call begin to wait
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        assert runtime.collections.open_count == 1
        assert await _count(runtime, "b") == 0
        assert await workspace.adelete_collection("b")
    assert folder not in _folder_names(tmp_path)


async def test_concurrent_callers_open_a_collection_once(tmp_path):
    """A second opener of the folder would be refused."""
    async with Runtime(_settings(tmp_path)) as runtime:
        await runtime.aopen()
        workspace = Workspace(runtime, "default")
        await workspace.acreate_collection("notes", dim=3)
        notes = await workspace.acollection("notes")
        assert await asyncio.gather(*(notes.acount() for _ in range(50))) == [0] * 50


async def test_collection_with_missing_files_raises_corrupt_store_error(tmp_path):
    """A collection must never be silently empty."""
    async with Runtime(_settings(tmp_path)) as runtime:
        await runtime.aopen()
        workspace = Workspace(runtime, "default")
        await workspace.acreate_collection("notes", dim=3)
        (tmp_path / "collections" / runtime.catalog.collection("default", "notes").id).rmdir()
        notes = await workspace.acollection("notes")
        for _ in range(2):
            with pytest.raises(CorruptStoreError, match="notes"):
                await notes.acount()


async def test_collection_stats_contain_sizes_but_no_path(tmp_path):
    """Tenants must not learn where the files are."""
    async with Runtime(_settings(tmp_path)) as runtime:
        await runtime.aopen()
        workspace = Workspace(runtime, "default")
        await workspace.acreate_collection("notes", dim=3)
        stats = await (await workspace.acollection("notes")).astats()
        assert (stats["dim"], stats["records"], "path" in stats) == (3, 0, False)
