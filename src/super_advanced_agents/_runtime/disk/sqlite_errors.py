"""The errors of SQLite, and those of this package that they become."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from super_advanced_agents._runtime.disk import files
from super_advanced_agents.errors import CorruptStoreError, OverloadedError, StoreError, StoreFullError

_DESCRIPTORS = 4
"""The descriptors of a connection at most: of database, log, its index, and the folder."""


def is_io_failure(exc: sqlite3.Error) -> bool:
    """Return whether an SQLite error means that the disk failed to read or write.

    The contents of the disk are then unknown, so writing must stop.
    """
    return (_error_code(exc) & 0xFF) == sqlite3.SQLITE_IOERR and not _is_full(exc)


def _is_full(exc: sqlite3.Error) -> bool:
    # SHMSIZE: the log's shared memory could not grow. SQLite calls that an I/O error, but the disk is intact.
    return _error_code(exc) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE)


def cannot_open(exc: sqlite3.Error) -> bool:
    """Return whether an SQLite error means that a file could not be opened, for any reason."""
    return (_error_code(exc) & 0xFF) == sqlite3.SQLITE_CANTOPEN


def is_busy(exc: sqlite3.Error) -> bool:
    """Return whether an SQLite error means that another connection holds a lock."""
    return (_error_code(exc) & 0xFF) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def map_error(exc: sqlite3.Error, file: Path | None = None) -> StoreError | OverloadedError:
    """Convert an SQLite error to one of this package, which names the file if that is damaged."""
    code = _error_code(exc) & 0xFF
    if cannot_open(exc) and not files.has_free_descriptors(_DESCRIPTORS):  # SQLite does not tell why
        return files.out_of_descriptors_error()
    if _is_full(exc):
        return StoreFullError("no room on the disk; nothing was stored", hint="free some, then try again")
    if is_busy(exc):
        return OverloadedError("another program locks the database", retry_after_s=1.0, hint="end its transaction")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        what = "the store's rows are damaged" if file is None else f"the database {str(file)!r} is damaged"
        return CorruptStoreError(what, hint="restore a backup; `saa doctor` has details")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_AUTH):
        return StoreError("the store's folder cannot be written", hint="change its permissions, or choose another")
    if code == sqlite3.SQLITE_IOERR:
        return StoreError("the disk failed while writing or reading", hint="check the disk, then open the store again")
    if str(exc).startswith("Could not decode to UTF-8"):  # the rest of the message quotes the text
        return CorruptStoreError("a record's text is damaged", hint="restore a backup; `saa doctor` has details")
    return StoreError(f"the store's database failed: {exc}")


def _error_code(exc: sqlite3.Error) -> int:
    return getattr(exc, "sqlite_errorcode", 0) or 0
