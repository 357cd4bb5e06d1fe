"""The tables of a store in PostgreSQL, their migrations, and the checks at its opening."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import psycopg

from super_advanced_agents._runtime.postgres import Connection, Database, MigrationSteps, Step, migrate
from super_advanced_agents.errors import ConfigurationError
from super_advanced_agents.stores.options import Metric
from super_advanced_agents.stores.postgres.codecs import PgStorage, VectorCodec
from super_advanced_agents.stores.postgres.tables import created_tables

COMPONENT = "store"
NEWEST = 1
"""The version of the tables that this program knows."""
_OF_MODEL = {"dim": " (that of the model in SAA_EMBEDDING_MODEL)"}
MIN_PGVECTOR = (0, 8)
"""The first pgvector with iterative scans."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSettings:
    """Hold the settings of a store that never change.

    Attributes:
        dim: the length of a vector.
        metric: the metric.
        storage: the type of the vectors' column.
        partitions: the partitions of each large table; 1 for whole tables, None for what the store was made with.
    """

    dim: int
    metric: Metric
    storage: PgStorage
    partitions: int | None = None


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
        if stored.get(name) != value and (name != "partitions" or settings.partitions is not None):
            raise ConfigurationError(
                f"the store in the schema {database.address.schema!r} of the PostgreSQL database "
                f"{database.address.shown} was made with {name}={stored.get(name)}, not {value}",
                hint=f"open it with {name}={stored.get(name)}{_OF_MODEL.get(name, '')}, "
                "or use another schema with ?schema=NAME",
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
        dim=int(stored["dim"]),
        metric=cast("Metric", stored["metric"]),
        storage=cast("PgStorage", stored["storage"]),
        partitions=int(stored["partitions"]),
    )


def _steps(settings: StoreSettings) -> MigrationSteps:
    tables = created_tables(settings.dim, settings.storage, settings.partitions or 1)
    for name, value in _as_texts(settings).items():
        tables.append(f"INSERT INTO {{schema}}.settings VALUES ('{name}', '{value}')")  # noqa: S608  # of fixed words
    return {NEWEST: Step(tables)}


def _as_texts(settings: StoreSettings) -> dict[str, str]:
    return {
        "dim": str(settings.dim),
        "metric": settings.metric,
        "storage": settings.storage,
        "partitions": str(settings.partitions or 1),
    }


async def _type_oid(connection: Connection, storage: PgStorage) -> int | None:
    row = await (await connection.execute("SELECT to_regtype(%s)::oid", (storage,))).fetchone()
    return None if row is None or row[0] is None else int(row[0])


async def _check_version(connection: Connection, database: Database) -> None:
    cursor = await connection.execute("SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'vector'")
    row = await cursor.fetchone()
    version = "" if row is None else str(row[0])
    if version_numbers(version) < MIN_PGVECTOR:
        raise ConfigurationError(
            f"pgvector {version} in the PostgreSQL database {database.address.shown} is too old",
            hint="install 0.8 or newer, and run as an administrator: ALTER EXTENSION vector UPDATE",
        )


def version_numbers(version: str) -> tuple[int, ...]:
    """Return the first two numbers of a version such as `"0.8.1"`."""
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


async def _settings(connection: Connection, database: Database) -> dict[str, str]:
    cursor = await connection.execute(database.sql("SELECT name, value FROM {schema}.settings"))
    return {"partitions": "1", **dict(await cursor.fetchall())}


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
