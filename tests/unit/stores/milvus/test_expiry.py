"""Tests of the removal of expired records from Milvus, with and without writes that would do it."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
from tests.unit.stores.milvus.conftest import DIM

from super_advanced_agents.stores import MilvusVectorStore
from super_advanced_agents.stores.milvus.writing import expiry
from super_advanced_agents.stores.wrappers.tenant_view import tenant_view
from super_advanced_agents.telemetry import counter

ONE = np.ones(DIM)
_EXPIRED = counter("store_records_expired")


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _rows(store: MilvusVectorStore) -> int:
    return store._table.count(None, 'pk != ""')


def test_expired_records_are_removed_without_another_write(
    monkeypatch: pytest.MonkeyPatch, store: MilvusVectorStore, collection_url: str
) -> None:
    """Those of all tenants go, in several calls, and are counted; the others stay."""
    monkeypatch.setattr(expiry, "INTERVAL_S", 0.2)
    monkeypatch.setattr(expiry, "_ROWS", 20)
    counted = _EXPIRED.value
    with MilvusVectorStore(collection_url, DIM) as sweeping:
        for tenant in ("ann", "bob"):
            view = tenant_view(sweeping, tenant)
            view.add_batch([ONE] * 30, expires_in_s=[0.5] * 30, sessions=["s"] * 30)
            view.add(ONE, {"text": "tea"}, "kept", session="s")
        _until(lambda: _rows(sweeping) == 2)
        _until(lambda: _EXPIRED.value - counted >= 60)
        assert _EXPIRED.value - counted == 60
        for tenant in ("ann", "bob"):
            view = tenant_view(sweeping, tenant)
            assert [record.uid for record in view.scan(namespace="default")] == ["kept"]
            view.delete(["kept"], namespace="default")


def test_nothing_is_removed_that_only_one_reading_of_the_clock_calls_expired(
    monkeypatch: pytest.MonkeyPatch, store: MilvusVectorStore
) -> None:
    """The clock may have been ahead for a moment."""
    monkeypatch.setattr(expiry, "_ROWS", 20)
    store.add(ONE, None, "a", expires_in_s=3_600)
    monkeypatch.setattr(store._table.clock, "now", lambda: time.time() + 7_200)
    store._sweeper._sweep(store._table.clock.now())
    assert _rows(store) == 1
