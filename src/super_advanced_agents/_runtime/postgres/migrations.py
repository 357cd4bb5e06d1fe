"""Numbered migrations of one component's tables, beside programs of earlier versions.

A step adds (expand), and programs of earlier versions go on; or it takes away what they use (contract), and waits until
none of them runs. So that this is known, each process that has the tables open has a row in the table `processes`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from super_advanced_agents._runtime.postgres.database import Database
from super_advanced_agents._runtime.postgres.pool import Connection
from super_advanced_agents.errors import ConfigurationError, SuperAdvancedAgentsError
from super_advanced_agents.telemetry import get_logger

_log = get_logger("postgres")

_SEEN_EVERY_S = 60.0
_GONE_AFTER = "interval '3 minutes'"
"""The time after which a process that did not say that it runs counts as killed."""
_LEAVE_S = 1.0

_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"
_SHARED_LOCK = "SELECT pg_advisory_xact_lock_shared(hashtextextended(%s, 0))"

_MADE = re.compile(r"\bCREATE (?:TABLE|(?:UNIQUE )?INDEX) (?:\{schema\}\.)?(\w+)")
"""The name of a table or an index in the statement that makes it."""

_OWN_TABLES = (
    "CREATE TABLE IF NOT EXISTS {schema}.migrations (component text PRIMARY KEY, version integer NOT NULL)",
    "ALTER TABLE {schema}.migrations ADD COLUMN IF NOT EXISTS oldest integer NOT NULL DEFAULT 1",
    """CREATE TABLE IF NOT EXISTS {schema}.processes (
        id text NOT NULL, component text NOT NULL, version integer NOT NULL, seen_at timestamptz NOT NULL,
        PRIMARY KEY (id, component)
    )""",
)


@dataclass(frozen=True, slots=True)
class Step:
    """Represent one numbered change of a component's tables.

    Attributes:
        statements: the statements, with `{schema}` for the schema's name.
        oldest: the first version whose programs do without what the step takes away; None where it only adds.
    """

    statements: Sequence[str]
    oldest: int | None = None


MigrationSteps: TypeAlias = Mapping[int, Step]
"""Version, from 1 on without gaps -> the step that leads to it from the version before."""


class TablesVersion(NamedTuple):
    """Hold the version of a component's tables, and which programs may use them.

    Attributes:
        version: the version; 0 for no tables.
        oldest: the oldest version whose programs may use them.
    """

    version: int
    oldest: int


async def migrate(
    database: Database, component: str, steps: MigrationSteps, *, former_table: str | None = None
) -> None:
    """Create or upgrade the tables of a component in the database's schema, all or nothing.

    Several processes may do it at once. A database that is up to date is only read, so a standby will do. A step that
    takes away what running programs of earlier versions use is left for a later call.

    Args:
        database: the database; its schema is created if there is none.
        component: a name that is unique in the schema, such as `"store"`.
        steps: the steps by version. Released ones never change.
        former_table: the table of one number in which earlier programs kept the version; None where none did.

    Raises:
        ConfigurationError: the tables can only be used by newer versions of this package; or programs of older versions
            still use what a needed step takes away; or the role may not create tables.
        EngineUnavailableError: the database is a standby, or cannot be reached.
    """
    newest = max(steps)
    found = await database.read(lambda connection: tables_version(connection, database, component))
    if found.version < newest:
        await database.write(lambda connection: _upgrade(connection, database, component, steps, former_table))
    elif found.oldest > newest:
        raise _too_new(database, component, found, newest)
    await _register(database, component, newest)


async def _upgrade(
    connection: Connection, database: Database, component: str, steps: MigrationSteps, former_table: str | None
) -> None:
    # Inside the transaction, as behind pgbouncer the next one may have another connection.
    await connection.execute(_LOCK, (_lock_name(component),))
    found = await tables_version(connection, database, component)
    newest = max(steps)
    if found.oldest > newest:
        raise _too_new(database, component, found, newest)
    await _prepare(connection, database)
    if found.version == 0 and former_table is not None:
        found = await _adopt_version(connection, database, component, former_table)
    for number in range(found.version + 1, newest + 1):
        oldest = steps[number].oldest
        if oldest is not None and (running := await _running_before(connection, database, component, oldest)):
            if any(steps[later].oldest is None for later in range(number + 1, newest + 1)):
                raise _in_use(database, component, number, running)
            _log.info("postgres.migration_waits", extra={"component": component, "step": number, "programs": running})
            return
        for statement in steps[number].statements:
            await connection.execute(database.sql(statement))
        await _save_version(connection, database, component, TablesVersion(number, oldest or 1))


async def _save_version(connection: Connection, database: Database, component: str, reached: TablesVersion) -> None:
    await connection.execute(
        database.sql(
            "INSERT INTO {schema}.migrations AS m (component, version, oldest) VALUES (%s, %s, %s) "
            "ON CONFLICT (component) DO UPDATE SET version = excluded.version, "
            "oldest = greatest(m.oldest, excluded.oldest)"
        ),
        (component, *reached),
    )


async def _adopt_version(connection: Connection, database: Database, component: str, table: str) -> TablesVersion:
    # The table stays, as programs that know only it may still run.
    if not await _has_table(connection, database, table):
        return TablesVersion(0, 1)
    cursor = await connection.execute(database.sql(f"SELECT max(number) FROM {{schema}}.{table}"))  # noqa: S608
    row = await cursor.fetchone()
    adopted = TablesVersion(0 if row is None or row[0] is None else int(row[0]), 1)
    if adopted.version:
        await _save_version(connection, database, component, adopted)
    return adopted


async def tables_version(connection: Connection, database: Database, component: str) -> TablesVersion:
    """Return the version of a component's tables in the database's schema."""
    if not await _has_table(connection, database, "migrations"):
        return TablesVersion(0, 1)
    cursor = await connection.execute(
        # By way of JSON, as the column is missing where no step was taken since there is one.
        database.sql(
            "SELECT m.version, coalesce((to_jsonb(m) ->> 'oldest')::integer, 1) FROM {schema}.migrations m "
            "WHERE component = %s"
        ),
        (component,),
    )
    row = await cursor.fetchone()
    return TablesVersion(0, 1) if row is None else TablesVersion(*row)


async def missing_relations(connection: Connection, database: Database, steps: MigrationSteps) -> list[str]:
    """Return the tables and indexes that a component's steps make and the schema lacks."""
    cursor = await connection.execute(
        """SELECT c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = %s""",
        (database.address.schema,),
    )
    there = {name for (name,) in await cursor.fetchall()}
    return [name for name in _made_relations(steps) if name not in there]


