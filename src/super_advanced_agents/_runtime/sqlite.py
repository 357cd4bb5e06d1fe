"""SQLite files: how they are opened, how their tables are made and brought up to date, and what errors mean."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from super_advanced_agents._runtime import files
from super_advanced_agents._runtime.flushing import fsync_folder
from super_advanced_agents.errors import ConfigurationError, CorruptStoreError, StoreError, StoreFullError
from super_advanced_agents.telemetry import get_logger

_log = get_logger("store")
_PAGE_BYTES = 8192  # five 384-d vectors a page; 63,000 rows/s against 41,000 with 4,096-byte pages
_BUSY_TIMEOUT_S = 5.0
_CHECKPOINT_PAGES = 2_000
"""16 MB of log are folded into the database by the commit that fills them, which takes 60 to 80 ms; batches of 1,000
are no faster without. On the writer's own connection: SQLite before 3.51.3 can lose pages when one connection
checkpoints while another writes (the "WAL-reset bug")."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """What tables a kind of file has.

    Attributes:
        version: of the tables; `PRAGMA user_version` of a file that has them.
        application_id: tells these files from other SQLite files.
        tables: the statements that make them, each ending with its line.
        steps: version -> the statements that make it of the version before. What was released is only added to.
        newer: what is raised for a file of a newer version.
    """

    version: int
    application_id: int = 0
    tables: str
    steps: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    newer: type[StoreError | ConfigurationError] = StoreError


Act = Callable[[sqlite3.Connection], object]


def opened(file: Path, schema: Schema, *, fill: Act | None = None) -> sqlite3.Connection:
    """Open a connection to a file whose tables are there and of this version; see `prepare` for what it raises."""
    connection = connect(file)
    try:
        prepare(connection, file, schema, fill=fill)
    except BaseException:
        connection.close()
        raise
    return connection


def prepare(
    connection: sqlite3.Connection,
    file: Path | None,
    schema: Schema,
    *,
    fill: Act | None = None,
    check: Act | None = None,
) -> None:
    """Make the tables, or check that those found are ours, and bring them up to date.

    Args:
        connection: to the file.
        file: None for a database in memory.
        schema: what tables there should be.
        fill: writes what new tables begin with, in the transaction that makes them.
        check: refuses tables that were found by raising, before they are brought up to date.

    Raises:
        StoreError: the file was written by a newer version of this package (see `Schema.newer`).
        StoreFullError: it is of an older version, and there is no room to bring it up to date; it is as it was.
        CorruptStoreError: it is no file of this kind.
    """
    try:
        version = _pragma(connection, "user_version")
        if version == 0 and not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            _create(connection, file, schema, fill)
            return
        if version < 1 or (schema.application_id and _pragma(connection, "application_id") != schema.application_id):
            raise CorruptStoreError(f"{str(file)!r} is not a store of this package", hint="choose another folder")
        if version > schema.version:
            raise schema.newer(
                f"{str(file)!r} was written by a newer version: schema {version}, this one knows {schema.version}",
                hint="upgrade super-advanced-agents",
            )
        if check is not None:
            check(connection)
    except sqlite3.Error as exc:
        raise translated(exc) from exc
    if version < schema.version:
        assert file is not None
        _bring_up_to_date(connection, file, schema, version)


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _create(connection: sqlite3.Connection, file: Path | None, schema: Schema, fill: Act | None) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        if _pragma(connection, "user_version") == 0:  # else another process has made them meanwhile
            for statement in _statements(schema.tables):
                connection.execute(statement)
            if fill is not None:
                fill(connection)
            connection.execute(f"PRAGMA application_id = {schema.application_id}")
            connection.execute(f"PRAGMA user_version = {schema.version}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    if file is not None:
        fsync_folder(file.parent)


def _statements(script: str) -> Iterator[str]:
    """Split a script; `executescript` would end the transaction."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _bring_up_to_date(connection: sqlite3.Connection, file: Path, schema: Schema, version: int) -> None:
    """Copy the old file, then take every step in one transaction: a kill leaves the old version, whole."""
    copy = file.with_name(f"{file.name}.v{version}-backup")
    try:
        _back_up(connection, copy)
        connection.execute("BEGIN IMMEDIATE")
        for number in range(version + 1, schema.version + 1):
            for statement in schema.steps[number]:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {schema.version}")
        connection.execute("COMMIT")
    except (sqlite3.Error, OSError) as exc:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        refused = translated(exc) if isinstance(exc, sqlite3.Error) else files.translated(exc, file.parent)
        if isinstance(refused, StoreFullError):
            raise StoreFullError(
                f"no room to bring {str(file)!r} up to date; it is as it was",
                hint="free as much as the file's size and a little more, then try again",
            ) from exc
        raise refused from exc
    _log.info("store.migrated", extra={"from": version, "to": schema.version, "backup": str(copy)})


def _back_up(connection: sqlite3.Connection, copy: Path) -> None:
    """A whole copy under its name, flushed, or none: half of one would be taken for a backup."""
    partial = copy.with_name(f"{copy.name}.partial")
    try:
        partial.unlink(missing_ok=True)
        target = sqlite3.connect(partial, isolation_level=None)
        try:
            connection.backup(target)
        finally:
            target.close()
        fd = os.open(partial, os.O_RDWR)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        partial.rename(copy)
        fsync_folder(copy.parent)
    except BaseException:
        for left_over in (partial, partial.with_name(f"{partial.name}-journal")):
            left_over.unlink(missing_ok=True)
        raise


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
