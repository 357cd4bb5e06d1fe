"""Collections of a tenant: created, used, deleted, and there again after a restart."""

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
from super_advanced_agents.stores import FAISSVectorStore
from super_advanced_agents.tenancy import collection_pool
from super_advanced_agents.tenancy.collection_pool import Collections
from super_advanced_agents.tenancy.runtime import Runtime
from super_advanced_agents.tenancy.settings import Settings
from super_advanced_agents.tenancy.workspace import Workspace

ONE = np.array([1.0, 0.0, 0.0], np.float32)


def _settings(folder, **given):
    return Settings.load(data_dir=folder, embedding_model="all-MiniLM-L6-v2", **given)


def _folders(tmp_path):
    return {folder.name for folder in (tmp_path / "collections").iterdir()}


async def test_a_collection_lasts(tmp_path):
    """What was put into it is there when the server starts again, and so are its settings."""
    async with Runtime(_settings(tmp_path)) as runtime:
        await runtime.aopen()
        mine = Workspace(runtime, "default")
        made = await mine.acreate_collection("notes", dim=3, metric="dot", storage="sq8")
        assert (made.name, made.dim, made.metric, made.index, made.storage) == ("notes", 3, "dot", "auto", "sq8")
        await (await mine.acollection("notes")).aadd(ONE, {"text": "hello"}, "a")
    async with Runtime(_settings(tmp_path)) as runtime:
        await runtime.aopen()
        mine = Workspace(runtime, "default")
        assert await mine.acollections() == [made] == [await mine.acollection_info("notes")]
        [found] = await (await mine.acollection("notes")).asearch(ONE)
        assert (found.uid, found.metadata) == ("a", {"text": "hello"})


async def test_tenants_have_collections_of_their_own(tmp_path):
    """Two of one name are two collections, and neither tenant sees the other's."""
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


async def test_a_name_is_taken_once(tmp_path):
    """Created again it is refused, unless the caller says that the same one will do."""
    async with Runtime(_settings(tmp_path, max_collections=2)) as runtime:
        await runtime.aopen()
        mine = Workspace(runtime, "default")
        made = await mine.acreate_collection("notes", dim=3)
        for wrong in ({"dim": 3}, {"dim": 4, "exist_ok": True}):
            with pytest.raises(CollectionExistsError, match="notes"):
                await mine.acreate_collection("notes", **wrong)
        assert await mine.acreate_collection("notes", dim=3, exist_ok=True) == made
        await mine.acreate_collection("more", dim=3)
        with pytest.raises(InvalidInputError, match="max_collections"):
            await mine.acreate_collection("most", dim=3)
        assert len(_folders(tmp_path)) == 2


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
async def test_wrong_settings_make_nothing(tmp_path, wrong, field):
    """The field is named."""
    async with Runtime(_settings(tmp_path)) as runtime:
        await runtime.aopen()
        with pytest.raises(InvalidInputError) as caught:
            await Workspace(runtime, "default").acreate_collection(**{"name": "notes", "dim": 3, **wrong})
        assert caught.value.field == field
        assert not _folders(tmp_path)


async def test_deletion_waits_for_nobody_and_leaves_no_file(tmp_path):
    """A call under way comes to its end, later ones learn that the collection is gone; then its folder goes."""
    async with Runtime(_settings(tmp_path)) as runtime:
        await runtime.aopen()
        mine = Workspace(runtime, "default")
        await mine.acreate_collection("notes", dim=3)
        notes = await mine.acollection("notes")
        await notes.aadd(ONE)
        entry = runtime.catalog.collection("default", "notes")
        async with runtime.collections.using("default", entry) as store:
            assert await mine.adelete_collection("notes")
            assert await store.acount() == 1
            with pytest.raises(CollectionNotFoundError):
                await notes.acount()
            await mine.acreate_collection("notes", dim=5)
            with pytest.raises(CollectionNotFoundError, match="anew"):
                await notes.acount()
            assert await (await mine.acollection("notes")).acount() == 0
            assert entry.id in _folders(tmp_path)
    assert entry.id not in _folders(tmp_path)


async def test_what_a_crash_left_is_removed_at_the_next_start(tmp_path):
    """Folders of deleted collections go, empty ones that were never written down too, and nothing else."""
    async with Runtime(_settings(tmp_path)) as runtime:
        await runtime.aopen()
        mine = Workspace(runtime, "default")
        for name in ("kept", "gone"):
            await mine.acreate_collection(name, dim=3)
            await (await mine.acollection(name)).aadd(ONE)
        entry = runtime.catalog.collection("default", "gone")
        await runtime.catalog.adelete_collection("default", "gone")  # and the process ends here
    for name in ("0" * 32, "foreign"):
        (tmp_path / "collections" / name).mkdir()
    (tmp_path / "collections" / "foreign" / "file").write_text("not ours")
    async with Runtime(_settings(tmp_path)) as runtime:
        await runtime.aopen()
        mine = Workspace(runtime, "default")
        assert [info.name for info in await mine.acollections()] == ["kept"]
        assert await (await mine.acollection("kept")).acount() == 1
    left = _folders(tmp_path)
    assert entry.id not in left
    assert len(left) == 2
    assert "foreign" in left


