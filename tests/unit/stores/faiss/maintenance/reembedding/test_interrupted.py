"""Tests of re-embeddings that are refused, break off, are cancelled or cannot be committed."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import numpy as np
import pytest
from tests.unit.stores.conftest import Internals, busy_writer
from tests.unit.stores.faiss.maintenance.reembedding.conftest import OLD, Model, all_records, check_model, fill

from super_advanced_agents import FAISSVectorStore
from super_advanced_agents.errors import DimensionMismatchError, InvalidInputError, ResourceClosedError, StoreError
from super_advanced_agents.types import Vector


def test_reembed_refuses_or_drops_records_without_text(store: FAISSVectorStore, new: Model) -> None:
    """Their number is reported before a text is embedded, and also when they are added meanwhile."""
    store.add_batch(OLD.embed_batch(["a", "b"]), [{"i": -1}, None], ["bare", "bare too"], sessions=["s1", None])
    with pytest.raises(StoreError, match="2 records have a vector and no text"):
        store.reembed(new)
    assert new.batches == [1]
    store.delete(["bare", "bare too"])

    def add_one(batch: int) -> None:
        if batch == 2:
            store.add(OLD.embed("a"), None, "bare")

    new.before = add_one
    with pytest.raises(StoreError, match="1 records"):
        store.reembed(new)
    assert store.search(OLD.embed("red text 0"), 1)[0].uid == "000000"
    done = store.reembed(new, drop_bare=True)
    assert (done.records, done.dropped) == (1_300, 1)
    assert store.get(["bare"]) == []
    check_model(store, new)
    assert store.count() == 1_300


@pytest.mark.parametrize("lasting", [True, False])
def test_repeated_reembedding_continues_an_interrupted_one(tmp_path: Path, new: Model, lasting: bool) -> None:
    """It continues with the same model, also after reopening, and starts anew with another one."""

    def fail(batch: int) -> None:
        if batch == 3:
            raise StoreError("broken off")

    with FAISSVectorStore(16, tmp_path / "store" if lasting else None) as store:
        fill(store, 1_300)
        new.before = fail
        with pytest.raises(StoreError, match="broken off"):
            store.reembed(new)
        assert store.search(OLD.embed("red text 0"), 1)[0].uid == "000000"
        assert new.batches == [1, 512, 512]
        new.before = lambda _: None
        if not lasting:
            assert store.reembed(new).embedded == 276
            check_model(store, new)
            return
    with FAISSVectorStore(16, tmp_path / "store") as store:
        fill(store, 1, start=3)  # one of the staged is replaced
        assert store.reembed(new).embedded == 277
        check_model(store, new)
        third = Model("third", 12)
        third.before = fail
        with pytest.raises(StoreError):
            store.reembed(third)
        other = Model("fourth", 12)
        assert store.reembed(other).embedded == 1_300
        check_model(store, other)
        assert store.reembed(other).embedded == 0


def test_queued_write_of_the_old_dimension_is_refused_after_the_switch(tmp_path: Path, new: Model) -> None:
    """It was validated before the switch and is executed after it; later writes are accepted."""
    with FAISSVectorStore(16, tmp_path / "store") as store:
        fill(store, 10)
        outcomes: list[object] = []

        def write(vector: Vector) -> None:
            try:
                outcomes.append(store.add(vector, {"text": "late"}, "late"))
            except DimensionMismatchError as exc:
                outcomes.append(exc)

        late = threading.Thread(target=write, args=(OLD.embed("late"),))

        def hold(batch: int) -> None:
            if threading.current_thread().name == "store writer":
                late.start()
                while not Internals(store).writer.queued_cost:
                    late.join(0.001)

        new.before = hold
        store.reembed(new)
        late.join()
        assert isinstance(outcomes[0], DimensionMismatchError)
        write(new.embed("late"))
        assert outcomes[1] == "late"
        _check_count(store, 11)


def _check_count(store: FAISSVectorStore, n: int) -> None:
    assert store.count() == n == len(all_records(store))


def test_reembed_names_the_record_whose_text_the_model_refuses(store: FAISSVectorStore, new: Model) -> None:
    """The record is in the middle of a page or among the last few."""
    for i in (600, 1_290):
        new.refused = f"{['red', 'green', 'blue'][i % 3]} text {i}"
        if i >= 1_000:
            fill(store, 1, start=i)
            store.delete([f"{i:06d}" for i in range(1_000)], namespace="default")
        with pytest.raises(InvalidInputError, match=f"'{i:06d}' is not to its taste"):
            store.reembed(new)
    new.refused = ""
    store.reembed(new)
    check_model(store, new)


async def test_cancelled_reembedding_leaves_the_store_as_it_was(store: FAISSVectorStore, new: Model) -> None:
    """A second call at the same time is refused, and a later one continues from there."""
    begun = asyncio.Event()

    def tell(batch: int) -> None:
        if batch == 2:
            begun.set()

    new.before = tell
    task = asyncio.ensure_future(store.areembed(new))
    await begun.wait()
    with pytest.raises(StoreError, match="already"):
        await store.areembed(new)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await store.asearch(OLD.embed("red text 0"), 1))[0].uid == "000000"
    done = await store.areembed(new)
    assert done.records == 1_300
    assert done.embedded < 1_300
    await asyncio.to_thread(check_model, store, new)


def test_reembed_raises_when_the_store_is_closed(store: FAISSVectorStore, new: Model) -> None:
    """Its caller gets ResourceClosedError."""

    def close(batch: int) -> None:
        if batch == 2:
            store.close()

    new.before = close
    with pytest.raises(ResourceClosedError):
        store.reembed(new)


def test_reembed_changes_nothing_when_the_switch_cannot_be_committed(store: FAISSVectorStore, new: Model) -> None:
    """The old vectors stay in the table and in searches."""
    before = all_records(store)
    switch = "UPDATE scopes SET model"
    connection = Internals(store).connection
    connection.set_trace_callback(lambda sql: connection.interrupt() if switch in sql else None)
    with pytest.raises(StoreError):
        store.reembed(new)
    connection.set_trace_callback(None)
    for one, other in zip(all_records(store), before, strict=True):
        assert (one.uid, one.model_id) == (other.uid, "old")
        np.testing.assert_array_equal(one.vector, other.vector)
    assert store.search(OLD.embed("red text 0"), 1)[0].uid == "000000"
    store.add(OLD.embed("a"), {"text": "a"}, model_id="old")
    with busy_writer(store):
        pass
    store.reembed(new)
    check_model(store, new)
