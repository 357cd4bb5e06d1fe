"""Tests of the removal of expired records from PostgreSQL without writes that would do it."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import psycopg
import pytest

from super_advanced_agents._runtime.concurrency.sync_bridge import run_sync
from super_advanced_agents.stores.postgres import PgVectorStore
from super_advanced_agents.stores.postgres.writing import sweeper
from super_advanced_agents.stores.requests import AddRequest, Bounds
from super_advanced_agents.stores.wrappers.tenant_view import tenant_view
from super_advanced_agents.telemetry import counter

DIM = 4
_EXPIRED = counter("store_records_expired")


@pytest.fixture(autouse=True)
def _sweeps_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeper, "INTERVAL_S", 0.05)
    monkeypatch.setattr(sweeper, "_SCOPES", 2)


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _expire_all(url: str, schema_url: str) -> None:
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(f"UPDATE {schema_url.rpartition('=')[2]}.records SET expires_at = 1 WHERE NOT expires_at IS NULL")


def test_expired_records_are_removed_without_another_write(postgres_url: str, postgres_schema_url: str) -> None:
    """Those of all tenants and namespaces go, in batches, with their postings; the others stay."""
    counted = _EXPIRED.value
    with PgVectorStore(postgres_schema_url, DIM) as store:
        for tenant in ("ann", "bob", "eve"):
            view = tenant_view(store, tenant)
            texts = [{"text": f"tea {i}"} for i in range(1, 301)]
            for namespace in ("a", "b"):
                view.add_batch(np.ones((300, DIM)), texts, expires_in_s=[3_600] * 300, namespace=namespace)
            view.add(np.ones(DIM), {"text": "tea for ever"}, "kept", namespace="a")
        assert store.stats()["rows"] == 1_803
        _expire_all(postgres_url, postgres_schema_url)
        _until(lambda: store.stats()["rows"] == 3)
        _until(lambda: _EXPIRED.value - counted >= 1_800)
        assert _EXPIRED.value - counted == 1_800
        assert store.stats()["expired"] == 0
        [found] = tenant_view(store, "bob").search_keywords("tea", namespace="a")
        assert found.uid == "kept"
    with psycopg.connect(postgres_url) as admin:
        schema = postgres_schema_url.rpartition("=")[2]
        assert admin.execute(f"SELECT count(*) FROM {schema}.entries".encode()).fetchone() == (3,)


def test_nothing_is_removed_while_another_process_sweeps(postgres_url: str, postgres_schema_url: str) -> None:
    """It holds the lock; what is left is removed when it has ended."""
    schema = postgres_schema_url.rpartition("=")[2]
    with PgVectorStore(postgres_schema_url, DIM) as store, psycopg.connect(postgres_url) as other:
        other.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"saa expiry {schema}",))
        store.add(np.ones(DIM), expires_in_s=3_600)
        _expire_all(postgres_url, postgres_schema_url)
        time.sleep(0.5)  # ten sweeps
        assert store.stats()["rows"] == 1
        other.rollback()
        _until(lambda: store.stats()["rows"] == 0)


def test_writes_that_nobody_repeats_are_forgotten(postgres_url: str, postgres_schema_url: str) -> None:
    """A write older than a day goes without a further write; a younger one stays."""
    schema = postgres_schema_url.rpartition("=")[2]
    with PgVectorStore(postgres_schema_url, DIM) as store, psycopg.connect(postgres_url, autocommit=True) as admin:
        store.count()
        admin.execute(
            f"INSERT INTO {schema}.writes SELECT '', id, extract(epoch FROM now()) - age, ''::bytea "
            f"FROM (VALUES ('old', 90000), ('young', 3600)) AS w(id, age)".encode()
        )
        left = f"SELECT write_id FROM {schema}.writes".encode()
        _until(lambda: admin.execute(left).fetchall() == [("young",)])


def test_records_that_a_write_removes_are_counted_once(
    monkeypatch: pytest.MonkeyPatch, postgres_url: str, postgres_schema_url: str
) -> None:
    """A repetition of the write, which changes nothing, counts none."""
    monkeypatch.setattr(sweeper, "INTERVAL_S", 3_600)
    with PgVectorStore(postgres_schema_url, DIM) as store:
        store.add_batch(np.ones((3, DIM)), expires_in_s=[3_600] * 3)
        _expire_all(postgres_url, postgres_schema_url)
        counted, vectors = _EXPIRED.value, np.ones((1, DIM), np.float32)
        request = AddRequest(bounds=Bounds(dim=DIM), vectors=vectors, write_id="once")
        for _ in range(2):
            run_sync(store.aexecute(request))
        assert _EXPIRED.value - counted == 3
        assert store.stats()["rows"] == 1
