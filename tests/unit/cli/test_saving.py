"""`saa backup` and `saa restore`."""

from __future__ import annotations

import asyncio

import pytest

from super_advanced_agents import FAISSVectorStore
from super_advanced_agents.tenancy.runtime import Runtime
from super_advanced_agents.tenancy.settings import Settings
from super_advanced_agents.tenancy.workspace import Workspace


def test_a_backup_is_restored_with_everything(saa, tmp_path):
    """Into a new data folder, or over the old one, which is kept; the backup can also be used as it is."""
    saa("add", "The Louvre is in Paris", "--uid", "louvre")
    saa("add", "Bob likes tea", "--uid", "tea", "--agent", "bob")
    made = saa.json("backup", tmp_path / "copy")
    assert (made["records"], made["path"]) == (2, str(tmp_path / "copy"))
    saa("forget", "louvre")
    printed = saa("restore", tmp_path / "copy", "--data-dir", tmp_path / "new").stdout
    assert printed == f"Restored 2 memories to {tmp_path / 'new'}.\n"
    assert saa.json("list", "--data-dir", tmp_path / "new")["total"] == 1
    assert "not empty" in saa("restore", tmp_path / "copy", code=1).stderr
    assert saa.json("list")["total"] == 0
    kept = saa.json("restore", tmp_path / "copy", "--force")["kept"]
    [found] = saa.json("search", "museum in Paris")["results"]
    assert found["uid"] == "louvre"
    assert saa.json("list", "--agent", "bob")["total"] == 1
    assert saa.json("list", "--data-dir", kept)["total"] == 0
    assert saa.json("list", "--data-dir", tmp_path / "copy")["total"] == 1


def test_a_backup_made_in_python_is_restored_too(saa, tmp_path):
    """It is of a store alone, and goes where the data folder has its store."""
    saa("add", "The Louvre is in Paris")
    with FAISSVectorStore(384, saa.data_dir / "store") as store:
        store.backup(tmp_path / "copy")
    saa("restore", tmp_path / "copy", "--data-dir", tmp_path / "new")
    assert saa.json("list", "--data-dir", tmp_path / "new")["total"] == 1


def test_a_store_in_use_is_backed_up_and_never_replaced(saa, tmp_path):
    """As beside `saa serve`."""
    saa("add", "The Louvre is in Paris")
    with FAISSVectorStore(384, saa.data_dir / "store"):
        assert saa.json("backup", tmp_path / "copy")["records"] == 1
        refused = saa("restore", tmp_path / "copy", "--force", code=1).stderr
    assert "in use by process" in refused
    assert saa.json("list")["total"] == 1


@pytest.mark.parametrize("arguments", [("backup",), ("restore",)])
def test_nothing_to_save_or_to_restore_is_told(saa, tmp_path, arguments):
    """In one sentence, with exit code 1."""
    told = saa(*arguments, tmp_path / "nowhere", code=1).stderr
    assert told.startswith("Error: there is no ")
    assert "Hint: " in told


def test_a_servers_collections_are_part_of_a_backup(saa, tmp_path):
    """They and the catalogue that names them come back; keys do not travel."""
    saa("keys", "create", "--tenant", "acme", "--scope", "memories:read")

    async def fill():
        async with Runtime(Settings.load(data_dir=saa.data_dir)) as engines:
            await engines.aopen()
            workspace = Workspace(engines, "acme")
            await workspace.acreate_collection("trips", dim=4)
            await (await workspace.acollection("trips")).aadd([1, 0, 0, 0], {"text": "Madrid"}, "one")

    async def found():
        async with Runtime(Settings.load(data_dir=tmp_path / "new")) as engines:
            await engines.aopen()
            return await (await Workspace(engines, "acme").acollection("trips")).aget(["one"])

    asyncio.run(fill())
    saa("backup", tmp_path / "copy")
    saa("restore", tmp_path / "copy", "--data-dir", tmp_path / "new")
    assert not (tmp_path / "copy" / "server" / "keys.db").exists()
    assert [record.text for record in asyncio.run(found())] == ["Madrid"]


def test_a_backup_without_the_memories_is_refused(saa, tmp_path, monkeypatch):
    """A shared store that lies elsewhere is worked on by its URL, and is not in the data folder to be copied."""
    monkeypatch.setenv("SAA_STORE", f"faiss:{tmp_path / 'shared'}")
    saa("add", "The Louvre is in Paris")
    assert saa.json("list")["total"] == 1
    saa("export", tmp_path / "all.jsonl")
    assert "Louvre" in (tmp_path / "all.jsonl").read_text()
    assert "SAA_STORE" in saa("backup", tmp_path / "copy", code=2).stderr
    assert not (tmp_path / "copy").exists()
    monkeypatch.setenv("SAA_STORE", "https://host/notes")
    assert "folder only" in saa("export", tmp_path / "more.jsonl", code=2).stderr