def _made_relations(steps: MigrationSteps) -> Iterator[str]:
    for number in sorted(steps):
        for statement in steps[number].statements:
            yield from _MADE.findall(statement)


async def _has_table(connection: Connection, database: Database, table: str) -> bool:
    # Not `to_regclass`: its cache may still say that there is none after another process made it.
    cursor = await connection.execute(
        "SELECT 1 FROM pg_catalog.pg_tables WHERE schemaname = %s AND tablename = %s", (database.address.schema, table)
    )
    return await cursor.fetchone() is not None


async def running_versions(connection: Connection, database: Database, component: str) -> list[int]:
    """Return the newest version that each running process knows of a component's tables."""
    cursor = await connection.execute(
        database.sql(
            f"SELECT version FROM {{schema}}.processes WHERE component = %s AND seen_at > now() - {_GONE_AFTER}"  # noqa: S608
        ),
        (component,),
    )
    return [version for (version,) in await cursor.fetchall()]


async def _running_before(connection: Connection, database: Database, component: str, oldest: int) -> int:
    return sum(version < oldest for version in await running_versions(connection, database, component))


async def _prepare(connection: Connection, database: Database) -> None:
    cursor = await connection.execute(
        "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = %s", (database.address.schema,)
    )
    if await cursor.fetchone() is None:  # a role that may not create schemas may have been given one
        await connection.execute(database.sql("CREATE SCHEMA {schema}"))
    for statement in _OWN_TABLES:
        await connection.execute(database.sql(statement))


async def _register(database: Database, component: str, version: int) -> None:
    # Records that this process uses the tables, until the database is closed.
    insert = database.sql(
        "INSERT INTO {schema}.processes (id, component, version, seen_at) VALUES (%s, %s, %s, now()) "
        "ON CONFLICT (id, component) DO UPDATE SET seen_at = excluded.seen_at"
    )
    remove = database.sql(
        f"DELETE FROM {{schema}}.processes WHERE component = %s AND (id = %s OR seen_at < now() - {_GONE_AFTER})"  # noqa: S608
    )

    async def enter(connection: Connection) -> TablesVersion:
        # The lock keeps a step from taking something away between the look at the version and the row.
        await connection.execute(_SHARED_LOCK, (_lock_name(component),))
        found = await tables_version(connection, database, component)
        if found.oldest <= version:
            await connection.execute(insert, (database.id, component, version))
        return found

    async def leave(connection: Connection) -> None:
        await connection.execute(remove, (component, database.id))

    async def stay() -> None:
        try:
            while True:
                await asyncio.sleep(_SEEN_EVERY_S)
                with suppress(SuperAdvancedAgentsError):
                    await database.write(enter)
        finally:
            with suppress(SuperAdvancedAgentsError, TimeoutError):
                async with asyncio.timeout(_LEAVE_S):
                    await database.read(leave)

    try:
        found = await database.write(enter)
    except SuperAdvancedAgentsError as exc:
        # A standby, or a role that may only read, has no row; what else is wrong the next statement says.
        _log.debug("postgres.not_registered", extra={"component": component, "reason": exc.message[:200]})
    else:
        if found.oldest > version:
            raise _too_new(database, component, found, version)
    await database.start_background(f"processes of {component}", stay)


def _lock_name(component: str) -> str:
    return f"saa migration {component}"


def _too_new(database: Database, component: str, found: TablesVersion, newest: int) -> ConfigurationError:
    return ConfigurationError(
        f"the tables of {component!r} in the PostgreSQL database {database.address.shown} "
        f"have version {found.version}, and this program knows only version {newest}",
        hint="upgrade super-advanced-agents, or use another schema with ?schema=NAME",
    )


def _in_use(database: Database, component: str, number: int, running: int) -> ConfigurationError:
    return ConfigurationError(
        f"step {number} of the tables of {component!r} in the PostgreSQL database {database.address.shown} takes away "
        f"what {running} running programs of earlier versions use",
        hint="stop them first, then start this one; a killed one counts as running for three minutes",
    )
