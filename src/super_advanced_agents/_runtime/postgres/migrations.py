"""Numbered migrations of the tables of one component, under an advisory lock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from super_advanced_agents._runtime.postgres.database import Database
from super_advanced_agents._runtime.postgres.pool import Connection
from super_advanced_agents.errors import ConfigurationError

MigrationSteps: TypeAlias = Mapping[int, Sequence[str]]
"""Version, from 1 on without gaps -> the statements that lead to it from the version before."""


async def migrate(database: Database, component: str, steps: MigrationSteps) -> None:
    """Create or upgrade the tables of a component in the database's schema, all or nothing.

    Several processes may do it at once. A database that is up to date is only read, so a standby will do.

    Args:
        database: the database; its schema is created if there is none.
        component: a name that is unique in the schema, such as `"store"`.
        steps: the statements by version, with `{schema}` for the schema's name. Released ones never change.

    Raises:
        ConfigurationError: a newer version of this package wrote the tables, or the role may not create them.
        EngineUnavailableError: the database is a standby, or cannot be reached.
    """
    newest = max(steps)
    if await database.read(lambda connection: _version(connection, database, component)) == newest:
        return

    async def upgrade(connection: Connection) -> None:
        # Inside the transaction, as behind pgbouncer the next one may have another connection.
        await connection.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"saa migration {component}",)
        )
        version = await _version(connection, database, component)
        if version > newest:
            raise ConfigurationError(
                f"the tables of {component!r} in {database.address.shown} have version {version}, "
                f"and this program knows only version {newest}",
                hint="upgrade super-advanced-agents, or use another schema with ?schema=NAME",
            )
        if version == 0:
            await _prepare(connection, database)
        for number in range(version + 1, newest + 1):
            for statement in steps[number]:
                await connection.execute(database.sql(statement))
        await connection.execute(
            database.sql(
                "INSERT INTO {schema}.migrations AS m (component, version) VALUES (%s, %s) "
                "ON CONFLICT (component) DO UPDATE SET version = excluded.version"
            ),
            (component, newest),
        )

    await database.write(upgrade)


async def _version(connection: Connection, database: Database, component: str) -> int:
    # Not `to_regclass`: its cache may still say that there is none after another process made it.
    cursor = await connection.execute(
        "SELECT 1 FROM pg_catalog.pg_tables WHERE schemaname = %s AND tablename = 'migrations'",
        (database.address.schema,),
    )
    if await cursor.fetchone() is None:
        return 0
    cursor = await connection.execute(
        database.sql("SELECT version FROM {schema}.migrations WHERE component = %s"),
        (component,),
    )
    row = await cursor.fetchone()
    return 0 if row is None else int(row[0])


async def _prepare(connection: Connection, database: Database) -> None:
    cursor = await connection.execute(
        "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = %s", (database.address.schema,)
    )
    if await cursor.fetchone() is None:  # a role that may not create schemas may have been given one
        await connection.execute(database.sql("CREATE SCHEMA {schema}"))
    await connection.execute(
        database.sql(
            "CREATE TABLE IF NOT EXISTS {schema}.migrations (component text PRIMARY KEY, version integer NOT NULL)"
        )
    )
