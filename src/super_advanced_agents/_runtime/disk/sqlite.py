"""SQLite files: opening them, creating and migrating their tables."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from super_advanced_agents._runtime.disk import files
from super_advanced_agents._runtime.disk.files import fsync_folder
from super_advanced_agents._runtime.disk.sqlite_errors import cannot_open, is_busy, map_error
from super_advanced_agents._runtime.disk.watched_files import DatabaseWatch, check_unharmed, remove_settled_note
from super_advanced_agents.errors import (
    ConfigurationError,
    CorruptStoreError,
    OverloadedError,
    StoreError,
    StoreFullError,
)
from super_advanced_agents.telemetry import get_logger

_log = get_logger("store")
_PAGE_BYTES = 8192  # five 384-d vectors a page; 63,000 rows/s against 41,000 with 4,096-byte pages
_BUSY_TIMEOUT_S, _BUSY_PAUSE_S = 5.0, 0.01
_CHECKPOINT_PAGES = 2_000
"""The number of pages in the write-ahead log (16 MB) at which a commit checkpoints the log.

A checkpoint takes 60 to 80 ms. Batches of 1,000 are no faster without. The writer's own connection checkpoints: SQLite
before 3.51.3 can lose pages when one connection checkpoints while another writes (the "WAL-reset bug").
"""
_CODE = """
SELECT 1 FROM sqlite_master WHERE type NOT IN ('table', 'index') OR sql LIKE 'CREATE VIRTUAL%' OR sql LIKE '%CHECK%(%'
UNION ALL SELECT 1 FROM sqlite_master AS m, pragma_table_xinfo(m.name) AS c WHERE m.type = 'table' AND c.hidden <> 0
UNION ALL SELECT 1 FROM sqlite_master AS m, pragma_index_xinfo(m.name) AS c WHERE m.type = 'index' AND c.cid = -2"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """Describe the tables of one kind of SQLite file, their version and their migrations.

    Attributes:
        version: the version of the tables, stored as `PRAGMA user_version`.
        application_id: distinguishes these files from other SQLite files (`PRAGMA application_id`); 0 for no check.
        tables: the statements that create the tables; each ends at the end of a line.
        migrations: for each version, the statements that make it from the version before. Released ones never change.
        newer_version_error: the error raised for a file of a newer version.
    """

    version: int
    application_id: int = 0
    tables: str
    migrations: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    newer_version_error: type[StoreError | ConfigurationError] = StoreError


ConnectionCallback = Callable[[sqlite3.Connection], object]


def open_database(
    file: Path, schema: Schema, *, fill: ConnectionCallback | None = None, create: bool = True
) -> sqlite3.Connection:
    """Open a connection to an SQLite file, creating or migrating its tables first.

    Args:
        file: the path of the file.
        schema: the tables that the file should have.
        fill: writes the first rows of new tables, in the transaction that creates them.
        create: create the file if it does not exist, and take the rights of others from it. False to only read one.

    Raises:
        StoreError: the file cannot be opened, or a newer version of this package wrote it.
        StoreFullError: there is no room on the disk to migrate it; the file is unchanged.
        CorruptStoreError: it is not a file of this kind.
    """
    connection = connect(file, create=create)
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
    fill: ConnectionCallback | None = None,
    check: ConnectionCallback | None = None,
) -> None:
    """Create an SQLite database's tables if it has none, else migrate them to `schema.version`.

    Existing tables are checked before they are migrated.

    Args:
        connection: a connection to the file.
        file: the path of the file; None for a database in memory.
        schema: the tables that the file should have.
        fill: writes the first rows of new tables, in the transaction that creates them.
        check: rejects existing tables by raising, before they are migrated.

    Raises:
        StoreError: a newer version of this package wrote the file (see `Schema.newer_version_error`).
        StoreFullError: there is no room on the disk to migrate it; the file is unchanged.
        CorruptStoreError: it is not a file of this kind.
    """
    try:
        # Tables first: another process may create them, with their version, between the two readings.
        empty = not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        version = _read_pragma(connection, "user_version")
        if version == 0 and empty:
            _create(connection, file, schema, fill)
            return
        if version < 1 or (
            schema.application_id and _read_pragma(connection, "application_id") != schema.application_id
        ):
            raise CorruptStoreError(f"{str(file)!r} is not a store of this package", hint="choose another folder")
        if has_code(connection):
            raise CorruptStoreError(
                f"{str(file)!r} holds triggers, views or expressions, which it must not", hint="restore a backup"
            )
        if version > schema.version:
            raise _newer(file, schema, version)
        if check is not None:
            check(connection)
    except sqlite3.Error as exc:
        raise map_error(exc, file) from exc
    if version < schema.version:
        assert file is not None
        _migrate(connection, file, schema, version)


def check_not_newer(file: Path, schema: Schema) -> None:
    """Raise if a newer version of this package wrote a file.

    A file that cannot be read is left to the code that opens it.

    Raises:
        StoreError: a newer version wrote it (see `Schema.newer_version_error`).
    """
    try:
        with closing(sqlite3.connect(f"file:{quote(str(file.absolute()))}?mode=ro", uri=True)) as connection:
            version = _read_pragma(connection, "user_version")
    except sqlite3.Error:
        return
    if version > schema.version:
        raise _newer(file, schema, version)


def _newer(file: Path | None, schema: Schema, version: int) -> StoreError | ConfigurationError:
    return schema.newer_version_error(
        f"{str(file)!r} was written by a newer version: schema {version}, this one knows {schema.version}",
        hint="upgrade super-advanced-agents",
    )


def is_of(connection: sqlite3.Connection, schema: Schema) -> bool:
    """Return whether a database is of a kind of file and of no newer version than `schema`.

    Raises:
        sqlite3.Error: the database cannot be read.
    """
    kind, version = _read_pragma(connection, "application_id"), _read_pragma(connection, "user_version")
    return kind == schema.application_id and 1 <= version <= schema.version and not has_code(connection)


def has_code(connection: sqlite3.Connection) -> bool:
    """Return whether a database has triggers, views, virtual tables, checks or computed columns.

    They, and indexes on expressions, run SQL code of the file's author, and this package writes none.
    """
    return connection.execute(_CODE).fetchone() is not None


def _read_pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _create(connection: sqlite3.Connection, file: Path | None, schema: Schema, fill: ConnectionCallback | None) -> None:
    with transaction(connection):
        if _read_pragma(connection, "user_version") == 0:  # else another process has created them meanwhile
            for statement in _split_statements(schema.tables):
                connection.execute(statement)
            if fill is not None:
                fill(connection)
            connection.execute(f"PRAGMA application_id = {schema.application_id}")
            connection.execute(f"PRAGMA user_version = {schema.version}")
    if file is not None:
        fsync_folder(file.parent)


def _split_statements(script: str) -> Iterator[str]:
    # `executescript` would end the transaction, so the statements are run one by one.
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _migrate(connection: sqlite3.Connection, file: Path, schema: Schema, version: int) -> None:
    # The file is copied first and migrated in one transaction, so a kill leaves the old version intact.
    copy = file.with_name(f"{file.name}.v{version}-backup")
    try:
        _back_up(connection, copy)
        with transaction(connection):
            for number in range(version + 1, schema.version + 1):
                for statement in schema.migrations[number]:
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {schema.version}")
    except (sqlite3.Error, OSError) as exc:
        store_error = map_error(exc) if isinstance(exc, sqlite3.Error) else files.map_os_error(exc, file.parent)
        if isinstance(store_error, StoreFullError):
            raise StoreFullError(
                f"no room to migrate {str(file)!r} to the current version; it is as it was",
                hint="free a little more than the size of the file, then try again",
            ) from exc
        raise store_error from exc
    _log.info("store.migrated", extra={"from": version, "to": schema.version, "backup": str(copy)})


def _back_up(connection: sqlite3.Connection, copy: Path) -> None:
    # Flushed under another name before the rename: half a copy would be taken for a backup.
    partial = copy.with_name(f"{copy.name}.partial")
    try:
        partial.unlink(missing_ok=True)
        target = sqlite3.connect(files.private_file(partial), isolation_level=None)
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
        for leftover in (partial, partial.with_name(f"{partial.name}-journal")):
            leftover.unlink(missing_ok=True)
        raise


@contextmanager
def transaction(connection: sqlite3.Connection, watch: DatabaseWatch | None = None) -> Iterator[None]:
    """Enter a context whose writes are committed in one transaction, or all rolled back.

    Args:
        connection: the connection that writes.
        watch: watches the files of the database: a write is not acknowledged that went to a file which is lost, and
            what only a lost log holds is saved.

    Raises:
        StoreError: a file of the database was removed, replaced, emptied or cut by others.
        sqlite3.Error: SQLite failed.
    """
    try:
        if watch is not None:
            watch.check()  # now, since a cut log has its old size again after the next commit
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("COMMIT")
        if watch is not None:
            watch.check(committed=True)
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        if watch is not None:
            save_lost_log(connection, watch)
        raise


def save_lost_log(connection: sqlite3.Connection, watch: DatabaseWatch) -> None:
    """Copy the write-ahead log into its database if only the log's path was lost.

    The connection still has the lost file open, and what was acknowledged last is nowhere else. No transaction may be
    open on it.
    """
    if not watch.log_lost:
        return
    with suppress(sqlite3.Error):  # the next check tries again
        [busy, pages, copied] = connection.execute("PRAGMA wal_checkpoint(FULL)").fetchone()
        if not busy and pages == copied:
            watch.mark_log_saved()
            _log.info("store.lost_log_saved", extra={"pages": pages})


def connect(file: Path | None, *, create: bool = True) -> sqlite3.Connection:
    """Open a connection to an SQLite file, or to a database in memory if `file` is None.

    Each statement commits by itself unless a transaction was begun. What is deleted is overwritten in the file.

    Args:
        file: the path of the file.
        create: create the file if it does not exist. False for a further connection to an open database: a file that
            was removed meanwhile must not appear again, empty.

    Raises:
        StoreError: the file cannot be opened.
        OverloadedError: too many files are open.
        CorruptStoreError: the file lost its content under the process that used it last (see `check_unharmed`).
    """
    if file is not None and create:
        try:
            check_unharmed(file)
        except OSError as exc:
            raise files.map_os_error(exc, file) from exc
        remove_settled_note(file)
        _make_private(file)
    try:
        return _connect(file, create=create)
    except sqlite3.Error as exc:
        error = map_error(exc, file)
        if not cannot_open(exc) or isinstance(error, OverloadedError):
            raise error from exc
    try:
        return _connect(file, create=create)  # a descriptor may have come free since
    except sqlite3.Error as exc:
        raise map_error(exc, file) from exc


def _connect(file: Path | None, *, create: bool) -> sqlite3.Connection:
    connection = sqlite3.connect(
        ":memory:" if file is None else file if create else f"file:{quote(str(file.absolute()))}?mode=rw",
        uri=not create,
        timeout=_BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )
    try:
        connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        _write_ahead(connection)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        connection.execute("PRAGMA cache_size = -4000")  # 4 MB for each of up to six connections
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("PRAGMA secure_delete = ON")  # else what was forgotten stays readable in free pages
    except BaseException:
        connection.close()
        raise
    return connection


def _write_ahead(connection: sqlite3.Connection) -> None:
    # While another connection does the same to a new file, SQLite answers "busy" without waiting for its time limit.
    give_up_at = time.monotonic() + _BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as exc:
            if not is_busy(exc) or time.monotonic() > give_up_at:
                raise
        time.sleep(_BUSY_PAUSE_S)


def _make_private(file: Path) -> None:
    # SQLite would create the file readable for everybody; it gives the log and its index the mode of the file.
    try:
        if not file.exists():
            files.private_file(file)
    except OSError as exc:
        raise files.map_os_error(exc, file) from exc
    files.restrict((file, *(file.with_name(file.name + suffix) for suffix in ("-wal", "-shm"))))
