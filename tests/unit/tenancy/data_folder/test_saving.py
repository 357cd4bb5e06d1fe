"""Backup and restore of a data folder, of honest, incomplete and crafted backups."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from super_advanced_agents.errors import CorruptStoreError, StoreError, StoreLockedError
from super_advanced_agents.stores.local.folder import StoreFolder
from super_advanced_agents.tenancy.data_folder.saving import (
    back_up_data_folder,
    read_catalog_of,
    restore_data_folder,
)
from super_advanced_agents.tenancy.runtime import Runtime
from super_advanced_agents.tenancy.workspace import Workspace

from .conftest import in_runtime

CATALOG = Path("server/catalog.db")


@pytest.fixture
def backup(data_dir: Path, tmp_path: Path) -> Path:
    """Back up the data folder."""
    back_up_data_folder(data_dir, tmp_path / "backup")
    return tmp_path / "backup"


def seal(backup: Path) -> None:
    """Write the checksums of a backup's changed files to its manifest."""
    manifest = json.loads((backup / "backup.json").read_bytes())
    for file in manifest["files"]:
        content = (backup / file["name"]).read_bytes()
        file["sha256"], file["size_bytes"] = hashlib.sha256(content).hexdigest(), len(content)
    (backup / "backup.json").write_text(json.dumps(manifest))


