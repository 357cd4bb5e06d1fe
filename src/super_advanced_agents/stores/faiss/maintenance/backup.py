"""Backups of what lasts: taken while writes go on, also those of another process, and put back whole or not at all.

A backup is a folder that can be opened in place: each database is copied through SQLite's backup interface out of one
read transaction, which no writer waits for, into a folder beside the target that gets its name when everything in it
is flushed and checked. `backup.json` says what it holds. Derived files (`index/`, words) are left out: opening makes
them anew.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote

import orjson

from super_advanced_agents._runtime import sqlite
from super_advanced_agents._runtime.files import map_os_error, sha256_of
from super_advanced_agents.errors import CorruptStoreError, ResourceClosedError, StoreError
from super_advanced_agents.stores.faiss.maintenance.atomic_folder import is_occupied, atomic_folder
from super_advanced_agents.stores.faiss.maintenance.inspection import open_read_only
from super_advanced_agents.stores.faiss.rows.table import RecordTable

DATABASES = ("memory.sqlite3",)
"""What lasts in a store's folder."""
MANIFEST = "backup.json"

OnCopied = Callable[[int, int], None]
"""Told how many bytes of how many are copied."""

_FORMAT = 1
_PAGES = 512
"""Pages copied at a time, 4 MB: between two steps it is seen whether to go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackedUpFile:
    """One database of a backup.

    Attributes:
        name: its path below the backup's folder.
        sha256: of the file.
        size_bytes: of the file.
        schema: the version of its tables.
        identity: of the store; None for a database that is no store.
        records: how many it holds; None likewise.
    """

    name: str
    sha256: str
    size_bytes: int
    schema: int
    identity: str | None
    records: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """What a backup holds, as its manifest says.

    Attributes:
        path: its folder.
        created_at: seconds since the epoch; every write acknowledged before is in it.
        files: its databases.
    """

    path: Path
    created_at: float
    files: tuple[BackedUpFile, ...]

    @property
    def records(self) -> int:
        """How many records it holds."""
        return sum(file.records or 0 for file in self.files)


def back_up(
    source: Path,
    target: Path,
    *,
    databases: Sequence[str] = DATABASES,
    on_copied: OnCopied | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Backup:
    """Copy the databases of a folder, each as it is at one moment, into a new folder. Blocks.

    Args:
        source: a store's folder, or one that holds several; it may be in use by any process.
        target: a folder that does not exist yet, or is empty; it appears under its name when it is whole.
        databases: paths below `source`; those that do not exist are left out.
        on_copied: told how far it has come.
        stopped: asked every few megabytes; True gives the backup up.

    Raises:
        StoreError: there is nothing to back up, the target is not empty, or it cannot be written.
        CorruptStoreError: the source is damaged.
        ResourceClosedError: it was given up.
    """
    found = [name for name in databases if (source / name).is_file()]
    if not found:
        raise StoreError(f"there is no store in {str(source)!r}", hint="check the path")

    def fill(folder: Path) -> None:
        for name in found:
            with open_read_only(source / name) as connection:
                copy_database(connection, folder / name, on_copied=on_copied, should_stop=should_stop)

    return _made(target, fill, found)


def back_up_rows(
    rows: RecordTable, target: Path, *, on_copied: OnCopied | None = None, should_stop: Callable[[], bool] = lambda: False
) -> Backup:
    """`back_up` for the rows of an open store, also of one that lives in memory, whose writers then wait."""
    if rows._file is not None:
        return back_up(rows._file.parent, target, on_copied=on_copied, should_stop=should_stop)

    def fill(folder: Path) -> None:
        with rows._memory_lock:
            copy_database(rows._writer, folder / DATABASES[0], on_copied=on_copied, should_stop=should_stop)

    return _made(target, fill, DATABASES)


def _made(target: Path, fill: Callable[[Path], None], names: Sequence[str]) -> Backup:
    """Let `fill` write the databases `names` into a folder, check them, and give it its name."""
    created_at, target = time.time(), target.resolve()
    if is_occupied(target):
        raise StoreError(f"{str(target)!r} is not empty", hint="choose another name: a backup is never written over")
    with atomic_folder(target) as folder:
        fill(folder)
        files = tuple(_inspected(folder, name) for name in names)
        body = {"format": _FORMAT, "created_at": created_at, "files": [asdict(file) for file in files]}
        (folder / MANIFEST).write_bytes(orjson.dumps(body, option=orjson.OPT_INDENT_2) + b"\n")
    return Backup(path=target, created_at=created_at, files=files)


def copy_database(
    source: sqlite3.Connection,
    file: Path,
    *,
    on_copied: OnCopied | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> None:
    """Copy a database as `source` sees it now to a new file.

    The read transaction is held to the end: else every commit of another connection would make the copy begin anew.

    Raises:
        ResourceClosedError: `should_stop` said so.
    """
    file.parent.mkdir(parents=True, exist_ok=True)

    def on_step(_: int, remaining: int, total: int) -> None:
        if should_stop():
            raise ResourceClosedError("the backup was given up", hint="begin it again")
        if on_copied is not None:
            on_copied((total - remaining) * page_bytes, total * page_bytes)

    try:
        with closing(sqlite3.connect(file, isolation_level=None)) as target:
            target.execute("PRAGMA journal_mode = OFF")  # what is not whole is thrown away
            target.execute("PRAGMA synchronous = OFF")  # it is flushed once, at the end
            [(page_bytes,)] = source.execute("PRAGMA page_size")
            source.execute("BEGIN")
            try:
                source.execute("SELECT count(*) FROM sqlite_master").fetchall()  # only now it has begun
                source.backup(target, pages=_PAGES, progress=on_step)
            finally:
                source.execute("ROLLBACK")
    except sqlite3.Error as exc:
        raise sqlite.map_error(exc) from exc


def read_backup(path: Path) -> Backup:
    """What the manifest of a backup says; the files are not looked at.

    Raises:
        StoreError: it is no backup, or one of a newer version.
        CorruptStoreError: the manifest is damaged.
    """
    try:
        content = (path / MANIFEST).read_bytes()
    except FileNotFoundError as exc:
        raise StoreError(f"there is no backup in {str(path)!r}", hint="give the folder that holds backup.json") from exc
    except OSError as exc:
        raise map_os_error(exc, path) from exc
    try:
        body = orjson.loads(content)
        if body["format"] > _FORMAT:
            raise StoreError(f"the backup at {str(path)!r} is of a newer version", hint="upgrade super-advanced-agents")
        files = tuple(BackedUpFile(**file) for file in body["files"])
        if not files or not all(_stays_below(file.name) for file in files):
            raise ValueError("names")
        return Backup(path=path, created_at=float(body["created_at"]), files=files)
    except (ValueError, KeyError, TypeError) as exc:
        raise damaged_backup(path, MANIFEST) from exc


def _inspected(folder: Path, name: str) -> BackedUpFile:
    """Check a copy, flush it, and describe it."""
    file = folder / name
    identity: str | None = None
    records: int | None = None
    try:
        # Immutable: looking at it leaves no log beside it.
        with closing(sqlite3.connect(f"file:{quote(str(file.absolute()))}?immutable=1", uri=True)) as connection:
            [(told,)] = connection.execute("PRAGMA quick_check(1)")
            [(version,)] = connection.execute("PRAGMA user_version")
            tables = {table for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if {"records", "vectors", "settings"} <= tables:
                [(identity,)] = connection.execute("SELECT value FROM settings WHERE name = 'identity'")
                [(records,)] = connection.execute("SELECT count(*) FROM records")
                [(vectors,)] = connection.execute("SELECT count(*) FROM vectors")
                told = told if records == vectors else "records and vectors differ in number"
    except (sqlite3.Error, ValueError) as exc:
        raise CorruptStoreError(f"{name!r} is damaged", hint="restore a backup; `saa doctor` tells more") from exc
    if told != "ok":
        raise CorruptStoreError(f"{name!r} is damaged: {told}", hint="restore a backup; `saa doctor` tells more")
    return BackedUpFile(
        name=name,
        sha256=sha256_of(file),
        size_bytes=file.stat().st_size,
        schema=version,
        identity=identity,
        records=records,
    )


def damaged_backup(path: Path, name: str) -> CorruptStoreError:
    """What is said of a backup whose file `name` is missing or altered."""
    return CorruptStoreError(
        f"the backup at {str(path)!r} is damaged: {name!r} is not what was written", hint="use another backup"
    )


def _stays_below(name: str) -> bool:
    path = Path(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts
