"""A look at a store that exists, without opening it and beside whoever owns it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from super_advanced_agents._runtime import sqlite
from super_advanced_agents.errors import CorruptStoreError

DATABASE = "memory.sqlite3"
_TIMEOUT_S = 5.0


@contextmanager
def open_read_only(file: Path) -> Iterator[sqlite3.Connection]:
    """A connection that cannot write, beside whoever owns the database."""
    try:
        connection = sqlite3.connect(
            f"file:{quote(str(file.absolute()))}?mode=ro", uri=True, timeout=_TIMEOUT_S, isolation_level=None
        )
    except sqlite3.Error as exc:
        raise sqlite.map_error(exc) from exc
    with closing(connection):
        yield connection


def settings_of(folder: Path) -> dict[str, str] | None:
    """What the store in a folder was made with (`dim`, `metric`) and who it is (`identity`); None if there is none.

    Raises:
        CorruptStoreError: the file is damaged, or no store.
    """
    file = folder / DATABASE
    if not file.is_file():
        return None
    try:
        with open_read_only(file) as connection:
            found = dict(connection.execute("SELECT name, value FROM settings"))
    except sqlite3.Error as exc:
        raise sqlite.map_error(exc) from exc
    if not found.keys() >= {"dim", "metric", "identity"}:
        raise CorruptStoreError(f"{str(file)!r} is not a store of this package", hint="choose another folder")
    return found
