"""The write-ahead log of a store's database: its length, its loss and what it still shows."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from super_advanced_agents._runtime.disk import sqlite
from super_advanced_agents._runtime.disk.watched_files import DatabaseWatch
from super_advanced_agents.stores.local.folder import LOCK_FILE
from super_advanced_agents.telemetry import get_logger

_log = get_logger("store")
_LOG_BYTES = 64 * 1024 * 1024
"""A write-ahead log that is larger than this is truncated after a commit."""

FORGET_S = 60.0
"""The seconds after which the texts of deleted records are gone from the write-ahead log."""


class WriteAheadLog:
    """Truncate, save and watch the write-ahead log of a database, by its writing connection.

    Its methods are called by the writer thread, or under the lock that the writer holds; but `check` by any.

    Args:
        file: the database.
        writer: the connection that writes; no transaction may be open when a method is called.
    """

    def __init__(self, file: Path, writer: sqlite3.Connection) -> None:
        self._path = file.with_name(f"{file.name}-wal")
        self._writer = writer
        self._max_bytes = _LOG_BYTES
        self._deleted_at: float | None = None
        self.watch = DatabaseWatch(file, lock=file.with_name(LOCK_FILE))

    def size_bytes(self) -> int:
        """Return the size of the log in bytes; 0 if it is missing."""
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return 0

    @property
    def holds_forgotten(self) -> bool:
        """True once records were deleted `FORGET_S` ago whose texts the log may still show."""
        return self._deleted_at is not None and time.monotonic() - self._deleted_at >= FORGET_S

    def note_deletion(self) -> None:
        """Remember that records are deleted, whose texts stay in the log until it is truncated."""
        if self._deleted_at is None:
            self._deleted_at = time.monotonic()

    def truncate_if_due(self) -> None:
        """Truncate the log if it is too long, or holds what was forgotten a minute ago.

        SQLite restarts the log only at a moment without readers; under steady reads it would grow without end.
        """
        try:
            size = self.size_bytes()
            if size > self._max_bytes or (size and self.holds_forgotten):
                [busy, *_] = self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                self._max_bytes = 2 * size if busy else _LOG_BYTES
                self._deleted_at = time.monotonic() if busy else None
        except (OSError, sqlite3.Error) as exc:  # the rows are committed already
            _log.warning("store.checkpoint_failed", extra={"reason": str(exc)[:200]})

    def save_if_lost(self) -> None:
        """Copy the log into the database if only the log's path was lost."""
        sqlite.save_lost_log(self._writer, self.watch)
