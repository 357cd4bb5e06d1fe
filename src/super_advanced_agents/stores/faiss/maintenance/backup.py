"""Online backups of a store's databases, while this process or another writes to them.

A backup is a folder that can be opened in place. SQLite's backup API copies each database out of one read transaction,
which no writer waits for, into a folder beside the target; that folder is renamed to the target when every file is
flushed and checked. `backup.json`, the manifest, lists them. Derived files (the folders `index` and `words`)
are left out, because opening a store rebuilds them.
"""

from __future__ import annotations

import errno
import os
import re
import sqlite3
import stat
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import orjson

from super_advanced_agents._runtime.disk import sqlite, sqlite_errors
from super_advanced_agents._runtime.disk.files import create_folder, map_os_error, open_private, private_file, sha256_of
from super_advanced_agents.config import STORE_DATABASE
from super_advanced_agents.errors import CorruptStoreError, ResourceClosedError, StoreError
from super_advanced_agents.stores.faiss.maintenance.atomic_folder import atomic_folder, is_occupied
from super_advanced_agents.stores.faiss.maintenance.inspection import open_immutable, open_read_only
from super_advanced_agents.stores.faiss.rows.table import RecordTable

DATABASES = (STORE_DATABASE,)
"""The databases in a store's folder, from which everything else can be rebuilt."""
MANIFEST = "backup.json"

OnCopied = Callable[[int, int], None]
"""Progress callback, with the bytes copied and the total bytes."""

_NAME = re.compile(r"(?:[A-Za-z0-9_-]{1,64}/){0,2}[A-Za-z0-9_-]{1,64}(?:\.sqlite3|\.db)?", re.ASCII)
"""The form of the names in a manifest, whose letters cannot lead out of a folder."""
_FORMAT = 1
_MAX_MANIFEST_BYTES = 64 * 1024 * 1024
_PAGES = 512
"""Pages copied in one step, 4 MB; a backup can be stopped between two steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackedUpFile:
    """Hold the manifest entry of one database file in a backup.

    Attributes:
        name: its path below the backup's folder.
        sha256: the file's checksum, in hexadecimal.
        size_bytes: the file's size.
        schema: the version of its tables.
        identity: the store's identity; None for a database that is not a store.
        records: the number of records; None for a database that is not a store.
    """

    name: str
    sha256: str
    size_bytes: int
    schema: int
    identity: str | None
    records: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """Hold the description of a backup: its folder, its time and its database files.

    It is stored in the backup's folder, in a file called the manifest.

    Attributes:
        path: the backup's folder.
        created_at: seconds since the epoch; the backup holds every write acknowledged before.
        files: the databases.
        folders: the folders that hold no database yet, such as that of a collection which was never written; None in
            a backup of an older version, which did not list them.
    """

    path: Path
    created_at: float
    files: tuple[BackedUpFile, ...]
    folders: tuple[str, ...] | None = None

    @property
    def records(self) -> int:
        """The total number of records in the backup's databases."""
        return sum(file.records or 0 for file in self.files)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupContents:
    """Name the contents of a backup that was filled: databases and folders without a database.

    Attributes:
        files: paths of databases, below the backup's folder.
        folders: paths of empty folders.
    """

    files: Sequence[str]
    folders: Sequence[str] = ()


