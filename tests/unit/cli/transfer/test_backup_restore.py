"""Test `saa backup` and `saa restore`."""

from __future__ import annotations

import asyncio

import pytest

from super_advanced_agents import FAISSVectorStore
from super_advanced_agents.tenancy.runtime import Runtime
from super_advanced_agents.tenancy.settings import Settings
from super_advanced_agents.tenancy.workspace import Workspace


def test_restore_brings_back_every_memory_of_a_backup(saa, tmp_path):
    """It fills a new data folder, or replaces one and keeps the old; a backup can also be used itself."""
    saa("add", "The Louvre is in Paris", "--uid", "louvre")
    saa("add", "Bob likes tea", "--uid", "tea", "--agent", "bob")
    backup = saa.json("backup", tmp_path / "copy")
    assert (backup["records"], backup["path"]) == (2, str(tmp_path / "copy"))
    saa("forget", "louvre")
    printed = saa("restore", tmp_path / "copy", "--data-dir", tmp_path / "new").stdout
    assert printed == f"Restored 2 memories to {tmp_path / 'new'}.\n"
    assert saa.json("list", "--data-dir", tmp_path / "new")["total"] == 1
    assert "not empty" in saa("restore", tmp_path / "copy", code=1).stderr
    assert saa.json("list")["total"] == 0
    old_folder = saa.json("restore", tmp_path / "copy", "--force")["kept"]
    [found] = saa.json("search", "museum in Paris")["results"]
    assert found["uid"] == "louvre"
    assert saa.json("list", "--agent", "bob")["total"] == 1
    assert saa.json("list", "--data-dir", old_folder)["total"] == 0
    assert saa.json("list", "--data-dir", tmp_path / "copy")["total"] == 1


def test_restore_accepts_a_backup_of_a_store_made_in_python(saa, tmp_path):
    """It holds a store alone, which goes to the store's place in the data folder."""
    saa("add", "The Louvre is in Paris")
    with FAISSVectorStore(384, saa.data_dir / "store") as store:
        store.backup(tmp_path / "copy")
    saa("restore", tmp_path / "copy", "--data-dir", tmp_path / "new")
    assert saa.json("list", "--data-dir", tmp_path / "new")["total"] == 1


def test_store_in_use_is_backed_up_and_not_replaced_by_restore(saa, tmp_path):
    """`saa serve` may hold the store."""
    saa("add", "The Louvre is in Paris")
    with FAISSVectorStore(384, saa.data_dir / "store"):
        assert saa.json("backup", tmp_path / "copy")["records"] == 1
        refused = saa("restore", tmp_path / "copy", "--force", code=1).stderr
    assert "in use by process" in refused
    assert saa.json("list")["total"] == 1


@pytest.mark.parametrize("arguments", [("backup",), ("restore",)])
def test_backup_and_restore_of_a_missing_folder_fail_with_a_hint(saa, tmp_path, arguments):
    """The exit code is 1."""
    error = saa(*arguments, tmp_path / "nowhere", code=1).stderr
    assert error.startswith("Error: there is no ")
    assert "Hint: " in error


def test_backup_has_the_collections_of_a_server_and_not_its_keys(saa, tmp_path):
    """The catalogue that names the collections is restored with them."""
    saa("keys", "create", "--tenant", "acme", "--scope", "memories:read")

    async def fill():
        async with Runtime(Settings.load(data_dir=saa.data_dir)) as runtime:
            await runtime.aopen()
            workspace = Workspace(runtime, "acme")
            await workspace.acreate_collection("trips", dim=4)
            await (await workspace.acollection("trips")).aadd([1, 0, 0, 0], {"text": "Madrid"}, "one")

    async def read_restored():
        async with Runtime(Settings.load(data_dir=tmp_path / "new")) as runtime:
            await runtime.aopen()
            return await (await Workspace(runtime, "acme").acollection("trips")).aget(["one"])

    asyncio.run(fill())
    saa("backup", tmp_path / "copy")
    saa("restore", tmp_path / "copy", "--data-dir", tmp_path / "new")
    assert not (tmp_path / "copy" / "server" / "keys.db").exists()
    assert [record.text for record in asyncio.run(read_restored())] == ["Madrid"]


def test_backup_of_a_store_outside_the_data_folder_is_refused(saa, tmp_path, monkeypatch):
    """Such a store is not in the folder that would be copied; other commands use it by its URL."""
    monkeypatch.setenv("SAA_STORE", f"faiss:{tmp_path / 'shared'}")
    saa("add", "The Louvre is in Paris")
    assert saa.json("list")["total"] == 1
    saa("export", tmp_path / "all.jsonl")
    assert "Louvre" in (tmp_path / "all.jsonl").read_text()
    assert "SAA_STORE" in saa("backup", tmp_path / "copy", code=2).stderr
    assert not (tmp_path / "copy").exists()
    monkeypatch.setenv("SAA_STORE", "https://host/notes")
    assert "folder only" in saa("export", tmp_path / "more.jsonl", code=2).stderr
