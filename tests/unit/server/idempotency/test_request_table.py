"""Test that the table of requests forgets old keys, keeps to its limits, and refuses damage."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import closing
from types import SimpleNamespace

import pytest
from tests.unit.server.idempotency.answering import ONE, TWO, Handler

from super_advanced_agents.errors import StoreError
from super_advanced_agents.server.idempotency import request_store
from super_advanced_agents.server.idempotency.request_store import IdempotencyKey, RequestTable, SaveReply, StartRequest
from super_advanced_agents.server.idempotency.results import Idempotency, Reply
from super_advanced_agents.tenancy.context import Access, Principal, RequestContext, active_context


async def test_damaged_request_database_refuses_writes_with_keys(file):
    """Without it, a write could be carried out twice."""
    await asyncio.to_thread(file.parent.mkdir)
    await asyncio.to_thread(file.write_bytes, b"no database" * 1_000)
    handler = Handler()
    async with Idempotency(file) as requests:
        with pytest.raises(StoreError):
            await requests.areply("k", ONE, handler)
    assert not handler.uids


def test_idempotency_key_is_free_and_its_row_deleted_after_a_day(file, monkeypatch):
    """A sweep deletes the rows and subtracts them from the tenant's size."""
    now, ticks = time.time(), time.monotonic()
    table = RequestTable(file, max_keys=10, max_bytes=1_000)
    key = IdempotencyKey(tenant="t", key="k")
    [first] = table.execute([StartRequest(key, ONE)])
    table.execute([SaveReply(key, first.id, Reply(status=200, body=b"x" * 600))])
    monkeypatch.setattr(time, "time", lambda: now + 86_399)
    assert table.execute([StartRequest(key, TWO)]) == [None]
    monkeypatch.setattr(time, "time", lambda: now + 86_402)
    [second] = table.execute([StartRequest(key, TWO)])
    assert second.seed != first.seed
    table.execute([StartRequest(IdempotencyKey(tenant="t", key="l"), ONE)])
    monkeypatch.setattr(time, "time", lambda: now + 3 * 86_400)
    # Only this module's: a timer that another thread sets by the real one would be due in three days.
    later = SimpleNamespace(time=time.time, monotonic=lambda: ticks + 3 * 86_400)
    monkeypatch.setattr(request_store, "time", later)
    table.execute([])
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT count(*) FROM requests").fetchone() == (0,)
    # With a size that still counted deleted rows, the first of these requests would be evicted and started anew.
    starts = [StartRequest(IdempotencyKey(tenant="t", key=f"new{n}"), ONE) for n in range(10)]
    started = table.execute(starts)
    table.execute([SaveReply(starts[-1].key, started[-1].id, Reply(status=200, body=b"x" * 900))])
    assert [each.id for each in table.execute(starts[:-1])] == [each.id for each in started[:-1]]
    table.close()


async def test_oldest_replies_of_a_tenant_are_evicted_beyond_its_limits(file):
    """Keys and bytes are limited, and no other tenant's replies are evicted."""
    async with Idempotency(file, max_keys=3, max_bytes=1_000) as requests:
        with active_context(RequestContext(principal=Principal(tenant="acme", scopes=frozenset(Access), key_id="x"))):
            await requests.areply("mine", ONE, Handler())
        for key in "abcd":
            await requests.areply(key, ONE, Handler())
        assert not (await requests.areply("a", ONE, Handler())).replayed
        assert (await requests.areply("d", ONE, Handler())).replayed

        async def long():
            return Reply(status=200, body=b"x" * 600)

        await requests.areply("e", ONE, long)
        await requests.areply("f", ONE, long)
        assert not (await requests.areply("e", ONE, long)).replayed
        with active_context(RequestContext(principal=Principal(tenant="acme", scopes=frozenset(Access), key_id="x"))):
            assert (await requests.areply("mine", ONE, Handler())).replayed
