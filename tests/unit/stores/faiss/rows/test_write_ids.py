"""The ids of writes are as durable as the writes, and do not pile up."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from super_advanced_agents import FAISSVectorStore
from super_advanced_agents.errors import StoreError
from super_advanced_agents.stores.faiss.rows import write_ids
from super_advanced_agents.stores.faiss.rows.schema import SCHEMA
from super_advanced_agents.stores.faiss.rows.write_ids import WriteIds
from super_advanced_agents.stores.requests import AddRequest, Bounds
from super_advanced_agents.stores.wrappers.tenant_view import tenant_view

_REQUEST = AddRequest(bounds=Bounds(dim=4), vectors=np.eye(2, 4), uids=["a", "b"], write_id="w1")


def _execute(store, request):
    return asyncio.run(store.aexecute(request))


@pytest.fixture
def connection():
    """Yield a connection to a database in memory with the tables of a store."""
    import sqlite3

    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript(SCHEMA.tables)
    yield connection
    connection.close()


def _count(connection, tenant):
    return connection.execute("SELECT count(*) FROM writes WHERE tenant = ?", (tenant,)).fetchone()[0]


def test_write_is_known_after_the_store_was_opened_again(tmp_path):
    """A client may repeat its write while the server restarts."""
    with FAISSVectorStore(4, tmp_path) as store:
        _execute(store, _REQUEST)
        assert store.delete(["a"]) == 1
    with FAISSVectorStore(4, tmp_path) as store:
        assert _execute(store, _REQUEST) == ["a", "b"]
        assert [record.uid for record in store.scan()] == ["b"]


def test_same_id_of_another_tenant_is_another_write():
    """A client chooses its ids freely, so equal ones must not meet."""
    with FAISSVectorStore(4) as store:
        for tenant in ("acme", "globex"):
            assert _execute(tenant_view(store, tenant), _REQUEST) == ["a", "b"]
        assert store.count() == 4


def test_write_that_failed_is_carried_out_when_it_is_repeated(tmp_path, monkeypatch):
    """The id is in the transaction of the write, so it is rolled back with it."""
    with FAISSVectorStore(4, tmp_path) as store:
        store.add(np.ones(4), uid="first")

        def fail(*_):
            raise StoreError("the disk is full")

        with monkeypatch.context() as patch:
            patch.setattr(WriteIds, "store", fail)  # after the rows, before the commit
            with pytest.raises(StoreError):
                _execute(store, _REQUEST)
        assert store.count() == 1
        assert _execute(store, _REQUEST) == ["a", "b"]
        assert store.count() == 3


def test_oldest_writes_of_a_tenant_are_forgotten_beyond_a_number(connection, monkeypatch):
    """The writes of other tenants stay."""
    monkeypatch.setattr(write_ids, "MAX_WRITES", 1_500)
    ids = WriteIds(connection)
    ids.store("globex", "w", b"digest", ["a"], ["a"])
    for number in range(4_000):
        ids.store("acme", f"w{number}", b"digest", ["a"], ["a"])
    assert 1_500 <= _count(connection, "acme") <= 2_500
    assert ids.find("acme", "w3999", b"digest", ["a"]) == ["a"]
    assert ids.find("acme", "w0", b"digest", ["a"]) is None
    assert ids.find("globex", "w", b"digest", ["a"]) == ["a"]


def test_writes_are_forgotten_after_a_day(connection, monkeypatch):
    """No client repeats a call for longer, so they are of no use."""
    ids = WriteIds(connection)
    now = write_ids.time.time()
    monkeypatch.setattr(write_ids.time, "time", lambda: now - write_ids.RETENTION_S - 1)
    for number in range(500):
        ids.store("acme", f"old{number}", b"digest", ["a"], ["a"])
    monkeypatch.setattr(write_ids.time, "time", lambda: now)
    for number in range(500):
        ids.store("acme", f"new{number}", b"digest", ["a"], 1)
    ids = WriteIds(connection)  # of a new process, which may never write a thousand times
    ids.store("acme", "newest", b"digest", ["a"], 1)
    assert _count(connection, "acme") == 501
    assert ids.find("acme", "new7", b"digest", ["a"]) == 1


def test_write_of_an_older_schema_is_repeated_without_a_digest(connection):
    """Its digest was not stored, so that only its id can be compared."""
    ids = WriteIds(connection)
    ids.store("acme", "w", b"digest", ["a"], ["a"])
    connection.execute("UPDATE writes SET digest = NULL")
    assert ids.find("acme", "w", b"other", ["a"]) == ["a"]
