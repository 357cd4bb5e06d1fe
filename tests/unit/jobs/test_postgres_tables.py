"""Tests of the tables of jobs in PostgreSQL: made once, brought up to date, and refused when they are too new."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from super_advanced_agents._runtime.concurrency.sync_bridge import run_sync
from super_advanced_agents._runtime.postgres import Database, PostgresAddress, running_versions, tables_version
from super_advanced_agents.errors import ConfigurationError
from super_advanced_agents.jobs.sql.database import READ, VERSION, steps
from super_advanced_agents.jobs.sql.postgres import COMPONENT, PostgresDatabase


@pytest.fixture
def schema(postgres_schema_url: str) -> str:
    """Return the name of the empty schema."""
    return postgres_schema_url.rpartition("=")[2]


def _count(jobs: PostgresDatabase) -> int:
    with jobs.transaction(READ):
        [[count]] = jobs.execute("SELECT count(*) FROM jobs")
    return int(count)


def test_programs_that_start_at_once_make_the_tables_once(postgres_schema_url: str) -> None:
    """Each of them can use the tables, and the version is the newest."""
    with ThreadPoolExecutor(4) as threads:
        opened = list(threads.map(PostgresDatabase, [postgres_schema_url] * 4))
    try:
        assert [_count(jobs) for jobs in opened] == [0] * 4
        database = Database(PostgresAddress.parse(postgres_schema_url))
        found = run_sync(database.read(lambda connection: tables_version(connection, database, COMPONENT)))
        database.close()
        assert found == (VERSION, 1)
    finally:
        for jobs in opened:
            jobs.close()


def test_newer_tables_are_refused_and_left_alone(postgres_schema_url: str, postgres_url: str, schema: str) -> None:
    """One sentence names the database and both versions; tables that only have more are used."""
    PostgresDatabase(postgres_schema_url).close()
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f"UPDATE {schema}.migrations SET version = 9 WHERE component = 'jobs'".encode())
        PostgresDatabase(postgres_schema_url).close()
        admin.execute(f"UPDATE {schema}.migrations SET oldest = 9 WHERE component = 'jobs'".encode())
        with pytest.raises(ConfigurationError, match=rf"'jobs' .* have version 9, .* only version {VERSION}"):
            PostgresDatabase(postgres_schema_url)
        assert admin.execute(f"SELECT version FROM {schema}.migrations".encode()).fetchall() == [(9,)]


def test_program_with_jobs_is_known_to_run_until_it_closes(postgres_schema_url: str) -> None:
    """So that a newer program takes nothing away that it uses."""
    database = Database(PostgresAddress.parse(postgres_schema_url))

    def running() -> list[int]:
        return run_sync(database.read(lambda connection: running_versions(connection, database, COMPONENT)))

    try:
        jobs = PostgresDatabase(postgres_schema_url)
        assert running() == [VERSION]
        jobs.close()
        assert running() == []
    finally:
        database.close()


@pytest.mark.parametrize("version", [1, 2])
def test_tables_of_programs_with_a_version_table_of_their_own_are_adopted(
    postgres_schema_url: str, postgres_url: str, schema: str, version: int
) -> None:
    """Their jobs stay, and only the steps that they lack are taken."""
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f'CREATE SCHEMA "{schema}"'.encode())
        admin.execute(f'SET search_path = "{schema}"'.encode())
        for number in range(1, version + 1):
            for statement in steps("BYTEA")[number]:
                admin.execute(statement.encode())
        admin.execute("INSERT INTO job_workers VALUES ('w', 7, '', '')")
        admin.execute("CREATE TABLE job_version (number BIGINT NOT NULL)")
        admin.execute("INSERT INTO job_version VALUES (%s)", (version,))
    for _ in range(2):
        jobs = PostgresDatabase(postgres_schema_url)
        try:
            with jobs.transaction(READ):
                assert jobs.execute("SELECT beat FROM job_workers") == [(7,)]
                assert (
                    jobs.execute("SELECT upload, trace FROM jobs") == jobs.execute("SELECT id FROM job_uploads") == []
                )
        finally:
            jobs.close()
