"""Jobs in an SQLite file, which one process owns."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from super_advanced_agents._runtime.disk import sqlite, sqlite_errors
from super_advanced_agents._runtime.disk.watched_files import DatabaseWatch
from super_advanced_agents.jobs.sql.database import VERSION, Database, Needs, Row, steps
from super_advanced_agents.stores.local.folder import StoreFolder

FILE = "jobs.db"
_STEPS = steps("BLOB")
_SCHEMA = sqlite.Schema(
    version=VERSION,
    application_id=0x5361614A,
    tables="\n".join(statement for version in sorted(_STEPS) for statement in _STEPS[version]),
    migrations=_STEPS,
)


class SQLiteDatabase(Database):
    """Keep jobs in the file `jobs.db` of a folder, locked so that only one process uses them.

    Jobs that ran when the file was last used wait again: the process that ran them has ended, since the lock was free.

    Args:
        folder: the folder; created if it does not exist, readable by this user only.

    Raises:
        StoreLockedError: another process uses it.
        StoreError: the file cannot be used.
    """

    shared = False

    def __init__(self, folder: Path) -> None:
        self._folder = StoreFolder(folder, database=FILE)
        try:
            self._connection = sqlite.open_database(folder / FILE, _SCHEMA)
            self._watch = DatabaseWatch(folder / FILE)
        except BaseException:
            self._folder.release()
            raise
        self._lock = threading.Lock()

    def execute(self, statement: str, parameters: Sequence[object] = ()) -> list[Row]:
        return self._connection.execute(statement, parameters).fetchall()

    @contextmanager
    def transaction(self, needs: Needs) -> Iterator[None]:
        del needs  # each is alone and durable; one that only reads commits nothing, and costs no flush
        try:
            with self._lock, sqlite.transaction(self._connection, self._watch):
                yield
        except sqlite3.Error as exc:
            raise sqlite_errors.map_error(exc) from exc

    def check_files(self) -> None:
        try:
            self._watch.check()
        finally:
            if self._watch.log_lost:
                with self._lock:
                    sqlite.save_lost_log(self._connection, self._watch)

    def close(self) -> None:
        self._watch.close()
        with self._lock:
            self._connection.close()
        self._folder.release()
