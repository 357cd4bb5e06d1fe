"""Compaction of a closed store, after which its folder has no byte of deleted records."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from super_advanced_agents._runtime.disk import sqlite, sqlite_errors
from super_advanced_agents.config import STORE_DATABASE
from super_advanced_agents.stores.faiss.maintenance.expiry import CHECK_SETTING, GRACE_S
from super_advanced_agents.stores.faiss.rows.schema import ERASED_SETTING, SCHEMA

_ROWS_READ = 100_000
_MIGRATION_COPIES = ("*-backup", "*-backup.partial*")


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactedStore:
    """Hold the result of compacting one store.

    Attributes:
        expired: the number of expired records that were deleted.
        waiting: the number of expired records that are kept until the clock has said so twice, a minute apart.
        removed: the number of indexes, copies and left-over folders that held deleted records, or might.
        freed_bytes: the bytes by which the folder shrank.
    """

    expired: int
    waiting: int
    removed: int
    freed_bytes: int


def compact_store(folder: Path) -> CompactedStore:
    """Delete expired records, rewrite the database, and remove indexes that know deleted ones.

    The caller holds the folder's lock, and no store is open on it. Removed indexes are built again from the rows when
    the store is used. Blocks.

    Raises:
        StoreError: the database cannot be read or written.
        StoreFullError: there is no room for its copy; nothing is lost.
        CorruptStoreError: it is damaged.
    """
    before = _size(folder)
    expired, waiting = _delete_expired(folder / STORE_DATABASE)
    compact_database(folder / STORE_DATABASE)
    removed = 0
    for pattern in _MIGRATION_COPIES:  # of the database before it was migrated, with all that it held then
        for path in folder.glob(f"{STORE_DATABASE}.{pattern}"):
            path.unlink()
            removed += 1
    for path in folder.rglob("words-*"):  # working folders of a killed process
        shutil.rmtree(path)
        removed += 1
    live = _live_rows(folder / STORE_DATABASE)
    for words in [*folder.rglob("words")]:
        if words.is_dir() and not _knows_only(_row_numbers(words / "rows.npy", first_line=True), live):
            shutil.rmtree(words)
            removed += 1
    index = folder / "index"
    segments = [_row_numbers(path) for path in index.glob("segment-*.npy")]
    if index.is_dir() and not all(_knows_only(rows, live) for rows in segments):
        shutil.rmtree(index)
        removed += 1
    freed_bytes = max(0, before - _size(folder))
    return CompactedStore(expired=expired, waiting=waiting, removed=removed, freed_bytes=freed_bytes)


def compact_database(file: Path) -> None:
    """Rewrite an SQLite file without free pages, and empty its write-ahead log. Blocks.

    Raises:
        StoreError: it cannot be read or written.
        StoreFullError: there is no room for its copy.
    """
    with closing(sqlite.connect(file, create=False)) as connection:
        try:
            connection.execute("PRAGMA temp_store = FILE")  # the copy is as large as the database
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as exc:
            raise sqlite_errors.map_error(exc) from exc


def _delete_expired(file: Path) -> tuple[int, int]:
    # As in `expiry`, a record is deleted if it had expired at a reading of the clock at least `GRACE_S` ago. The first
    # reading is stored for the next compaction.
    now = time.time()
    with closing(sqlite.open_database(file, SCHEMA, create=False)) as connection:  # of a newer version it is refused
        try:
            with sqlite.transaction(connection):
                settings = dict(connection.execute("SELECT name, value FROM settings"))
                read_at = float(settings.get(CHECK_SETTING, now))
                deleted = 0
                if now - read_at >= GRACE_S:
                    expired = "SELECT seq FROM records WHERE expires_at <= ?"
                    connection.execute(f"DELETE FROM vectors WHERE seq IN ({expired})", (read_at,))  # noqa: S608
                    deleted = connection.execute("DELETE FROM records WHERE expires_at <= ?", (read_at,)).rowcount
                changed = {ERASED_SETTING: now} if deleted else {}
                if deleted or CHECK_SETTING not in settings or read_at > now:
                    changed[CHECK_SETTING] = now
                rows = [(name, repr(value)) for name, value in changed.items()]
                connection.executemany("INSERT OR REPLACE INTO settings VALUES (?, ?)", rows)
                [(waiting,)] = connection.execute("SELECT count(*) FROM records WHERE expires_at <= ?", (now,))
        except sqlite3.Error as exc:
            raise sqlite_errors.map_error(exc) from exc
    return deleted, waiting


def _live_rows(file: Path) -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
    with closing(sqlite.connect(file, create=False)) as connection:
        try:
            return np.fromiter(_numbers(connection), np.uint32)
        except sqlite3.Error as exc:
            raise sqlite_errors.map_error(exc) from exc


def _numbers(connection: sqlite3.Connection) -> Iterator[int]:
    cursor = connection.execute("SELECT seq FROM records ORDER BY seq")
    while rows := cursor.fetchmany(_ROWS_READ):
        for (number,) in rows:
            yield number


def _row_numbers(path: Path, *, first_line: bool = False) -> np.ndarray[tuple[int], np.dtype[np.uint32]] | None:
    try:
        rows = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return rows[0] if first_line else rows  # type: ignore[no-any-return]


def _knows_only(
    rows: np.ndarray[tuple[int], np.dtype[np.uint32]] | None, live: np.ndarray[tuple[int], np.dtype[np.uint32]]
) -> bool:
    # An index whose rows cannot be read may hold deleted texts, so it counts as one that does.
    return rows is not None and bool(np.isin(rows, live).all())


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
