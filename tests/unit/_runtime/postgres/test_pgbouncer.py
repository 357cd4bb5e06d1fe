"""Tests of the state of servers and of jobs behind a real pgbouncer that pools transactions, and without one.

The contract suite of stores runs behind it, too (`tests/contract/test_postgres_stores.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from tests.pgbouncer import PROGRAM, pooled

from super_advanced_agents._runtime.postgres import Connection, Database, PostgresAddress
from super_advanced_agents.jobs.sql.database import Needs
from super_advanced_agents.jobs.sql.postgres import PostgresDatabase
from super_advanced_agents.server.auth.postgres_keys import PostgresKeyTable
from super_advanced_agents.tenancy.shared_state import SharedState


@pytest.fixture(scope="module")
def pooled_url(postgres_url: str) -> Iterator[str]:
    """Return the URL of a pgbouncer in front of the server."""
    if PROGRAM is None:
        pytest.skip("pgbouncer is not installed: apt-get install pgbouncer")
    with pooled(postgres_url) as url:
        yield url


async def _prepared(url: str) -> int:
    # Of the session of a connection that has executed one statement five times.
    database = Database(PostgresAddress.parse(url), connections=1)

    async def work(connection: Connection) -> int:
        for i in range(5):
            await connection.execute("SELECT %s::int", (i,))
        cursor = await connection.execute("SELECT count(*) FROM pg_prepared_statements", prepare=False)
        row = await cursor.fetchone()
        assert row is not None
        return int(row[0])

    try:
        return await database.read(work)
    finally:
        await asyncio.to_thread(database.close)


async def test_repeated_statements_are_prepared_by_the_server_itself(postgres_url: str) -> None:
    """So that their plans are made once."""
    assert await _prepared(postgres_url) == 1


async def test_nothing_is_prepared_behind_pgbouncer(pooled_url: str) -> None:
    """It is told by the number of the server's process, and needs no setting."""
    assert await _prepared(pooled_url) == 0


def test_state_of_servers_and_jobs_work_behind_pgbouncer(pooled_url: str, postgres_schema_url: str) -> None:
    """Their tables, locks and transactions leave nothing in a session."""
    url = f"{pooled_url}?schema={postgres_schema_url.rpartition('=')[2]}"
    with SharedState(url) as state:
        state.open()
        keys = PostgresKeyTable(state)
        made = keys.create(tenant="ann", scopes=["memories:read"])
        assert [record.id for record in keys.records()] == [made.id]
    for _ in range(2):
        jobs = PostgresDatabase(url)
        try:
            with jobs.transaction(Needs(alone=True)):
                assert jobs.execute("SELECT count(*) FROM jobs") == [(0,)]
        finally:
            jobs.close()
