"""The tables of a store in PostgreSQL, their migrations, and the checks at its opening."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import psycopg

from super_advanced_agents._runtime.postgres import Connection, Database, MigrationSteps, migrate
from super_advanced_agents.errors import ConfigurationError
from super_advanced_agents.stores.options import Metric
from super_advanced_agents.stores.postgres.codecs import PgStorage, VectorCodec

COMPONENT = "store"
_INLINE_BYTES = 6_000
"""Vectors of up to this size stay in the row, where an exact search reads them at once."""

_MIN_VERSION = (0, 8)
"""The first pgvector with iterative scans."""

_TABLES = (
    "CREATE TABLE {schema}.settings (name text PRIMARY KEY, value text NOT NULL)",
    """CREATE TABLE {schema}.tenants (
        id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        name text COLLATE "C" NOT NULL UNIQUE,
        languages text[] NOT NULL DEFAULT '{{}}' -- of its texts, other than English
    )""",
    """CREATE TABLE {schema}.scopes ( -- a scope is one tenant's namespace
        id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        tenant integer NOT NULL REFERENCES {schema}.tenants,
        namespace text COLLATE "C" NOT NULL,
        model text, -- of its vectors
        digests boolean NOT NULL DEFAULT false, -- true from the first write with dedupe on: every record has a digest
        sessions boolean NOT NULL DEFAULT false, -- true from the first record with a session on
        expires boolean NOT NULL DEFAULT false, -- true from the first record that expires on
        graph text, -- 'building' or 'ready'
        graph_at double precision,
        version bigint NOT NULL DEFAULT 0,
        rows bigint NOT NULL DEFAULT 0,
        texts bigint NOT NULL DEFAULT 0, -- with the terms of all of them, for BM25
        text_terms bigint NOT NULL DEFAULT 0,
        window_terms bigint NOT NULL DEFAULT 0,
        UNIQUE (tenant, namespace)
    )""",
    "CREATE SEQUENCE {schema}.seqs CACHE 1",
    "CREATE SEQUENCE {schema}.versions CACHE 1",
    """CREATE TABLE {schema}.records (
        seq bigint NOT NULL, -- never reused; a replaced record gets a new one
        scope integer NOT NULL,
        created_at double precision NOT NULL,
        updated_at double precision NOT NULL,
        expires_at double precision,
        priority double precision,
        place bigint NOT NULL, -- in its session
        vector {type}({dim}) NOT NULL,
        uid text COLLATE "C" NOT NULL,
        session text COLLATE "C",
        source text COLLATE "C",
        model text,
        digest bytea, -- of its content
        original bytea, -- the vector, where pgvector cannot compare it at its own length
        fields jsonb NOT NULL, -- of the metadata, for filters
        metadata text NOT NULL, -- JSON as it was given, without the text
        text text COLLATE "C",
        PRIMARY KEY (scope, uid)
    )""",
    "CREATE UNIQUE INDEX records_seq ON {schema}.records (seq)",
    "CREATE INDEX records_session ON {schema}.records (scope, session, place, seq) WHERE session IS NOT NULL",
    "CREATE INDEX records_source ON {schema}.records (scope, source) WHERE source IS NOT NULL",
    "CREATE INDEX records_digest ON {schema}.records (scope, digest) WHERE digest IS NOT NULL",
    "CREATE INDEX records_expiry ON {schema}.records (scope, expires_at) WHERE expires_at IS NOT NULL",
    "CREATE INDEX records_fields ON {schema}.records USING gin (fields jsonb_path_ops)",
    """CREATE TABLE {schema}.entries ( -- the texts in the keyword index, by which their postings are found
        seq bigint PRIMARY KEY,
        text_length integer NOT NULL,
        window_length integer NOT NULL,
        terms text[] COLLATE "C" NOT NULL
    )""",
    """CREATE TABLE {schema}.postings (
        seq bigint NOT NULL,
        tenant integer NOT NULL,
        scope integer NOT NULL,
        text_length integer NOT NULL,
        window_length integer NOT NULL,
        text_count smallint NOT NULL,
        window_count smallint NOT NULL,
        term text COLLATE "C" NOT NULL
    )""",
    """CREATE INDEX postings_term ON {schema}.postings (tenant, term, scope, seq)
        INCLUDE (text_length, window_length, text_count, window_count)""",
    """CREATE TABLE {schema}.writes (
        tenant text COLLATE "C" NOT NULL,
        write_id text COLLATE "C" NOT NULL,
        at double precision NOT NULL,
        digest bytea NOT NULL, -- of the request
        result text, -- JSON
        PRIMARY KEY (tenant, write_id)
    )""",
    "CREATE INDEX writes_at ON {schema}.writes (at)",
    # Tables of steady change are cleaned up early, so that their indexes stay small.
    "ALTER TABLE {schema}.scopes SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05)",
    "ALTER TABLE {schema}.records SET (autovacuum_vacuum_insert_scale_factor = 0.05)",
    "ALTER TABLE {schema}.postings SET (autovacuum_vacuum_insert_scale_factor = 0.05)",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSettings:
    """Hold the settings of a store that never change."""

    dim: int
    metric: Metric
    storage: PgStorage


async def open_schema(database: Database, settings: StoreSettings) -> VectorCodec:
    """Create or upgrade the tables of a store, and return the codec of its vectors.

    Raises:
        ConfigurationError: the store was made with other settings, pgvector is missing, or a newer version of this
            package wrote the tables.
    """
    oid = await database.read(lambda connection: _type_oid(connection, settings.storage))
    if oid is None:
        await _create_extension(database)
        oid = await database.read(lambda connection: _type_oid(connection, settings.storage))
    if oid is None:
        raise _no_vector(database)
    await database.read(lambda connection: _check_version(connection, database))
    await migrate(database, COMPONENT, _steps(settings))
    stored = await database.read(lambda connection: _settings(connection, database))
    for name, value in _as_texts(settings).items():
        if stored.get(name) != value:
            raise ConfigurationError(
                f"the store in the schema {database.address.schema!r} of {database.address.shown} "
                f"was made with {name}={stored.get(name)}, not {value}",
                hint=f"open it with {name}={stored.get(name)}, or use another schema with ?schema=NAME",
            )
    return VectorCodec(settings.storage, oid)


async def settings_in(database: Database) -> StoreSettings | None:
    """Return the settings of the store in a database's schema; None if there is none.

    Raises:
        EngineUnavailableError: the database cannot be reached.
        ConfigurationError: the password is wrong.
    """

    async def read(connection: Connection) -> dict[str, str]:
        try:
            return await _settings(connection, database)
        except psycopg.errors.UndefinedTable:
            return {}

    stored = await database.read(read)
    if not stored.keys() >= {"dim", "metric", "storage"}:
        return None
    return StoreSettings(
        dim=int(stored["dim"]), metric=cast("Metric", stored["metric"]), storage=cast("PgStorage", stored["storage"])
    )


def _steps(settings: StoreSettings) -> MigrationSteps:
    size = settings.dim * (4 if settings.storage == "vector" else 2)
    inline = "PLAIN" if size <= _INLINE_BYTES else "EXTERNAL"
    tables = [
        statement.replace("{type}", settings.storage).replace("{dim}", str(settings.dim)).replace("{{}}", "{}")
        for statement in _TABLES
    ]
    tables.append(f"ALTER TABLE {{schema}}.records ALTER COLUMN vector SET STORAGE {inline}")
    for name, value in _as_texts(settings).items():
        tables.append(f"INSERT INTO {{schema}}.settings VALUES ('{name}', '{value}')")  # noqa: S608  # of fixed words
    return {1: tables}


def _as_texts(settings: StoreSettings) -> dict[str, str]:
    return {"dim": str(settings.dim), "metric": settings.metric, "storage": settings.storage}


async def _type_oid(connection: Connection, storage: PgStorage) -> int | None:
    row = await (await connection.execute("SELECT to_regtype(%s)::oid", (storage,))).fetchone()
    return None if row is None or row[0] is None else int(row[0])


async def _check_version(connection: Connection, database: Database) -> None:
    cursor = await connection.execute("SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'vector'")
    row = await cursor.fetchone()
    version = "" if row is None else str(row[0])
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers < _MIN_VERSION:
        raise ConfigurationError(
            f"pgvector {version} in {database.address.shown} is too old",
            hint="install 0.8 or newer, and run as an administrator: ALTER EXTENSION vector UPDATE",
        )


async def _settings(connection: Connection, database: Database) -> dict[str, str]:
    cursor = await connection.execute(database.sql("SELECT name, value FROM {schema}.settings"))
    return dict(await cursor.fetchall())


async def _create_extension(database: Database) -> None:
    async def create(connection: Connection) -> None:
        try:
            await connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        except (psycopg.errors.UniqueViolation, psycopg.errors.DuplicateObject):  # another process did at this moment
            return
        except (
            psycopg.errors.InsufficientPrivilege,
            psycopg.errors.FeatureNotSupported,
            psycopg.errors.UndefinedFile,
        ) as exc:
            raise _no_vector(database) from exc

    await database.read(create)


def _no_vector(database: Database) -> ConfigurationError:
    return ConfigurationError(
        f"the PostgreSQL database {database.address.shown} lacks the extension vector",
        hint="install pgvector 0.8 or newer there, and run as an administrator: CREATE EXTENSION vector",
    )
