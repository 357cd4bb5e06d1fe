"""The SQLite file: how it is opened, what tables it has, and what its errors mean."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from super_advanced_agents.errors import CorruptStoreError, StoreError, StoreFullError

VERSION = 2
APPLICATION_ID = 0x53414146  # "SAAF": tells our files from other SQLite files
_PAGE_BYTES = 8192  # five 384-d vectors a page; 63,000 rows/s against 41,000 with 4,096-byte pages
_BUSY_TIMEOUT_S = 5.0
_CHECKPOINT_PAGES = 2_000
"""16 MB of log are folded into the database by the commit that fills them, which takes 60 to 80 ms; batches of 1,000
are no faster without. On the writer's own connection: SQLite before 3.51.3 can lose pages when one connection
checkpoints while another writes (the "WAL-reset bug")."""

TABLES = """
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE scopes (
    id INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    namespace TEXT NOT NULL,
    model INTEGER, -- of its vectors
    digests INTEGER NOT NULL DEFAULT 0, -- 1 from the first write with dedupe on: every record of the scope has a digest
    UNIQUE (tenant, namespace)
);
CREATE TABLE models (id INTEGER PRIMARY KEY, model_id TEXT NOT NULL UNIQUE);
CREATE TABLE records (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, -- never reused: indexes know a row by it; a replaced record gets a new one
    scope INTEGER NOT NULL,
    uid TEXT NOT NULL,
    text TEXT,
    metadata TEXT NOT NULL,
    model INTEGER,
    source TEXT,
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    expires_at REAL,
    session TEXT,
    place INTEGER NOT NULL, -- in its session; that of its first version, so that a replaced turn keeps its place
    priority REAL,
    digest BLOB, -- of its content
    UNIQUE (uid, scope) -- uid first: time-ordered uids of all scopes append at one end
);
CREATE INDEX records_digest ON records (scope, digest) WHERE digest IS NOT NULL;
-- Apart from the rest, so that metadata can be read without paging through vectors.
CREATE TABLE vectors (seq INTEGER PRIMARY KEY, vector BLOB NOT NULL);
"""


def connect(file: Path | None) -> sqlite3.Connection:
    """Open a connection to `file`, or to a database in memory; statements commit one by one unless told otherwise."""
    try:
        connection = sqlite3.connect(
            ":memory:" if file is None else file,
            timeout=_BUSY_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
    except sqlite3.Error as exc:
        raise translated(exc) from exc
    try:
        connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        connection.execute("PRAGMA cache_size = -4000")  # 4 MB for each of up to six connections
        connection.execute("PRAGMA temp_store = MEMORY")
    except sqlite3.Error as exc:
        connection.close()
        raise translated(exc) from exc
    return connection


def is_io_failure(exc: sqlite3.Error) -> bool:
    """Whether the disk itself failed (EIO): what is on it is no longer known, so writing must stop."""
    return (_code(exc) & 0xFF) == sqlite3.SQLITE_IOERR and not _is_full(exc)


def _is_full(exc: sqlite3.Error) -> bool:
    # The log's shared memory could not grow: SQLite calls that an I/O error, but nothing on the disk is in doubt.
    return _code(exc) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE)


def translated(exc: sqlite3.Error) -> StoreError:
    """The error of the tree for what SQLite said."""
    code = _code(exc) & 0xFF
    if _is_full(exc):
        return StoreFullError("no room on the disk; nothing was stored", hint="free some, then try again")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return CorruptStoreError("the store's rows are damaged", hint="restore a backup; `saa doctor` tells more")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_AUTH):
        return StoreError("the store's folder cannot be written", hint="change its permissions, or choose another")
    if code == sqlite3.SQLITE_IOERR:
        return StoreError("the disk failed while writing or reading", hint="check the disk, then open the store again")
    if str(exc).startswith("Could not decode to UTF-8"):  # goes on to quote the text
        return CorruptStoreError("a record's text is damaged", hint="restore a backup; `saa doctor` tells more")
    return StoreError(f"the store's database failed: {exc}")


def _code(exc: sqlite3.Error) -> int:
    return getattr(exc, "sqlite_errorcode", 0) or 0
