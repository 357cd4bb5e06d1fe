"""Tests of several clients and tenants of one collection, and of writes that were interrupted."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tests.unit.stores.milvus.conftest import DIM

from super_advanced_agents.errors import EngineUnavailableError, OverloadedError
from super_advanced_agents.stores import MilvusVectorStore
from super_advanced_agents.stores.milvus.engine.connection import MilvusConnection
from super_advanced_agents.stores.milvus.writing import write_ids
from super_advanced_agents.stores.requests import AddRequest, Bounds
from super_advanced_agents.stores.wrappers.tenant_view import tenant_view

ONE = np.ones(DIM)


def _add(*uids: str | None, write_id: str, dim: int = DIM) -> AddRequest:
    vectors = np.ones((len(uids), dim), np.float32)
    return AddRequest(bounds=Bounds(dim=dim), vectors=vectors, uids=uids, write_id=write_id)


def test_strong_reads_see_the_writes_of_another_client_at_once(store: MilvusVectorStore, collection_url: str):
    """Adds, updates and deletions, twenty times without a miss."""
    with MilvusVectorStore(f"{collection_url}?consistency=strong", DIM) as other:
        for i in range(20):
            store.add(ONE, {"n": i}, "a")
            assert [record.metadata["n"] for record in other.get(["a"])] == [i]
            if i % 2:
                store.delete(["a"])
                assert other.count() == 0


def test_other_clients_see_a_write_after_a_moment(store: MilvusVectorStore, collection_url: str):
    """The level Session waits for the client's own writes only."""
    with MilvusVectorStore(collection_url, DIM) as other:
        store.add(ONE, None, "a")
        deadline = time.monotonic() + 60
        while other.count() == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert [record.uid for record in other.scan()] == ["a"]
        assert other.update("a", {"by": "other"})
        assert other.delete(where={}) == 1  # which the store's own deletion might not see yet


def test_tenants_of_a_collection_see_nothing_of_each_other(store: MilvusVectorStore):
    """Equal uids, namespaces and sessions; keyword statistics are a tenant's own."""
    ann, bob = tenant_view(store, "ann"), tenant_view(store, "bob")
    for view in (ann, bob):
        view.add(ONE, {"text": f"tea of {view._tenant}"}, "a", namespace="n", session="s")  # type: ignore[attr-defined]
    alone = [match.score for match in ann.search_keywords("tea", namespace="n")]
    bob.add_batch([ONE] * 30, [{"text": f"tea {i}"} for i in range(30)], namespace="n", sessions=["s"] * 30)
    assert [match.score for match in ann.search_keywords("tea", namespace="n")] == alone
    assert [record.metadata["text"] for record in ann.get(["a"], namespace="n")] == ["tea of ann"]
    assert (ann.count(namespace="n"), bob.count(namespace="n")) == (1, 31)
    assert bob.delete(where={}, namespace="n") == 31
    assert ann.count(namespace="n") == 1
    assert ann.delete(where={}, namespace="n") == 1


def test_client_reads_its_own_writes_while_another_writes(store: MilvusVectorStore, collection_url: str):
    """Adds, replacements and deletions in tenants of its own and in a shared one, without a miss or a foreign row."""

    def work(own: MilvusVectorStore, name: str) -> None:
        alone, shared = tenant_view(own, name), tenant_view(own, "shared")
        for i in range(12):
            uids, metadata = [f"{name}{i}", f"{name}-last"], {"by": name, "n": i}
            for view in (alone, shared):
                view.add_batch(np.ones((2, DIM)), [metadata, metadata], uids, namespace="n")
                assert [each.metadata for each in view.get(uids, namespace="n")] == [metadata, metadata]
                assert view.delete([f"{name}{i}"], namespace="n") == 1
                assert view.count({"by": name}, namespace="n") == 1
            assert {match.metadata["by"] for match in alone.search(np.ones(DIM), 10, namespace="n")} == {name}

    with MilvusVectorStore(collection_url, DIM) as other, ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(work, own, name) for own, name in ((store, "ann"), (other, "bob"))]:
            future.result()
    for tenant in ("ann", "bob", "shared"):
        tenant_view(store, tenant).delete(where={}, namespace="n")