def back_up(
    source: Path,
    target: Path,
    *,
    on_copied: OnCopied | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Backup:
    """Back up the SQLite database of a store to a new folder. Blocks until it is done.

    It is copied in one consistent state; writers do not wait.

    Args:
        source: a store's folder; it may be in use by any process.
        target: a folder that does not exist yet, or is empty; it appears under its name when it is complete.
        on_copied: called after each step with the bytes copied so far and the total bytes.
        should_stop: called every few megabytes; True stops the backup.

    Returns:
        The manifest of the backup.

    Raises:
        StoreError: there is nothing to back up, the target is not empty, or it cannot be written.
        CorruptStoreError: the source is damaged.
        ResourceClosedError: the backup was stopped.
    """
    existing = [name for name in DATABASES if (source / name).is_file()]
    if not existing:
        raise StoreError(f"there is no store in {str(source)!r}", hint="check the path")

    def fill(folder: Path) -> BackupContents:
        for name in existing:
            with open_read_only(source / name) as connection:
                copy_database(connection, folder / name, on_copied=on_copied, should_stop=should_stop)
        return BackupContents(files=existing)

    return write_backup(target, fill)


def back_up_rows(
    rows: RecordTable,
    target: Path,
    *,
    on_copied: OnCopied | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Backup:
    """Back up the SQLite database of an open store to a new folder.

    If the database is in memory, writers wait until the copy is finished.
    """
    if rows._file is not None:
        return back_up(rows._file.parent, target, on_copied=on_copied, should_stop=should_stop)

    def fill(folder: Path) -> BackupContents:
        with rows._memory_lock:
            copy_database(rows._writer, folder / DATABASES[0], on_copied=on_copied, should_stop=should_stop)
        return BackupContents(files=DATABASES)

    return write_backup(target, fill)


def write_backup(target: Path, fill: Callable[[Path], BackupContents]) -> Backup:
    """Write a backup to a new folder, which appears when it is checked and flushed.

    Args:
        target: a folder that does not exist yet, or is empty.
        fill: copies the databases to the folder that it gets, and returns their names.

    Raises:
        StoreError: the target is not empty, or cannot be written.
        CorruptStoreError: a copied database is damaged.
    """
    created_at, target = time.time(), target.resolve()
    if is_occupied(target):
        raise StoreError(f"{str(target)!r} is not empty", hint="choose another name: a backup is never written over")
    with atomic_folder(target) as folder:
        contents = fill(folder)
        files = tuple(check_copy(folder, name) for name in contents.files)
        body = {
            "format": _FORMAT,
            "created_at": created_at,
            "files": [asdict(file) for file in files],
            "folders": contents.folders,
        }
        with os.fdopen(open_private(folder / MANIFEST, os.O_WRONLY | os.O_TRUNC), "wb") as manifest:
            manifest.write(orjson.dumps(body, option=orjson.OPT_INDENT_2) + b"\n")
    return Backup(path=target, created_at=created_at, files=files, folders=tuple(contents.folders))


def copy_database(
    source: sqlite3.Connection,
    file: Path,
    *,
    on_copied: OnCopied | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> None:
    """Copy a SQLite database to a new file, in the state of one read transaction.

    The read transaction lasts until the end; else every commit of another connection would restart the copy.

    Raises:
        ResourceClosedError: `should_stop` returned True.
    """
    create_folder(file.parent)

    def on_step(_: int, remaining: int, total: int) -> None:
        if should_stop():
            raise ResourceClosedError("the backup was stopped", hint="start it again")
        if on_copied is not None:
            on_copied((total - remaining) * page_bytes, total * page_bytes)

    try:
        with closing(sqlite3.connect(private_file(file), isolation_level=None)) as target:
            target.execute("PRAGMA journal_mode = OFF")  # an incomplete copy is deleted
            target.execute("PRAGMA synchronous = OFF")  # the file is flushed once, at the end
            [(page_bytes,)] = source.execute("PRAGMA page_size")
            source.execute("BEGIN")
            try:
                source.execute("SELECT count(*) FROM sqlite_master").fetchall()  # BEGIN alone takes no snapshot
                source.backup(target, pages=_PAGES, progress=on_step)
            finally:
                source.execute("ROLLBACK")
    except sqlite3.Error as exc:
        raise sqlite_errors.map_error(exc) from exc


def read_backup(path: Path) -> Backup:
    """Read the description of a backup from its manifest file, without checking the databases.

    Raises:
        StoreError: the folder is not a backup, or one of a newer version.
        CorruptStoreError: the manifest is damaged, or has names that are not of this package.
    """
    try:
        with open_regular(path, MANIFEST) as manifest:
            content = manifest.read(_MAX_MANIFEST_BYTES)
    except FileNotFoundError as exc:
        raise StoreError(f"there is no backup in {str(path)!r}", hint="give the folder that holds backup.json") from exc
    except OSError as exc:
        raise map_os_error(exc, path) from exc
    try:
        body = orjson.loads(content)
        if body["format"] > _FORMAT:
            raise StoreError(f"the backup at {str(path)!r} is of a newer version", hint="upgrade super-advanced-agents")
        files = tuple(_read_file(file) for file in body["files"])
        folders = body.get("folders")
        names = [file.name for file in files] + list(folders or ())
        if not files or len(set(names)) < len(names) or not all(_stays_below(name) for name in names):
            raise ValueError("names")
        created_at = float(body["created_at"])
        return Backup(
            path=path, created_at=created_at, files=files, folders=None if folders is None else tuple(folders)
        )
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise damaged_backup(path, MANIFEST) from exc


def _read_file(members: dict[str, object]) -> BackedUpFile:
    file = BackedUpFile(**members)  # type: ignore[arg-type]  # checked here
    if not (isinstance(file.name, str) and isinstance(file.sha256, str) and isinstance(file.identity, str | None)):
        raise TypeError("file")
    if any(type(number) is not int for number in (file.size_bytes, file.schema)) or type(file.records) is bool:
        raise TypeError("file")
    return file


def open_regular(folder: Path, name: str) -> IO[bytes]:
    """Open a plain file below a folder for reading, without following symbolic links.

    Raises:
        OSError: it is missing, a link, a special file such as a pipe, or cannot be read.
    """
    path = folder
    for part in Path(name).parts[:-1]:
        path /= part
        if not stat.S_ISDIR(path.lstat().st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    descriptor = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), name)
    return os.fdopen(descriptor, "rb")


def check_copy(folder: Path, name: str) -> BackedUpFile:
    """Check the copy of a database, and return its manifest entry.

    Raises:
        CorruptStoreError: it is damaged, or has triggers, views or expressions.
    """
    file = folder / name
    identity: str | None = None
    records: int | None = None
    try:
        with open_immutable(file) as connection:
            [(result,)] = connection.execute("PRAGMA quick_check(1)")
            [(version,)] = connection.execute("PRAGMA user_version")
            tables = {table for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if {"records", "vectors", "settings"} <= tables:
                [(identity,)] = connection.execute("SELECT value FROM settings WHERE name = 'identity'")
                [(records,)] = connection.execute("SELECT count(*) FROM records")
                [(vectors,)] = connection.execute("SELECT count(*) FROM vectors")
                result = result if records == vectors else "records and vectors differ in number"
            result = "it has triggers, views or expressions" if sqlite.has_code(connection) else result
    except (sqlite3.Error, ValueError) as exc:
        raise CorruptStoreError(f"{name!r} is damaged", hint="restore a backup; `saa doctor` has details") from exc
    if result != "ok":
        raise CorruptStoreError(f"{name!r} is damaged: {result}", hint="restore a backup; `saa doctor` has details")
    return BackedUpFile(
        name=name,
        sha256=sha256_of(file),
        size_bytes=file.stat().st_size,
        schema=version,
        identity=identity,
        records=records,
    )


def damaged_backup(path: Path, name: str) -> CorruptStoreError:
    """Build the error to raise for a backup whose file `name` is missing or altered."""
    return CorruptStoreError(
        f"the backup at {str(path)!r} is damaged: {name!r} is not what was written", hint="use another backup"
    )


def _stays_below(name: object) -> bool:
    return isinstance(name, str) and _NAME.fullmatch(name) is not None
