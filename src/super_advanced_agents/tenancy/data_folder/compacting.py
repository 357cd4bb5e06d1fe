"""Compaction of a data folder, and the copies that may still hold what was erased."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from super_advanced_agents.config import COLLECTIONS_FOLDER, STORE_DATABASE, STORE_FOLDER
from super_advanced_agents.errors import StoreError, StoreLockedError
from super_advanced_agents.stores.local.folder import StoreFolder
from super_advanced_agents.stores.local.maintenance import ERASED_SETTING, compact_database, compact_store, settings_of
from super_advanced_agents.tenancy.data_folder.audit_files import AUDIT_FOLDER, AuditFiles, Entry
from super_advanced_agents.tenancy.data_folder.server_address import naming_server
from super_advanced_agents.tenancy.settings import Settings

_ERASURES = frozenset(
    {"forget", "forgetMemories", "deleteRecord", "deleteRecords", "deleteCollection", "deleteAgent", "expire"}
)
_COPIES = frozenset({"backup", "export"})
_MAX_ENTRIES = 1_000_000

EndedJobs = Callable[[float], int]
"""A function that deletes the jobs that ended before a time, and returns their number."""


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
        expired: the number of expired records that were deleted.
        waiting: the number of expired records that can be deleted in a minute, when the clock says so again.
        jobs: the number of ended jobs that were deleted with their arguments and results.
        removed: the number of indexes, caches and copies that were removed.
        freed_bytes: the bytes by which the stores shrank.
    """

    databases: int
    expired: int
    waiting: int
    jobs: int
    removed: int
    freed_bytes: int


def compact_data_folder(data_dir: Path, *, delete_ended_jobs: EndedJobs) -> Compaction:
    """Remove every byte of deleted and expired records from a data folder. Blocks.

    Indexes are built again when they are needed. Jobs that ended before the latest erasure are deleted, because their
    arguments and results may hold what was erased. Backups, exports and other copies are left alone; `old_copies`
    lists them.

    Args:
        data_dir: the data folder.
        delete_ended_jobs: deletes the jobs of the data folder that ended before a time.

    Raises:
        StoreError: there is no data folder, or a database cannot be rewritten.
        StoreLockedError: a process, such as a server, uses the data folder.
        StoreFullError: there is no room for the copy of a database; nothing is lost.
    """
    if not data_dir.is_dir():
        raise StoreError(f"there is no data folder at {str(data_dir)!r}", hint="check --data-dir")
    with ExitStack() as stack:
        try:
            stack.callback(StoreFolder(data_dir / STORE_FOLDER).release)
        except StoreLockedError as exc:
            raise naming_server(exc, data_dir) from exc
        stores = [compact_store(folder) for folder in _stores(data_dir)]
        erased_at = _erased_at(data_dir, _entries(data_dir))
        jobs = 0 if erased_at is None else delete_ended_jobs(erased_at)
        files = [file for name in ("server", "jobs") for file in sorted((data_dir / name).glob("*.db"))]
        for file in files:
            compact_database(file)
        cached = [*(data_dir / "cache").glob("embeddings*")]  # vectors of texts, and their digests
        for file in cached:
            file.unlink()
    return Compaction(
        databases=len(stores) + len(files),
        expired=sum(store.expired for store in stores),
        waiting=sum(store.waiting for store in stores),
        jobs=jobs,
        removed=len(cached) + sum(store.removed for store in stores),
        freed_bytes=sum(store.freed_bytes for store in stores),
    )


def old_copies(settings: Settings) -> list[Copy]:
    """Return backups, exports, uploads and shards that may hold what was erased since, by age.

    They are those that the audit log names, and those in the folders of backups and files, which exist and are older
    than the latest erasure. Without an erasure there are none; without an audit log nobody knows of one, so all are
    listed.

    Args:
        settings: they name the data folder, and the folders of backups and files.
    """
    data_dir = settings.data_dir
    entries = _entries(data_dir)
    erased_at = _erased_at(data_dir, entries)
    if erased_at is None:
        return []
    made: dict[Path, float] = {}
    for entry in entries:
        path = entry.get("path")
        if entry.get("operation") in _COPIES and isinstance(path, str) and os.path.lexists(path):
            made[Path(path)] = max(_time(entry), made.get(Path(path), 0.0))
    for own in _own_copies(settings):
        made.setdefault(own.absolute(), own.stat().st_mtime)
    copies = [Copy(path=copied, made_at=at) for copied, at in made.items() if at < erased_at]
    return sorted(copies, key=lambda copy: copy.made_at)


def _stores(data_dir: Path) -> list[Path]:
    folders = (data_dir / STORE_FOLDER, *sorted((data_dir / COLLECTIONS_FOLDER).glob("*")))
    return [folder for folder in folders if (folder / STORE_DATABASE).is_file()]


def _entries(data_dir: Path) -> Sequence[Entry]:
    return AuditFiles(data_dir / AUDIT_FOLDER).newest(limit=_MAX_ENTRIES)


def _erased_at(data_dir: Path, entries: Sequence[Entry]) -> float | None:
    # The time of the latest erasure, whoever asked for it.
    if not (data_dir / AUDIT_FOLDER).is_dir():
        return time.time()
    times = [_time(entry) for entry in entries if entry.get("operation") in _ERASURES]
    stored = [settings_of(folder) or {} for folder in _stores(data_dir)]
    times += [float(settings[ERASED_SETTING]) for settings in stored if ERASED_SETTING in settings]
    return max(times, default=None)


def _own_copies(settings: Settings) -> Iterator[Path]:
    backups = settings.backups_dir or settings.data_dir / "backups"
    if backups.is_dir():
        yield from backups.iterdir()
    copied = (settings.data_dir / "jobs" / "uploads", settings.data_dir / "cache" / "uploads")
    for folder in (settings.files_folder, *copied):
        yield from (path for path in folder.rglob("*") if path.is_file())


def _time(entry: Entry) -> float:
    try:
        return datetime.fromisoformat(str(entry.get("at"))).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return 0.0
