"""Test `saa doctor` over PostgreSQL: one sentence and the next step for each fault of a store or the state."""

from __future__ import annotations

import numpy as np
import psycopg
import pytest
from tests.postgres import fresh_schema

from super_advanced_agents.jobs.sql.database import VERSION, steps
from super_advanced_agents.jobs.sql.postgres import PostgresDatabase
from super_advanced_agents.stores.postgres import PgVectorStore
from super_advanced_agents.tenancy.shared_state import SharedState

DIM = 384
_HEADER = (
    '{"format":"super-advanced-agents/export","dim":384,"metric":"cosine","vectors":true,"namespace":null,'
    '"created_at":1.0,"tenant":null,"version":2}\n'
)
"""An export without records."""


@pytest.fixture
def schema(postgres_url, monkeypatch):
    """Return the name of an empty schema, which `SAA_STORE` names."""
    with fresh_schema(postgres_url) as url:
        monkeypatch.setenv("SAA_STORE", url)
        yield url.rpartition("=")[2]


@pytest.fixture
def admin(postgres_url):
    """Return a connection to the server."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        yield connection


def _checks(saa, *names):
    report = saa.json("doctor", code=None)
    found = {check["name"]: check for check in report["checks"]}
    return [found.get(name) for name in names]


def _fill(url, **options):
    with PgVectorStore(url, DIM, **options) as store:
        store.add_batch(np.eye(3, DIM), [{"text": f"tea {i}"} for i in range(3)], namespace="n")


@pytest.fixture
def filled(schema, postgres_url):
    """Return the schema, with three records."""
    _fill(f"{postgres_url}{'&' if '?' in postgres_url else '?'}schema={schema}")
    return schema


def test_empty_and_filled_stores_are_in_order(saa, schema, postgres_url):
    """The first start makes the tables of an empty one."""
    [tables, state, rows] = _checks(saa, "store tables", "state tables", "rows")
    assert (tables["ok"], state["ok"], rows) == (True, True, None)
    assert "first start" in tables["detail"]
    _fill(f"{postgres_url}{'&' if '?' in postgres_url else '?'}schema={schema}")
    found = _checks(saa, "store database", "pgvector", "store tables", "rows", "expired rows", "dead rows", "indexes")
    assert all(check["ok"] for check in found)
    assert found[3]["detail"].startswith("3 records of 1 namespaces, 0 with a graph; dim 384, cosine, vector")


def test_store_of_another_dimension_than_the_model_is_a_fault(saa, schema, postgres_url, monkeypatch):
    """No command and no server opens it; with a model of its dimension, or one of a server, it is in order."""
    with PgVectorStore(f"{postgres_url}{'&' if '?' in postgres_url else '?'}schema={schema}", 3) as store:
        store.add([1, 2, 3])
    [rows] = _checks(saa, "rows")
    assert not rows["ok"]
    assert "384" in rows["detail"]
    assert "SAA_EMBEDDING_MODEL" in rows["hint"]
    monkeypatch.setenv("SAA_EMBEDDING_BASE_URL", "http://127.0.0.1:9/v1")
    [rows] = _checks(saa, "rows")
    assert rows["ok"]


@pytest.mark.parametrize(
    ("words", "step"),
    [(["export", "-"], "--url"), (["import", "all.jsonl"], "--url"), (["reembed"], "saa jobs submit")],
)
def test_command_that_works_on_folders_alone_names_what_works_on_a_database(saa, schema, tmp_path, words, step):
    """To unset the variable would have it work on other memories."""
    (tmp_path / "all.jsonl").write_text(_HEADER)
    result = saa(*[str(tmp_path / word) if word.endswith("jsonl") else word for word in words], code=2)
    assert "works on a store in a folder only" in result.stderr
    assert step in result.stderr


def test_server_that_cannot_be_reached_is_one_sentence(saa, monkeypatch):
    """The other checks go on."""
    monkeypatch.setenv("SAA_STORE", "postgresql://ann:s3cret@127.0.0.1:9/x")
    [store, state, python] = _checks(saa, "store database", "state database", "python")
    assert (store["ok"], state["ok"], python["ok"]) == (False, False, True)
    assert "cannot be reached" in store["detail"]
    assert store["hint"]
    assert "s3cret" not in str(store)


def test_store_that_only_reads_names_the_primary(saa, schema, postgres_url, monkeypatch, filled):
    """As a standby does."""
    mark = "&" if "?" in postgres_url else "?"
    url = f"{postgres_url}{mark}schema={schema}&options=-c%20default_transaction_read_only%3Don"
    monkeypatch.setenv("SAA_STORE", url)
    [database, rows] = _checks(saa, "store database", "rows")
    assert not database["ok"]
    assert "target_session_attrs" in database["hint"]
    assert rows["ok"]


def test_tables_of_a_newer_program_are_refused(saa, filled, admin):
    """Those that only have more than this program knows are not."""
    admin.execute(f"UPDATE {filled}.migrations SET version = 9".encode())
    [tables] = _checks(saa, "store tables")
    assert tables["ok"]
    admin.execute(f"UPDATE {filled}.migrations SET oldest = 9".encode())
    [tables] = _checks(saa, "store tables")
    assert (tables["ok"], tables["detail"]) == (False, "version 9, this program knows 1")
    assert "upgrade" in tables["hint"]


def test_expired_and_dead_rows_are_faults_when_nobody_removes_them(saa, filled, admin):
    """The hints name what does."""
    admin.execute(f"UPDATE {filled}.records SET expires_at = extract(epoch FROM now()) - 3600 WHERE uid < 'g'".encode())
    admin.execute(f"UPDATE {filled}.scopes SET expires = true".encode())
    [expired] = _checks(saa, "expired rows")
    assert not expired["ok"]
    assert "60 minutes" in expired["detail"]
    assert "start a server" in expired["hint"]
    admin.execute(f"ALTER TABLE {filled}.settings SET (autovacuum_enabled = off)".encode())
    with admin.transaction():
        admin.execute(f"INSERT INTO {filled}.settings SELECT i::text, '' FROM generate_series(1, 20000) i".encode())
        admin.execute(f"DELETE FROM {filled}.settings WHERE length(name) < 6 AND name ~ '^[0-9]'".encode())
    admin.execute("SELECT pg_stat_force_next_flush()")
    admin.execute("SELECT 1")
    [dead] = _checks(saa, "dead rows")
    assert not dead["ok"]
    assert "VACUUM" in dead["hint"]


def test_invalid_and_missing_indexes_are_named(saa, filled, admin):
    """The hint is the statement that repairs one."""
    admin.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s::regclass", (f"{filled}.records_seq",))
    [indexes] = _checks(saa, "indexes")
    assert "records_seq" in indexes["detail"]
    assert indexes["hint"] == f"REINDEX INDEX CONCURRENTLY {filled}.records_seq"
    admin.execute(f"DROP INDEX {filled}.records_seq".encode())
    [indexes] = _checks(saa, "indexes")
    assert indexes["detail"] == "missing: records_seq"


def test_vectors_of_another_model_are_a_fault(saa, filled, admin):
    """As are those of several."""
    admin.execute(f"UPDATE {filled}.scopes SET model = 'all-MiniLM-L6-v2:int8:x'".encode())
    [model] = _checks(saa, "embedding model")
    assert "all-MiniLM-L6-v2 int8 made the vectors" in model["detail"]
    admin.execute(f"INSERT INTO {filled}.scopes (tenant, namespace, model, rows) VALUES (1, 'x', 'other', 1)".encode())
    [model] = _checks(saa, "embedding model")
    assert not model["ok"]
    assert "saa reembed" in model["hint"]


def test_state_and_jobs_say_which_tables_are_missing(saa, schema, postgres_url, admin):
    """The first start makes all of them; one that somebody dropped later is named."""
    url = f"{postgres_url}{'&' if '?' in postgres_url else '?'}schema={schema}"
    found = _checks(saa, "state tables", "job tables")
    assert [check["detail"] for check in found] == ["none; the first start makes them"] * 2
    with SharedState(url) as state:
        state.open()
    PostgresDatabase(url).close()
    assert all(check["ok"] for check in _checks(saa, "state tables", "job tables"))
    admin.execute(f"DROP TABLE {schema}.job_steps, {schema}.server_secrets".encode())
    admin.execute(f"DROP INDEX {schema}.jobs_queued".encode())
    [state_check, jobs_check] = _checks(saa, "state tables", "job tables")
    assert (state_check["ok"], state_check["detail"]) == (False, "missing: server_secrets")
    assert (jobs_check["ok"], jobs_check["detail"]) == (False, "missing: jobs_queued, job_steps")
    assert "backup" in jobs_check["hint"]
    admin.execute(f"UPDATE {schema}.migrations SET version = 9, oldest = 9 WHERE component = 'jobs'".encode())
    [jobs_check] = _checks(saa, "job tables")
    assert (jobs_check["ok"], jobs_check["detail"]) == (False, f"version 9, this program knows {VERSION}")


def test_fix_upgrades_the_tables_of_jobs(saa, schema, postgres_url, admin):
    """As a start of the server would."""
    saa.json("doctor", "--fix", code=None)
    assert _checks(saa, "job tables")[0]["detail"] == f"version {VERSION}"
    admin.execute(f"SET search_path = {schema}".encode())
    tables = admin.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s AND tablename ^@ 'job'", (schema,))
    admin.execute(f"DROP TABLE {', '.join(name for (name,) in tables.fetchall())}".encode())
    for statement in steps("BYTEA")[1]:
        admin.execute(statement.encode())
    admin.execute("UPDATE migrations SET version = 1 WHERE component = 'jobs'")
    assert _checks(saa, "job tables")[0]["detail"] == "version 1, which the next start upgrades"
    saa.json("doctor", "--fix", code=None)
    assert _checks(saa, "job tables")[0]["detail"] == f"version {VERSION}"
