"""Read-only access to the database of a store, which another process may have open."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from super_advanced_agents._runtime.disk import sqlite_errors
from super_advanced_agents.config import STORE_DATABASE
from super_advanced_agents.errors import CorruptStoreError, SuperAdvancedAgentsError

_TIMEOUT_S = 5.0
_NEWEST_MODEL = """
SELECT model_id FROM (SELECT model FROM records ORDER BY seq DESC LIMIT 100) JOIN models ON models.id = model LIMIT 1
"""


@contextmanager
def open_read_only(file: Path) -> Iterator[sqlite3.Connection]:
    """Enter a context with a read-only SQLite connection, which is closed on leaving.

    Another process may have the database open.
    """
    try:
        connection = sqlite3.connect(
            f"file:{quote(str(file.absolute()))}?mode=ro", uri=True, timeout=_TIMEOUT_S, isolation_level=None
        )
    except sqlite3.Error as exc:
        raise sqlite_errors.map_error(exc, file) from exc
    with closing(connection):
        yield connection


@contextmanager
def open_immutable(file: Path) -> Iterator[sqlite3.Connection]:
    """Enter a context with a read-only connection that creates no file beside the database.

    Nobody may change the database meanwhile.
    """
    try:
        connection = sqlite3.connect(f"file:{quote(str(file.absolute()))}?immutable=1", uri=True, isolation_level=None)
    except sqlite3.Error as exc:
        raise sqlite_errors.map_error(exc, file) from exc
    with closing(connection):
        yield connection


def settings_of(folder: Path) -> dict[str, str] | None:
    """Return the settings of the store in `folder`; None if the folder holds no store.

    Returns:
        Name -> value; `dim`, `metric` and `identity` are among the names.

    Raises:
        CorruptStoreError: the file is damaged, or not a store.
    """
    file = folder / STORE_DATABASE
    return _read_settings(file, open_read_only) if file.is_file() else None


def model_id_in(folder: Path) -> str | None:
    """Return the id of the model that made the newest vectors of the store in `folder`.

    Only its last 100 records are read.

    Returns:
        None if no model made them, if there is no store, or if it cannot be read.
    """
    file = folder / STORE_DATABASE
    if not file.is_file():
        return None
    try:
        with open_read_only(file) as connection:
            row = connection.execute(_NEWEST_MODEL).fetchone()
    except (sqlite3.Error, SuperAdvancedAgentsError):
        return None  # opening the store says what is wrong with it
    return row[0] if row is not None and isinstance(row[0], str) else None


def settings_of_copy(file: Path) -> dict[str, str] | None:
    """Return the settings in the database of a store; None if there is no file.

    Nobody may change it meanwhile.

    Raises:
        CorruptStoreError: the file is damaged, or not a store.
    """
    return _read_settings(file, open_immutable) if file.is_file() else None


def has_records_table(file: Path) -> bool:
    """Return whether a database has the tables of a store; a new one is empty.

    Nobody may change it meanwhile.
    """
    try:
        with open_immutable(file) as connection:
            query = "SELECT count(*) FROM sqlite_master WHERE name = 'records'"
            return bool(connection.execute(query).fetchone()[0])
    except sqlite3.Error as exc:
        raise sqlite_errors.map_error(exc, file) from exc


def _read_settings(file: Path, opened: Callable[[Path], AbstractContextManager[sqlite3.Connection]]) -> dict[str, str]:
    try:
        with opened(file) as connection:
            settings = dict(connection.execute("SELECT name, value FROM settings"))
    except sqlite3.Error as exc:
        raise sqlite_errors.map_error(exc, file) from exc
    if not settings.keys() >= {"dim", "metric", "identity"}:
        raise CorruptStoreError(f"{str(file)!r} is not a store of this package", hint="choose another folder")
    return settings
