"""Backup and restore of a data folder: the memories, the catalog and the collections.

The catalog is copied first, then the collections that the copy names. A collection that was deleted before all of them
were copied is left out of the copied catalog too, so that a restored catalog names no collection without its files.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from super_advanced_agents._runtime.disk import sqlite, sqlite_errors
from super_advanced_agents._runtime.disk.files import create_folder
from super_advanced_agents.config import CATALOG_FILE, COLLECTIONS_FOLDER, STORE_DATABASE, STORE_FOLDER
from super_advanced_agents.errors import CorruptStoreError, StoreError
from super_advanced_agents.stores.local.maintenance import (
    Backup,
    BackupContents,
    copy_database,
    has_records_table,
    is_backup_of_one_store,
    open_immutable,
    open_read_only,
    read_backup,
    restore,
    settings_of_copy,
    write_backup,
)
from super_advanced_agents.tenancy.catalog.rows import SCHEMA as CATALOG_SCHEMA
from super_advanced_agents.tenancy.catalog.rows import CatalogRows, is_collection_id, read_catalog

STORE = f"{STORE_FOLDER}/{STORE_DATABASE}"

OnCopied = Callable[[int, int], None]
"""Progress callback, with the bytes copied and the total bytes of the current database."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataBackup:
    """Hold the result of backing up a data folder.

    Attributes:
        backup: the manifest.
        collections: the number of collections in the backup.
        damaged: the number of collections, and of rows of the catalog, that are damaged and were left out.
    """

    backup: Backup
    collections: int
    damaged: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DataRestore:
    """Hold the result of restoring a data folder.

    Attributes:
        backup: the manifest.
        kept: the new path of the folder that was replaced; None if there was none.
    """

    backup: Backup
    kept: Path | None


def back_up_data_folder(data_dir: Path, target: Path, *, on_copied: OnCopied | None = None) -> DataBackup:
    """Back up the memories, the catalog and the collections of a data folder. Blocks.

    A server may use the data folder meanwhile; collections that are created or deleted meanwhile are in the backup
    completely or not at all. API keys and their secret are not copied: a copy must not give access to a server.

    Raises:
        StoreError: there is nothing to back up, or the target is not empty or cannot be written.
        CorruptStoreError: a database is damaged, or the catalog is missing while there are collections.
    """
    copy = _DataCopy(data_dir, on_copied)
    backup = write_backup(target, copy.fill)
    return DataBackup(backup=backup, collections=copy.collections, damaged=copy.damaged)


def restore_data_folder(source: Path, data_dir: Path, *, force: bool = False) -> DataRestore:
    """Restore a data folder from a backup of one, or its store from a backup of a store. Blocks.

    Every name, identifier and row of the catalog is checked before anything is moved.

    Raises:
        StoreError: there is no backup, or the target is not empty and `force` is False.
        CorruptStoreError: the backup is damaged, or holds what a backup of this package does not.
        StoreLockedError: a process has the data folder open.
    """
    backup = read_backup(source)
    if is_backup_of_one_store(backup):
        return DataRestore(backup=backup, kept=restore(source, data_dir / STORE_FOLDER, force=force))
    kept = restore(
        source, data_dir, force=force, accepts=_is_known, on_restored=_check_restored, locks=("", STORE_FOLDER)
    )
    return DataRestore(backup=backup, kept=kept)


def read_catalog_of(data_dir: Path) -> CatalogRows:
    """Read and validate the catalog of a data folder, which a server may have open.

    Without a catalog the result is empty.

    Raises:
        StoreError: it cannot be read.
        CorruptStoreError: it is damaged.
    """
    file = data_dir / CATALOG_FILE
    if not file.is_file():
        return CatalogRows()
    with open_read_only(file) as connection:
        return read_catalog(connection)


def check_catalog_is_there(data_dir: Path) -> None:
    """Raise if a data folder has collections, and no catalog that says whose they are.

    Raises:
        CorruptStoreError: it is missing or empty, and a new one would hide them.
    """
    file = data_dir / CATALOG_FILE
    if file.is_file() and file.stat().st_size:
        return
    if any(data_dir.glob(f"{COLLECTIONS_FOLDER}/*/{STORE_DATABASE}")):
        raise CorruptStoreError(
            f"there are collections in {str(data_dir)!r}, but the catalog that names them is missing",
            hint=f"put {CATALOG_FILE!r} back or restore a backup, or move the folder {COLLECTIONS_FOLDER!r} away",
        )


