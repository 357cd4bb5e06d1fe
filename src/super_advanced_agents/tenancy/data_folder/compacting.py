"""Compaction of a data folder, and the copies that may still hold what was erased."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from super_advanced_agents.errors import StoreError, StoreLockedError
from super_advanced_agents.stores.local.folder import StoreFolder
from super_advanced_agents.stores.local.maintenance import compact_database, compact_store
from super_advanced_agents.tenancy.data_folder.audit_files import AUDIT_FOLDER, AuditFiles
from super_advanced_agents.tenancy.data_folder.saving import COLLECTIONS_FOLDER, DATABASE, STORE_FOLDER
from super_advanced_agents.tenancy.data_folder.server_address import naming_server

_ERASURES = frozenset({"forget", "forgetMemories", "deleteRecord", "deleteRecords", "deleteCollection", "deleteAgent"})
_COPIES = frozenset({"backup", "export"})
_COPY_FOLDERS = ("backups", "files")
_MAX_ENTRIES = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A copy of the data that was made before the latest erasure.

    Attributes:
        path: the file or folder.
        made_at: when it was made, in seconds since 1970.
    """

    path: Path
    made_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Compaction:
    """Hold the result of compacting a data folder.

    Attributes:
        databases: the number of databases that were rewritten.
        removed: the number of indexes, caches and copies that were removed.
        freed_bytes: the bytes by which the stores shrank.
    """

    databases: int
    removed: int
    freed_bytes: int


def compact_data_folder(data_dir: Path) -> Compaction:
    """Remove every byte of deleted records from a data folder. Blocks.

    Indexes are built again when they are needed. Backups, exports and other copies are left alone; `old_copies` lists
    them.

    Raises:
        StoreError: there is no data folder, or a database cannot be rewritten.
        StoreLockedError: a process, such as a server, uses the data folder.
        StoreFullError: there is no room for the copy of a database; nothing is lost.
    """
    if not data_dir.is_dir():
        raise StoreError(f"there is no data folder at {str(data_dir)!r}", hint="check --data-dir")
    databases = removed = freed_bytes = 0
    with ExitStack() as stack:
        try:
            stack.callback(StoreFolder(data_dir / STORE_FOLDER).release)
        except StoreLockedError as exc:
            raise naming_server(exc, data_dir) from exc
        for folder in (data_dir / STORE_FOLDER, *sorted((data_dir / COLLECTIONS_FOLDER).glob("*"))):
            if (folder / DATABASE).is_file():
                done = compact_store(folder)
                databases, removed, freed_bytes = databases + 1, removed + done.removed, freed_bytes + done.freed_bytes
        for name in ("server", "jobs"):
            for file in sorted((data_dir / name).glob("*.db")):
                compact_database(file)
                databases += 1
        for file in (data_dir / "cache").glob("embeddings*"):  # vectors of texts, and their digests
            file.unlink()
            removed += 1
    return Compaction(databases=databases, removed=removed, freed_bytes=freed_bytes)


def old_copies(data_dir: Path) -> list[Copy]:
    """Return the backups and exports that may hold what was erased since, oldest first.

    They are those that the audit log names and those in the data folder's own folders, which exist and are older than
    the latest erasure in the audit log. Without an erasure there are none.
    """
    entries = AuditFiles(data_dir / AUDIT_FOLDER).newest(limit=_MAX_ENTRIES)
    erased_at = max((_time(entry) for entry in entries if entry.get("operation") in _ERASURES), default=None)
    if erased_at is None:
        return []
    made: dict[Path, float] = {}
    for entry in entries:
        path = entry.get("path")
        if entry.get("operation") in _COPIES and isinstance(path, str) and os.path.lexists(path):
            made[Path(path)] = max(_time(entry), made.get(Path(path), 0.0))
    for own in _own_copies(data_dir):
        made.setdefault(own.absolute(), own.stat().st_mtime)
    copies = [Copy(path=copied, made_at=at) for copied, at in made.items() if at < erased_at]
    return sorted(copies, key=lambda copy: copy.made_at)


def _own_copies(data_dir: Path) -> Iterator[Path]:
    for name in _COPY_FOLDERS:
        yield from (path for path in (data_dir / name).rglob("*") if path.is_file())


def _time(entry: Mapping[str, object]) -> float:
    try:
        return datetime.fromisoformat(str(entry.get("at"))).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return 0.0