def sql(file: Path, *statements: str) -> None:
    """Run statements on a database."""
    with closing(sqlite3.connect(file)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


async def _counts(runtime: Runtime) -> dict[str, int]:
    found = {}
    for tenant in ("acme", "globex"):
        workspace = Workspace(runtime, tenant)
        for info in await workspace.acollections():
            found[f"{tenant}/{info.name}"] = await (await workspace.acollection(info.name)).acount()
    return found


def counts(data_dir: Path) -> object:
    """Return the number of records of each collection, which opens all of them."""
    return in_runtime(data_dir, _counts)


ALL = {"acme/trips": 1, "acme/unused": 0, "globex/trips": 1, "globex/unused": 0}


def test_restored_folder_has_every_collection_also_one_never_written(backup: Path, tmp_path: Path) -> None:
    """A collection that was made and not used yet can be used after a restore, and in the backup itself."""
    restored = restore_data_folder(backup, tmp_path / "new")
    assert restored.kept is None
    assert counts(tmp_path / "new") == ALL
    assert counts(backup) == ALL


def test_collections_whose_files_are_gone_are_left_out_of_the_copied_catalog(data_dir: Path, tmp_path: Path) -> None:
    """A backup holds no collection that is broken, and tells how many were damaged."""
    shutil.rmtree(data_dir / "collections" / read_catalog_of(data_dir).collections["acme", "trips"].id)
    done = back_up_data_folder(data_dir, tmp_path / "backup")
    assert (done.collections, done.damaged) == (3, 1)
    restore_data_folder(tmp_path / "backup", tmp_path / "new")
    assert counts(tmp_path / "new") == {name: count for name, count in ALL.items() if name != "acme/trips"}


def test_collection_deleted_during_a_backup_is_left_out_and_is_no_damage(data_dir: Path, tmp_path: Path) -> None:
    """The catalog is copied first; what it no longer names at the end is not in the backup."""
    deleted = []

    def delete(done: int, total: int) -> None:
        if not deleted:  # called when a page of the catalog was copied
            deleted.append(read_catalog_of(data_dir).collections["globex", "trips"].id)
            sql(data_dir / CATALOG, "DELETE FROM collections WHERE tenant = 'globex' AND name = 'trips'")
            shutil.rmtree(data_dir / "collections" / deleted[0])

    done = back_up_data_folder(data_dir, tmp_path / "backup", on_copied=delete)
    assert (done.collections, done.damaged) == (3, 0)
    restore_data_folder(tmp_path / "backup", tmp_path / "new")
    assert counts(tmp_path / "new") == {name: count for name, count in ALL.items() if name != "globex/trips"}


def test_damaged_rows_of_the_catalog_do_not_stop_a_backup(data_dir: Path, tmp_path: Path) -> None:
    """They are left out of the copy and counted, so that the copy can be restored."""
    sql(data_dir / CATALOG, "INSERT INTO agents VALUES ('acme', 'bad', '{', 1.0)")
    assert back_up_data_folder(data_dir, tmp_path / "backup").damaged == 1
    restore_data_folder(tmp_path / "backup", tmp_path / "new")
    assert counts(tmp_path / "new") == ALL


def test_backup_without_a_catalog_for_its_collections_is_refused(data_dir: Path, tmp_path: Path) -> None:
    """The collections could not be named again."""
    (data_dir / CATALOG).unlink()
    with pytest.raises(CorruptStoreError, match="catalog"):
        back_up_data_folder(data_dir, tmp_path / "backup")
    assert not (tmp_path / "backup").exists()


def test_backup_of_an_older_version_restores_collections_that_were_never_written(backup: Path, tmp_path: Path) -> None:
    """Its manifest lists no folders."""
    manifest = json.loads((backup / "backup.json").read_bytes())
    del manifest["folders"]
    (backup / "backup.json").write_text(json.dumps(manifest))
    restore_data_folder(backup, tmp_path / "new")
    assert counts(tmp_path / "new") == ALL


ROWS = {
    "deleted outside": "INSERT INTO deleted VALUES ('../../victim')",
    "deleted absolute": "INSERT INTO deleted VALUES ('/etc')",
    "deleted empty": "INSERT INTO deleted VALUES ('')",
    "deleted in use": "INSERT INTO deleted SELECT id FROM collections LIMIT 1",
    "id outside": "UPDATE collections SET id = '../../outside' WHERE tenant = 'acme' AND name = 'trips'",
    "id with a line end": "UPDATE collections SET id = id || char(10) WHERE tenant = 'acme' AND name = 'trips'",
    "id in capitals": "UPDATE collections SET id = upper(id) || 'A' WHERE tenant = 'acme' AND name = 'trips'",
    "id of bytes": "UPDATE collections SET id = CAST(id AS BLOB) WHERE tenant = 'acme' AND name = 'trips'",
    "tenant": "UPDATE collections SET tenant = '../x' WHERE tenant = 'acme' AND name = 'trips'",
    "name": "UPDATE collections SET name = '' WHERE tenant = 'acme' AND name = 'trips'",
    "dimension": "UPDATE collections SET dim = 1000000000 WHERE name = 'unused' AND tenant = 'acme'",
    "other dimension": "UPDATE collections SET dim = 3 WHERE name = 'trips' AND tenant = 'acme'",
    "metric": "UPDATE collections SET metric = 'x' WHERE name = 'unused' AND tenant = 'acme'",
    "time": "UPDATE collections SET created_at = 9e999 WHERE name = 'unused' AND tenant = 'acme'",
    "agent": "INSERT INTO agents VALUES ('acme', 'a', '{\"namespace\": \"\"}', 1.0)",
    "agent of bytes": "INSERT INTO agents VALUES ('acme', 'a', x'ff00', 1.0)",
    "missing collection": f"INSERT INTO collections VALUES ('acme', 'x', '{'a' * 32}', 2, 'cosine', 'auto', 'fp32', 1)",
    "trigger": "CREATE TRIGGER t AFTER DELETE ON deleted BEGIN DELETE FROM collections; END",
    "view": "CREATE VIEW v AS SELECT * FROM agents",
    "index on an expression": "CREATE INDEX i ON agents (length(hex(zeroblob(1000))))",
    "generated column": "ALTER TABLE agents ADD COLUMN g GENERATED ALWAYS AS (hex(zeroblob(1000)))",
    "check of a column": "ALTER TABLE agents ADD COLUMN c CHECK (length(hex(zeroblob(1000))) > 1)",
    "other file": "PRAGMA application_id = 7",
    "newer version": "PRAGMA user_version = 9",
}


@pytest.mark.parametrize("statement", ROWS.values(), ids=ROWS.keys())
def test_crafted_catalog_is_refused_before_anything_is_moved(backup: Path, tmp_path: Path, statement: str) -> None:
    """A correct checksum does not make a row of the catalog correct."""
    outside = tmp_path / "victim"
    outside.mkdir()
    sql(backup / CATALOG, statement)
    seal(backup)
    with pytest.raises(CorruptStoreError):
        restore_data_folder(backup, tmp_path / "new")
    assert outside.is_dir()
    assert not (tmp_path / "new").exists()
    assert not list(tmp_path.glob(".new*"))


NAMES = [
    "../x.db", "/tmp/x.db", "store/../../x.db", "server/keys.db", "server/secret", "server/requests.db", "owner.lock",
    "store/owner.lock", "collections/x/memory.sqlite3", f"collections/{'g' * 32}/memory.sqlite3", "", ".", "store",
    "store/memory.sqlite3-wal", "backup.json", "store//memory.sqlite3", "./store/memory.sqlite3", "a\0b", 7, None,
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("member", ["files", "folders"])
def test_manifest_with_other_names_is_refused(backup: Path, tmp_path: Path, member: str, name: object) -> None:
    """Keys, locks and paths that lead elsewhere never come out of a backup."""
    manifest = json.loads((backup / "backup.json").read_bytes())
    manifest[member].append({**manifest["files"][0], "name": name} if member == "files" else name)
    (backup / "backup.json").write_text(json.dumps(manifest))
    with pytest.raises(CorruptStoreError):
        restore_data_folder(backup, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def link_file(backup: Path, elsewhere: Path) -> None:
    """Replace the store by a link to a copy of it."""
    shutil.move(backup / "store" / "memory.sqlite3", elsewhere)
    (backup / "store" / "memory.sqlite3").symlink_to(elsewhere)


def link_folder(backup: Path, elsewhere: Path) -> None:
    """Replace a folder of the backup by a link to a copy of it."""
    shutil.move(backup / "server", elsewhere)
    (backup / "server").symlink_to(elsewhere)


def pipe(backup: Path, elsewhere: Path) -> None:
    """Replace the store by a pipe, whose opening would wait for ever."""
    del elsewhere
    (backup / "store" / "memory.sqlite3").unlink()
    os.mkfifo(backup / "store" / "memory.sqlite3")


def longer(backup: Path, elsewhere: Path) -> None:
    """Append to a database."""
    del elsewhere
    with (backup / CATALOG).open("ab") as file:
        file.write(b"x")


@pytest.mark.parametrize("craft", [link_file, link_folder, pipe, longer])
def test_links_special_files_and_altered_sizes_are_refused(
    backup: Path, tmp_path: Path, craft: Callable[[Path, Path], None]
) -> None:
    """Only plain files below the backup's folder are read."""
    craft(backup, tmp_path / "elsewhere")
    with pytest.raises(CorruptStoreError):
        restore_data_folder(backup, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_forced_restore_refuses_a_folder_in_use_whatever_the_backup_holds(data_dir: Path, tmp_path: Path) -> None:
    """A backup without memories does not replace the folder of a running server either."""
    (tmp_path / "other" / "server").mkdir(parents=True)
    shutil.copy(data_dir / CATALOG, tmp_path / "other" / CATALOG)
    sql(tmp_path / "other" / CATALOG, "DELETE FROM collections")
    back_up_data_folder(tmp_path / "other", tmp_path / "backup")
    for folder in (data_dir / "store", data_dir / "collections" / min(read_catalog_of(data_dir).ids)):
        held = StoreFolder(folder)
        try:
            with pytest.raises(StoreLockedError):
                restore_data_folder(tmp_path / "backup", data_dir, force=True)
        finally:
            held.release()
    assert counts(data_dir) == ALL
    with pytest.raises(StoreError, match="not empty"):
        restore_data_folder(tmp_path / "backup", data_dir)
