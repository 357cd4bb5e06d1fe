"""Stores that lie in a folder of this machine: open them as they were made, copy them, put them back, examine them."""

from __future__ import annotations

from pathlib import Path

from super_advanced_agents.errors import StoreError
from super_advanced_agents.stores.faiss.maintenance.backup import DATABASES, Backup, back_up, read_backup
from super_advanced_agents.stores.faiss.maintenance.inspection import settings_of
from super_advanced_agents.stores.faiss.maintenance.restore import restore
from super_advanced_agents.stores.faiss.rows.schema import VERSION as SCHEMA_VERSION
from super_advanced_agents.stores.faiss.store import FAISSVectorStore as LocalStore
from super_advanced_agents.stores.faiss.vectors.snapshot import damaged_file

__all__ = [
    "LIBRARIES",
    "SCHEMA_VERSION",
    "LocalStore",
    "back_up",
    "damaged_file",
    "has_store",
    "is_backup_of_one_store",
    "open_local_store",
    "read_backup",
    "restore",
]

LIBRARIES = (("faiss", "faiss-cpu"),)
"""The modules that such a store imports, and the distributions they come in."""


def open_local_store(folder: Path, *, dim: int | None = None, metric: str | None = None) -> LocalStore:
    """Open the store of a folder with what it was made with, or make a new one.

    Args:
        folder: where it is.
        dim: the length of a new one's vectors; when None there must be one.
        metric: of a new one.

    Raises:
        StoreError: there is none, and `dim` was not given.
        StoreLockedError: it has another owner.
    """
    found = settings_of(folder)
    if found is not None:
        dim, metric = int(found["dim"]), found["metric"]
    elif dim is None:
        raise StoreError(f"there is no store in {str(folder)!r}", hint="check the path")
    return LocalStore(dim, folder, metric="dot" if metric == "dot" else "cosine")


def has_store(folder: Path) -> bool:
    """Return whether a folder holds a store."""
    return settings_of(folder) is not None


def is_backup_of_one_store(backup: Backup) -> bool:
    """Return whether a backup holds one store's databases, as the store itself makes it, not a whole data folder's."""
    return {file.name for file in backup.files} <= {*DATABASES}
