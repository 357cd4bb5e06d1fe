"""How the SQLite file comes to have the tables of this version: made anew, or brought up to date step by step."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from uuid import uuid4

from super_advanced_agents._runtime.flushing import fsync_folder
from super_advanced_agents.errors import ConfigurationError, CorruptStoreError, StoreError, StoreFullError
from super_advanced_agents.stores import folder
from super_advanced_agents.stores.faiss import schema
from super_advanced_agents.telemetry import get_logger

_log = get_logger("store")

STEPS: Mapping[int, tuple[str, ...]] = MappingProxyType(
    {
        2: (
            "ALTER TABLE records ADD COLUMN priority REAL",
            "ALTER TABLE records ADD COLUMN digest BLOB",
            "CREATE INDEX records_digest ON records (scope, digest) WHERE digest IS NOT NULL",
            "ALTER TABLE scopes ADD COLUMN model INTEGER",
            "ALTER TABLE scopes ADD COLUMN digests INTEGER NOT NULL DEFAULT 0",
            # Of a scope written with several models the newest counts.
            """UPDATE scopes SET model = newest.model
                FROM (SELECT scope, model, max(seq) FROM records WHERE model IS NOT NULL GROUP BY scope) AS newest
                WHERE newest.scope = scopes.id""",
        ),
    }
)
"""Version -> the statements that make it of the version before. What was released is never changed, only added to."""


def prepare(connection: sqlite3.Connection, file: Path | None, settings: dict[str, str]) -> None:
    """Make the tables, or check that those found are ours and made with the same settings, and bring them up to date.

    Raises:
        ConfigurationError: the store was made with another dimension or metric.
        StoreError: it was made by a newer version of this package.
        StoreFullError: it is of an older version, and there is no room to bring it up to date; it is as it was.
        CorruptStoreError: the file is not a store.
    """
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if version == 0 and tables == 0:
            _create(connection, file, settings)
            return
        if application != schema.APPLICATION_ID or version < 1:
            raise CorruptStoreError(f"{str(file)!r} is not a store of this package", hint="choose another folder")
        if version > schema.VERSION:
            raise StoreError(
                f"{str(file)!r} has schema {version}, this version knows {schema.VERSION}",
                hint="upgrade super-advanced-agents",
            )
        found = dict(connection.execute("SELECT name, value FROM settings"))
    except sqlite3.Error as exc:
        raise schema.translated(exc) from exc
    for name, value in settings.items():
        if found.get(name) != value:
            raise ConfigurationError(
                f"the store at {str(file)!r} was made with {name}={found.get(name)}, not {value}",
                hint=f"open it with {name}={found.get(name)}, or use another folder",
            )
    if version < schema.VERSION:
        assert file is not None
        _bring_up_to_date(connection, file, version)


def _create(connection: sqlite3.Connection, file: Path | None, settings: dict[str, str]) -> None:
    settings = {**settings, "identity": uuid4().hex}  # tells snapshots of this store from those of another
    connection.executescript(f"BEGIN IMMEDIATE; {schema.TABLES} PRAGMA application_id = {schema.APPLICATION_ID};")
    connection.executemany("INSERT INTO settings VALUES (?, ?)", list(settings.items()))
    connection.execute(f"PRAGMA user_version = {schema.VERSION}")
    connection.execute("COMMIT")
    if file is not None:
        fsync_folder(file.parent)


def _bring_up_to_date(connection: sqlite3.Connection, file: Path, version: int) -> None:
    """Copy the old file, then take every step in one transaction: a kill leaves the old version, whole."""
    copy = file.with_name(f"{file.name}.v{version}-backup")
    try:
        _back_up(connection, copy)
        connection.execute("BEGIN IMMEDIATE")
        for number in range(version + 1, schema.VERSION + 1):
            for statement in STEPS[number]:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {schema.VERSION}")
        connection.execute("COMMIT")
    except (sqlite3.Error, OSError) as exc:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        refused = schema.translated(exc) if isinstance(exc, sqlite3.Error) else folder.translated(exc, file.parent)
        if isinstance(refused, StoreFullError):
            raise StoreFullError(
                f"no room to bring {str(file)!r} up to date; it is as it was",
                hint="free as much as the file's size and a little more, then try again",
            ) from exc
        raise refused from exc
    _log.info("store.migrated", extra={"from": version, "to": schema.VERSION, "backup": str(copy)})


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
