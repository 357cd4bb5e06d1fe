"""Tests of the pool of connections, of transactions and of errors, on a real PostgreSQL server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import psycopg
import pytest

from super_advanced_agents._runtime.concurrency.sync_bridge import run_sync
from super_advanced_agents._runtime.postgres import Connection, Database, PostgresAddress, Step, migrate
from super_advanced_agents.errors import (
    ConfigurationError,
    DeadlineExceededError,
    EngineUnavailableError,
    OverloadedError,
    ResourceClosedError,
    StoreFullError,
)


@pytest.fixture
def database(postgres_schema_url: str) -> Iterator[Database]:
    """Return a database with a schema of its own and two connections."""
    found = Database(PostgresAddress.parse(postgres_schema_url), connections=2, max_waiting=3)
    yield found
    found.close()


async def _one(connection: Connection) -> int:
    cursor = await connection.execute("SELECT 1")
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def _sleep(connection: Connection) -> int:
    await connection.execute("SELECT pg_sleep(60)")
    return 0


async def _backend(connection: Connection) -> int:
    return connection.info.backend_pid


async def test_reads_work_in_event_loops_and_in_threads(database: Database) -> None:
    """The same coroutine is awaited by a loop or driven by a blocking call."""
    assert await database.read(_one) == 1
    assert await asyncio.to_thread(lambda: run_sync(database.read(_one))) == 1


async def test_callers_past_the_bound_are_refused(database: Database) -> None:
    """Two run, three wait, the sixth gets `OverloadedError` at once; cancelling stops the server's work."""
    calls = [asyncio.ensure_future(database.read(_sleep)) for _ in range(6)]
    refused, others = await asyncio.wait(calls, return_when=asyncio.FIRST_EXCEPTION)
    assert [type(call.exception()) for call in refused] == [OverloadedError]
    for call in others:
        call.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    assert await database.read(_one) == 1


async def test_work_that_takes_too_long_is_stopped(database: Database) -> None:
    """The caller gets `DeadlineExceededError`, and the connection is free again."""
    with pytest.raises(DeadlineExceededError):
        await database.read(_sleep, seconds=0.2)
    assert await database.read(_one) == 1


async def test_a_commit_is_told_once_and_nothing_else(database: Database) -> None:
    """Not a transaction that fails; one that is repeated after a conflict tells its last result."""
    told: list[int] = []
    attempts = 0

    async def conflict(connection: Connection) -> int:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            await connection.execute("DO $$ BEGIN RAISE SQLSTATE '40P01'; END $$")
        return attempts

    async def fail(connection: Connection) -> int:
        await connection.execute("SELECT 1")
        raise ZeroDivisionError

    assert await database.write(conflict, committed=told.append) == 2
    with pytest.raises(ZeroDivisionError):
        await database.write(fail, committed=told.append)
    assert told == [2]


async def test_transactions_are_all_or_nothing(database: Database) -> None:
    """A write whose work raises leaves nothing behind."""
    await migrate(database, "test", {1: Step(["CREATE TABLE {schema}.t (n integer)"])})

    async def insert(connection: Connection, *, fails: bool) -> int:
        await connection.execute(database.sql("INSERT INTO {schema}.t VALUES (1)"))
        if fails:
            raise ZeroDivisionError
        return 1

    async def count(connection: Connection) -> int:
        row = await (await connection.execute(database.sql("SELECT count(*) FROM {schema}.t"))).fetchone()
        assert row is not None
        return int(row[0])

    with pytest.raises(ZeroDivisionError):
        await database.write(lambda connection: insert(connection, fails=True))
    assert await database.read(count) == 0
    await database.write(lambda connection: insert(connection, fails=False))
    assert await database.read(count) == 1


async def test_cut_connections_are_replaced(database: Database, postgres_url: str) -> None:
    """A call after the server ended an idle connection gets another one, without an error."""
    pid = await database.read(_backend)
    async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as admin:
        await admin.execute("SELECT pg_terminate_backend(%s)", (pid,))
    assert await database.read(_one) == 1
    assert await database.read(_backend) != pid


async def test_unreachable_server_is_one_typed_error(postgres_url: str) -> None:
    """It names the database and the next step, and is retryable."""
    database = Database(PostgresAddress.parse("postgresql://ann:secret@127.0.0.1:1/db"))
    with pytest.raises(EngineUnavailableError, match=r"ann@127.0.0.1:1/db cannot be reached") as caught:
        await database.read(_one)
    assert caught.value.retryable
    assert "secret" not in str(caught.value)
    await asyncio.to_thread(database.close)
    with pytest.raises(ResourceClosedError):
        await database.read(_one)


async def test_missing_database_is_named(postgres_url: str) -> None:
    """A database that does not exist is a wrong setting, not a failure."""
    database = Database(PostgresAddress.parse(postgres_url.replace("/postgres?", "/nobody?")))
    with pytest.raises(ConfigurationError, match="does not exist"):
        await database.read(_one)
    await asyncio.to_thread(database.close)


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("SELECT raise('53100')", StoreFullError),
        ("SELECT raise('57014')", DeadlineExceededError),
        ("SELECT raise('25006')", EngineUnavailableError),
        ("SELECT raise('53300')", EngineUnavailableError),
        ("SELECT raise('42501')", ConfigurationError),
    ],
)
async def test_codes_of_the_server_become_typed_errors(database: Database, statement: str, kind: type) -> None:
    """A full disk, a timeout, a standby, too many connections and missing rights each say the next step."""

    async def fail(connection: Connection) -> None:
        async with connection.transaction():
            await connection.execute(
                "CREATE FUNCTION pg_temp.raise(code text) RETURNS void LANGUAGE plpgsql "
                "AS $$ BEGIN RAISE EXCEPTION SQLSTATE '00000'; END $$".replace("'00000'", statement[13:20])
            )
            await connection.execute("SELECT pg_temp.raise('')")

    with pytest.raises(kind) as caught:
        await database.read(fail)
    assert caught.value.hint  # type: ignore[attr-defined]


async def test_concurrent_migrations_run_once(postgres_schema_url: str) -> None:
    """Several openers of an empty schema create its tables once."""
    databases = [Database(PostgresAddress.parse(postgres_schema_url)) for _ in range(4)]
    steps = {1: Step(["CREATE TABLE {schema}.a (n integer)", "INSERT INTO {schema}.a VALUES (1)"])}
    await asyncio.gather(*(migrate(database, "test", steps) for database in databases))
    for database in databases:
        await asyncio.to_thread(database.close)
