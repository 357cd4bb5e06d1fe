"""Tests of migrations while programs of an earlier version run: they go on, and nothing that they use is taken away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest

from super_advanced_agents._runtime.postgres import Connection, Database, PostgresAddress, Step, migrate
from super_advanced_agents._runtime.postgres.migrations import tables_version
from super_advanced_agents.errors import ConfigurationError

_FIRST = Step(["CREATE TABLE {schema}.people (name text)", "INSERT INTO {schema}.people VALUES ('Ann')"])
_EXPAND = Step(
    [
        "ALTER TABLE {schema}.people ADD COLUMN full_name text",
        "UPDATE {schema}.people SET full_name = name",
    ]
)
_CONTRACT = Step(["ALTER TABLE {schema}.people DROP COLUMN name"], oldest=2)
_LATER = Step(["ALTER TABLE {schema}.people ADD COLUMN born integer"])

OLD = {1: _FIRST}
NEW = {1: _FIRST, 2: _EXPAND}
NEWER = {1: _FIRST, 2: _EXPAND, 3: _CONTRACT}
NEWEST = {1: _FIRST, 2: _EXPAND, 3: _CONTRACT, 4: _LATER}


@pytest.fixture
async def programs(postgres_schema_url: str) -> AsyncIterator[list[Database]]:
    """Return the databases of four programs over one schema."""
    found = [Database(PostgresAddress.parse(postgres_schema_url)) for _ in range(4)]
    yield found
    for database in found:
        await asyncio.to_thread(database.close)


async def _rows(database: Database, statement: str) -> list[tuple[object, ...]]:
    async def read(connection: Connection) -> list[tuple[object, ...]]:
        return await (await connection.execute(database.sql(statement))).fetchall()

    return await database.read(read)


async def _version(database: Database) -> tuple[int, int]:
    return await database.read(lambda connection: tables_version(connection, database, "test"))


async def test_old_program_works_and_restarts_beside_a_new_one(programs: list[Database]) -> None:
    """A step that adds leaves what the old program uses, so that it goes on and may be started again."""
    old, new, restarted, _ = programs
    await migrate(old, "test", OLD)
    await migrate(new, "test", NEW)
    assert await _version(new) == (2, 1)
    assert await _rows(old, "SELECT name FROM {schema}.people") == [("Ann",)]
    await migrate(restarted, "test", OLD)
    assert await _rows(restarted, "SELECT name FROM {schema}.people") == [("Ann",)]


async def test_contract_waits_until_no_old_program_runs(programs: list[Database]) -> None:
    """The newer program starts without it; the first start after the old one has stopped does it."""
    old, newer, again, late = programs
    await migrate(old, "test", OLD)
    await migrate(newer, "test", NEWER)
    assert await _version(newer) == (2, 1)
    assert await _rows(old, "SELECT name FROM {schema}.people") == [("Ann",)]
    await asyncio.to_thread(old.close)
    await migrate(again, "test", NEWER)
    assert await _version(again) == (3, 2)
    with pytest.raises(ConfigurationError, match=r"version 3.*only version 1.*upgrade") as caught:
        await migrate(late, "test", OLD)
    assert "schema=NAME" in str(caught.value.hint)
    await migrate(late, "test", NEW)  # which does without the column
    assert await _rows(late, "SELECT full_name FROM {schema}.people") == [("Ann",)]


async def test_step_behind_a_contract_is_refused_while_old_programs_run(programs: list[Database]) -> None:
    """Nothing is done, and the message says how many programs have to stop."""
    old, newest, after, _ = programs
    await migrate(old, "test", OLD)
    with pytest.raises(ConfigurationError, match="1 running programs of earlier versions"):
        await migrate(newest, "test", NEWEST)
    assert await _version(old) == (1, 1)
    await asyncio.to_thread(old.close)
    await migrate(after, "test", NEWEST)
    assert await _rows(after, "SELECT full_name, born FROM {schema}.people") == [("Ann", None)]


async def test_killed_program_counts_as_running_for_three_minutes(programs: list[Database], postgres_url: str) -> None:
    """Its row is of a process that did not say so since."""
    old, newer, again, _ = programs
    await migrate(old, "test", OLD)
    await migrate(newer, "test", NEWER)
    schema = old.address.schema
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(
            f"UPDATE {schema}.processes SET seen_at = now() - interval '4 minutes' WHERE version = 1".encode()
        )
    await migrate(again, "test", NEWER)
    assert await _version(again) == (3, 2)