async def test_namespaces_are_listed_by_name(store: MilvusVectorStore):
    """More of them than are asked for, and none of which all records were deleted."""
    for name in ("c", "a", "b", "gone"):
        await store.aadd(ONE, None, namespace=name)
    await store.adelete(where={}, namespace="gone")
    assert await store.anamespaces() == ["a", "b", "c"]
    assert await store.anamespaces(limit=2) == ["a", "b"]


def test_repetition_after_a_crash_before_the_rows_stores_the_planned_uids(
    store: MilvusVectorStore, collection_url: str, monkeypatch
):
    """The id is stored before the rows, with the uids that the first try made."""

    def crash(self, tenant, columns, *, partition):
        raise EngineUnavailableError("the process was killed here")

    request = _add(None, "given", None, write_id="w1")
    with monkeypatch.context() as patched:
        patched.setattr(MilvusConnection, "upsert", crash)
        with pytest.raises(EngineUnavailableError):
            asyncio.run(store.aexecute(request))
    assert store.count() == 0
    with MilvusVectorStore(f"{collection_url}?consistency=strong", DIM) as other:
        first = asyncio.run(other.aexecute(request))
        assert first[1] == "given"
        assert sorted(record.uid for record in other.scan()) == sorted(first)
        assert asyncio.run(other.aexecute(request)) == first
        assert other.delete(where={}) == 3


def test_repetition_at_another_client_is_the_same_write(store: MilvusVectorStore, collection_url: str):
    """It gets the first result, also when the record is gone by then."""
    request = _add(None, None, write_id="w2")
    first = asyncio.run(store.aexecute(request))
    store.delete(first)
    with MilvusVectorStore(f"{collection_url}?consistency=strong", DIM) as other:
        assert asyncio.run(other.aexecute(request)) == first
        assert other.count() == 0


def test_write_that_only_the_server_remembers_is_found_at_once(store: MilvusVectorStore, monkeypatch):
    """The client keeps few ids, and a look for one that it forgot waits until the server shows it."""
    monkeypatch.setattr(write_ids, "_MAX_KNOWN", 0)
    known = write_ids.WriteIds(store._connection)
    for i in range(20):
        known.store("ann", f"w{i}", "digest", None, i, done=True)
        found = known.find("ann", f"w{i}", "digest", None)
        assert found is not None
        assert (found.result, found.done) == (i, True)


async def test_queue_of_writes_is_bounded(collection_url: str, milvus_url: str):
    """Further writes are refused at once, and the accepted ones are stored."""
    del milvus_url
    store = await asyncio.to_thread(MilvusVectorStore, collection_url, DIM, max_queued_records=50)
    async with store:
        writes = [store.aadd(ONE, None, f"u{i:03}") for i in range(300)]
        outcomes = await asyncio.gather(*writes, return_exceptions=True)
        refused = [outcome for outcome in outcomes if isinstance(outcome, OverloadedError)]
        stored = [outcome for outcome in outcomes if isinstance(outcome, str)]
        assert refused
        assert len(refused) + len(stored) == 300
        assert await store.acount() == len(stored)
        await store.adelete(where={})


def test_failed_call_of_a_group_of_writes_fails_all_of_them(store: MilvusVectorStore, monkeypatch):
    """None is acknowledged, and the next write works."""

    def fail(self, tenant, columns, *, partition):
        raise EngineUnavailableError("Milvus does not answer")

    writes = [
        store._writes.prepare(AddRequest(bounds=Bounds(dim=DIM), vectors=np.ones((1, DIM), np.float32), uids=[uid]))
        for uid in "abc"
    ]
    with monkeypatch.context() as patched:
        patched.setattr(MilvusConnection, "upsert", fail)
        outcomes = store._writes.write(writes)
        assert [type(outcome) for outcome in outcomes] == [EngineUnavailableError] * 3
    assert store.count() == 0
    store.add(ONE, None, "a")
    assert store.count() == 1
