"""Maintenance of stores in local folders: open, back up, restore and inspect them."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from super_advanced_agents._runtime.disk import sqlite_errors
from super_advanced_agents.errors import StoreError
from super_advanced_agents.stores.faiss.maintenance.backup import (
    DATABASES,
    Backup,
    BackupContents,
    back_up,
    copy_database,
    read_backup,
    write_backup,
)
from super_advanced_agents.stores.faiss.maintenance.compaction import compact_database, compact_store
from super_advanced_agents.stores.faiss.maintenance.dumping import DatabaseDump
from super_advanced_agents.stores.faiss.maintenance.inspection import (
    has_records_table,
    model_id_in,
    open_immutable,
    open_read_only,
    settings_of,
    settings_of_copy,
)
from super_advanced_agents.stores.faiss.maintenance.restore import restore
from super_advanced_agents.stores.faiss.rows.schema import CLOCK_SETTING, ERASED_SETTING
from super_advanced_agents.stores.faiss.rows.schema import VERSION as SCHEMA_VERSION
from super_advanced_agents.stores.faiss.store import FAISSVectorStore as LocalStore
from super_advanced_agents.stores.faiss.vectors.snapshot import damaged_file

__all__ = [
    "CLOCK_SETTING",
    "ERASED_SETTING",
    "LIBRARIES",
    "SCHEMA_VERSION",
    "Backup",
    "BackupContents",
    "DatabaseDump",
    "LocalStore",
    "back_up",
    "compact_database",
    "compact_store",
    "copy_database",
    "damaged_file",
    "has_records_table",
    "has_store",
    "is_backup_of_one_store",
    "model_id_in",
    "open_immutable",
    "open_local_store",
    "open_read_only",
    "read_backup",
    "restore",
    "settings_of",
    "settings_of_copy",
    "upgrade_if_older",
    "write_backup",
]

LIBRARIES = (("faiss", "faiss-cpu"),)
"""Pairs of a module that a local store imports and the distribution that provides it."""


def open_local_store(folder: Path, *, dim: int | None = None, metric: str | None = None) -> LocalStore:
    """Open the store in a folder with its stored settings, or create a new store.

    Args:
        folder: the store's folder.
        dim: the length of the vectors of a new store; None requires that the store exists.
        metric: the metric of a new store; `"cosine"` when None.

    Raises:
        StoreError: the folder holds no store, and `dim` is None.
        StoreLockedError: another process owns the store.
    """
    settings = settings_of(folder)
    if settings is not None:
        dim, metric = int(settings["dim"]), settings["metric"]
    elif dim is None:
        raise StoreError(f"there is no store in {str(folder)!r}", hint="check the path")
    return LocalStore(dim, folder, metric="dot" if metric == "dot" else "cosine")


def has_store(folder: Path) -> bool:
    """Return whether a folder holds the database of a vector store."""
    return settings_of(folder) is not None


def upgrade_if_older(folder: Path) -> None:
    """Migrate the store in a folder to the current schema if an older version wrote it.

    Raises:
        StoreLockedError: another process owns the store, which has an older schema.
    """
    try:
        with open_read_only(folder / DATABASES[0]) as connection:
            [(schema,)] = connection.execute("PRAGMA user_version")
    except sqlite3.Error as exc:
        raise sqlite_errors.map_error(exc, folder / DATABASES[0]) from exc
    if schema < SCHEMA_VERSION:
        open_local_store(folder).close()


def is_backup_of_one_store(backup: Backup) -> bool:
    """Return whether a backup holds only a vector store, not a server's whole data folder."""
    return {file.name for file in backup.files} <= {*DATABASES}