async def test_only_so_many_are_open(tmp_path):
    """The one not used for longest is closed for another, one in use never is, and all of them in use is told."""
    async with Runtime(_settings(tmp_path, max_open_collections=2)) as runtime:
        await runtime.aopen()
        mine = Workspace(runtime, "default")
        for name in "abc":
            await mine.acreate_collection(name, dim=3)
            await (await mine.acollection(name)).aadd(ONE)
        assert runtime.collections.open_count == 2
        first, second = (runtime.catalog.collection("default", name) for name in "ab")
        async with runtime.collections.using("default", first) as store:
            await (await mine.acollection("b")).acount()
            await (await mine.acollection("c")).acount()
            assert await store.acount() == 1
            async with runtime.collections.using("default", second):
                with pytest.raises(OverloadedError) as caught:
                    await (await mine.acollection("c")).acount()
                assert caught.value.retry_after_s > 0
        counts = await asyncio.gather(*[(await mine.acollection(name)).acount() for name in "abcabcabc"])
        assert counts == [1] * 9
        assert runtime.collections.open_count <= 2


async def _count(runtime, name):
    async with runtime.collections.using("default", runtime.catalog.collection("default", name)) as store:
        return await store.acount()


async def test_a_collection_is_opened_while_the_one_closed_for_it_still_closes(tmp_path, monkeypatch):
    """Nobody waits for the close, except a caller of the collection that is being closed."""
    may_close = threading.Event()

    class SlowToClose(FAISSVectorStore):
        """Flushes for long."""

        def _release(self):
            may_close.wait(60)
            super()._release()

    def opened(self, entry):
        return SlowToClose(entry.info.dim, self._folder / entry.id)

    monkeypatch.setattr(Collections, "_open_store", opened)
    try:
        async with Runtime(_settings(tmp_path, max_open_collections=1)) as runtime:
            await runtime.aopen()
            for name in "ab":
                await Workspace(runtime, "default").acreate_collection(name, dim=3)
            assert await _count(runtime, "a") == 0
            assert await asyncio.wait_for(_count(runtime, "b"), 30) == 0
            again = asyncio.create_task(_count(runtime, "a"))
            await asyncio.sleep(0)  # it has asked by now
            may_close.set()
            assert await again == 0
    finally:
        may_close.set()


async def test_cold_collections_are_refused_together_when_all_open_ones_are_in_use(tmp_path, monkeypatch):
    """Each waits from when it asked, not from when the one before it was refused."""
    now = [0.0]
    monkeypatch.setattr(collection_pool, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(collection_pool, "_MAX_WAIT_S", 0.05)
    async with Runtime(_settings(tmp_path, max_open_collections=1)) as runtime:
        await runtime.aopen()
        for name in "abcd":
            await Workspace(runtime, "default").acreate_collection(name, dim=3)
        async with runtime.collections.using("default", runtime.catalog.collection("default", "a")):
            asked = [asyncio.create_task(_count(runtime, name)) for name in "bcd"]
            await asyncio.sleep(0)  # all have asked by now
            now[0] = 1.0
            refused = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 30)
            assert [type(each) for each in refused] == [OverloadedError] * 3
        assert await asyncio.gather(*(_count(runtime, name) for name in "bcd")) == [0] * 3


async def test_several_collections_are_opened_at_once(tmp_path, monkeypatch):
    """One whose disk is slow holds up no other."""
    both = threading.Barrier(2, timeout=30)
    opened = Collections._open_store

    def opened_with_the_other(self, entry):
        both.wait()
        return opened(self, entry)

    monkeypatch.setattr(Collections, "_open_store", opened_with_the_other)
    async with Runtime(_settings(tmp_path)) as runtime:
        await runtime.aopen()
        for name in "ab":
            await Workspace(runtime, "default").acreate_collection(name, dim=3)
        assert await asyncio.gather(*(_count(runtime, name) for name in "ab")) == [0, 0]


async def test_a_caller_that_goes_away_while_it_waits_leaves_nothing_behind(tmp_path):
    """Its collection is not opened for nobody, and can be used and deleted as any other."""
    async with Runtime(_settings(tmp_path, max_open_collections=1)) as runtime:
        await runtime.aopen()
        mine = Workspace(runtime, "default")
        for name in "ab":
            await mine.acreate_collection(name, dim=3)
        folder = runtime.catalog.collection("default", "b").id
        async with runtime.collections.using("default", runtime.catalog.collection("default", "a")):
            waiting = asyncio.create_task(_count(runtime, "b"))
            await asyncio.sleep(0)  # it has asked by now
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        assert runtime.collections.open_count == 1
        assert await _count(runtime, "b") == 0
        assert await mine.adelete_collection("b")
    assert folder not in _folders(tmp_path)


async def test_many_callers_open_a_collection_once(tmp_path):
    """A second opener of the folder would be refused."""
    async with Runtime(_settings(tmp_path)) as runtime:
        await runtime.aopen()
        mine = Workspace(runtime, "default")
        await mine.acreate_collection("notes", dim=3)
        notes = await mine.acollection("notes")
        assert await asyncio.gather(*(notes.acount() for _ in range(50))) == [0] * 50


async def test_a_collection_whose_files_are_lost_is_told(tmp_path):
    """It is never silently empty."""
    async with Runtime(_settings(tmp_path)) as runtime:
        await runtime.aopen()
        mine = Workspace(runtime, "default")
        await mine.acreate_collection("notes", dim=3)
        (tmp_path / "collections" / runtime.catalog.collection("default", "notes").id).rmdir()
        notes = await mine.acollection("notes")
        for _ in range(2):
            with pytest.raises(CorruptStoreError, match="notes"):
                await notes.acount()


async def test_stats_of_a_collection_tell_nothing_of_the_machine(tmp_path):
    """Sizes, but no path."""
    async with Runtime(_settings(tmp_path)) as runtime:
        await runtime.aopen()
        mine = Workspace(runtime, "default")
        await mine.acreate_collection("notes", dim=3)
        stats = await (await mine.acollection("notes")).astats()
        assert (stats["dim"], stats["records"], "path" in stats) == (3, 0, False)