class _DataCopy:
    # Fills the folder of a backup, and counts what it holds.

    def __init__(self, data_dir: Path, on_copied: OnCopied | None) -> None:
        self._data_dir = data_dir
        self._on_copied = on_copied
        self.collections = 0
        self.damaged = 0

    def fill(self, folder: Path) -> BackupContents:
        rows = CatalogRows()
        files = []
        if (self._data_dir / CATALOG_FILE).is_file():
            self._copy(CATALOG_FILE, folder)
            with open_immutable(folder / CATALOG_FILE) as connection:
                rows = read_catalog(connection)
            files.append(CATALOG_FILE)
        else:
            check_catalog_is_there(self._data_dir)
        if (self._data_dir / STORE).is_file():
            self._copy(STORE, folder)
            files.append(STORE)
        if not files:
            raise StoreError(f"there is no store in {str(self._data_dir)!r}", hint="check the path")
        copied = {collection: self._copy_collection(collection, folder) for collection in sorted(rows.ids)}
        still_there = read_catalog_of(self._data_dir).ids  # deleted ones leave the catalog before their files do
        kept = {collection for collection, whole in copied.items() if whole and collection in still_there}
        self.damaged = len(rows.problems) + sum(not copied[each] for each in copied.keys() & still_there)
        self.collections = len(kept)
        for collection in copied.keys() - kept:
            shutil.rmtree(folder / COLLECTIONS_FOLDER / collection, ignore_errors=True)
        if files[0] == CATALOG_FILE:
            _keep_only(folder / CATALOG_FILE, rows, kept)
        folders = [f"{COLLECTIONS_FOLDER}/{collection}" for collection in sorted(kept)]
        written = [name for name in folders if (folder / name / STORE_DATABASE).is_file()]
        return BackupContents(
            files=[*files, *(f"{name}/{STORE_DATABASE}" for name in written)],
            folders=[name for name in folders if name not in written],
        )

    def _copy(self, name: str, folder: Path) -> None:
        with open_read_only(self._data_dir / name) as connection:
            copy_database(connection, folder / name, on_copied=self._on_copied)

    def _copy_collection(self, collection: str, folder: Path) -> bool:
        # Returns whether it was copied. Its files may disappear at any moment, when it is deleted.
        name = f"{COLLECTIONS_FOLDER}/{collection}/{STORE_DATABASE}"
        source, target = self._data_dir / name, folder / name
        if source.parent.is_symlink() or not source.parent.is_dir():
            return False
        create_folder(target.parent)
        if not source.is_file():
            return True  # it was never written
        try:
            self._copy(name, folder)
            if not has_records_table(target):  # its first write is just creating the tables
                target.unlink()
        except (CorruptStoreError, FileNotFoundError):
            return False
        except StoreError:
            if source.is_file():
                raise
            return False
        return True


def _keep_only(catalog: Path, rows: CatalogRows, kept: set[str]) -> None:
    # Rewrites the copied catalog: without collections that are not in the backup, damaged rows and pending removals.
    collections = [key for key, entry in rows.collections.items() if entry.id in kept]
    with closing(sqlite3.connect(catalog, isolation_level=None)) as connection:
        try:
            connection.execute("PRAGMA journal_mode = DELETE")
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("DELETE FROM deleted")
            for table, keys in (("collections", collections), ("agents", list(rows.agents))):
                connection.execute("CREATE TEMP TABLE IF NOT EXISTS kept (tenant TEXT, name TEXT)")
                connection.execute("DELETE FROM kept")
                connection.executemany("INSERT INTO kept VALUES (?, ?)", keys)
                statement = f"DELETE FROM {table} WHERE (tenant, name) NOT IN (SELECT tenant, name FROM kept)"  # noqa: S608
                connection.execute(statement)
            connection.execute("COMMIT")
        except sqlite3.Error as exc:
            raise sqlite_errors.map_error(exc) from exc


def _is_known(name: str) -> bool:
    # Whether a backup may hold this. Keys and their secret never come out of a backup.
    if name in (STORE, CATALOG_FILE):
        return True
    folder, _, rest = name.partition("/")
    collection, _, file = rest.partition("/")
    return folder == COLLECTIONS_FOLDER and is_collection_id(collection) and file in ("", STORE_DATABASE)


def _check_restored(backup: Backup, folder: Path) -> None:
    rows = CatalogRows()
    if (folder / CATALOG_FILE).is_file():
        with open_immutable(folder / CATALOG_FILE) as connection:
            if not sqlite.is_of(connection, CATALOG_SCHEMA):
                raise _refused("its catalog is not one")
            rows = read_catalog(connection)
    if not all(name.startswith(f"{COLLECTIONS_FOLDER}/") for name in backup.folders or ()):
        raise _refused("a database of it is a folder")
    if rows.problems:
        raise _refused(f"a row of its catalog is not valid ({rows.problems[0]})")
    for entry in rows.collections.values():
        path = folder / COLLECTIONS_FOLDER / entry.id
        if path.is_dir():
            settings = settings_of_copy(path / STORE_DATABASE)
            expected = {"dim": str(entry.info.dim), "metric": entry.info.metric}
            if settings is not None and {name: settings.get(name) for name in expected} != expected:
                raise _refused("a collection differs from what its catalog tells")
        elif backup.folders is None:
            create_folder(path)  # older versions left out collections that were never written
        else:
            raise _refused("a collection of its catalog is missing")
    unknown = {path.name for path in folder.glob(f"{COLLECTIONS_FOLDER}/*")} - rows.ids
    for name in unknown:  # an older version could copy a collection that was deleted meanwhile
        shutil.rmtree(folder / COLLECTIONS_FOLDER / name)


def _refused(why: str) -> CorruptStoreError:
    return CorruptStoreError(f"the backup is damaged: {why}", hint="use another backup")
