"""The tables of a store's SQLite file, and the migrations of older files."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from uuid import uuid4

from super_advanced_agents._runtime.disk import sqlite
from super_advanced_agents.errors import ConfigurationError

VERSION = 4
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
CREATE TABLE writes (
    id INTEGER PRIMARY KEY, -- in the order of their commits
    tenant TEXT NOT NULL,
    write_id TEXT NOT NULL, -- of the request
    result TEXT, -- JSON; NULL for the uids of the request
    at REAL NOT NULL,
    digest BLOB, -- of the request; NULL for writes before schema 4
    UNIQUE (tenant, write_id)
);
CREATE INDEX writes_of ON writes (tenant, id);
"""

MIGRATIONS: Mapping[int, tuple[str, ...]] = MappingProxyType(
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
        3: (
            """CREATE TABLE writes (
                id INTEGER PRIMARY KEY,
                tenant TEXT NOT NULL,
                write_id TEXT NOT NULL,
                result TEXT,
                at REAL NOT NULL,
                UNIQUE (tenant, write_id)
            )""",
            "CREATE INDEX writes_of ON writes (tenant, id)",
        ),
        4: ("ALTER TABLE writes ADD COLUMN digest BLOB",),
    }
)
"""Version -> the statements that migrate a file to it from the version before.

Released migrations never change; new ones are added.
"""

CLOCK_SETTING = "clock_highest"
"""The setting with the highest time at which a record was found expired.

It is in seconds since the epoch.
"""

ERASED_SETTING = "expired_erased_at"
"""The setting with the time of the last deletion of expired records, in seconds since 1970."""

SCHEMA = sqlite.Schema(
    version=VERSION,
    application_id=0x53414146,  # "SAAF"; distinguishes stores from other SQLite files
    tables=TABLES,
    migrations=MIGRATIONS,
)


def prepare(connection: sqlite3.Connection, file: Path | None, settings: dict[str, str]) -> None:
    """Create the tables of a store, or migrate existing ones and check their settings.

    Args:
        connection: the writer's.
        file: the database file, for error messages; None in memory.
        settings: the settings that never change, such as `dim` and `metric`.

    Raises:
        ConfigurationError: the store was made with another dimension or metric.
    """

    def fill(connection: sqlite3.Connection) -> None:
        initial = {**settings, "identity": uuid4().hex}  # by which snapshots of another store are recognized
        connection.executemany("INSERT INTO settings VALUES (?, ?)", list(initial.items()))

    def check(connection: sqlite3.Connection) -> None:
        stored = dict(connection.execute("SELECT name, value FROM settings"))
        for name, value in settings.items():
            if stored.get(name) != value:
                raise ConfigurationError(
                    f"the store at {str(file)!r} was made with {name}={stored.get(name)}, not {value}",
                    hint=f"open it with {name}={stored.get(name)}, or use another folder",
                )

    sqlite.prepare(connection, file, SCHEMA, fill=fill, check=check)
    # SQLite opens a file for reading when opening it for writing fails, as it may for want of descriptors.
    with sqlite.transaction(connection):
        pass
