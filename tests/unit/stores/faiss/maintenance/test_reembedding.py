"""Tests of re-embedding: every record gets a vector of the new model while reads and writes continue."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from tests.unit.stores.conftest import Internals, assert_same, brute_force, busy_writer, sealed

from super_advanced_agents import FAISSVectorStore
from super_advanced_agents.errors import (
    ConfigurationError,
    DimensionMismatchError,
    InvalidInputError,
    ResourceClosedError,
    StoreError,
)
from super_advanced_agents.stores.faiss.maintenance.inspection import settings_of
from super_advanced_agents.types import Matrix, Record, Vector

GRAPHS = {"index": "hnsw", "buffer_rows": 32}


class Model:
    """A model that makes vectors from digests of its name and a text.

    Attributes:
        batches: the sizes of the batches that it embedded.
        before: called with the number of each batch before it is embedded; a test waits or raises in it.
        refused: a text that it refuses to embed.
    """

    def __init__(self, model_id: str, dim: int) -> None:
        self.model_id = model_id
        self.dim = dim
        self.batches: list[int] = []
        self.before: Callable[[int], None] = lambda _: None
        self.refused = ""

    def embed(self, text: str) -> Vector:
        """Return the vector of one text."""
        seed = int.from_bytes(hashlib.blake2b(f"{self.model_id} {text}".encode(), digest_size=8).digest(), "big")
        return np.random.default_rng(seed).standard_normal(self.dim).astype(np.float32)

    def embed_batch(self, texts: Sequence[str]) -> Matrix:
        """Return the vectors of some texts."""
        self.before(len(self.batches))
        if self.refused in texts:
            where = f"texts[{list(texts).index(self.refused)}]"
            raise InvalidInputError(f"{where} is not to its taste", field=where)
        self.batches.append(len(texts))
        return np.array([self.embed(text) for text in texts])

    async def aembed_batch(self, texts: Sequence[str]) -> Matrix:
        """Return the vectors of some texts, for asyncio."""
        return self.embed_batch(texts)


OLD, NEW = Model("old", 16), Model("new", 8)


@pytest.fixture
def new() -> Model:
    """The model to which a store is changed."""
    return Model("new", 8)


def _fill(store: FAISSVectorStore, n: int, *, model: Model = OLD, namespace: str = "default", start: int = 0) -> None:
    for first in range(start, start + n, 500):
        numbers = range(first, min(first + 500, start + n))
        texts = [f"{['red', 'green', 'blue'][i % 3]} text {i}" for i in numbers]
        store.add_batch(
            model.embed_batch(texts),
            [{"text": text, "i": i} for text, i in zip(texts, numbers, strict=True)],
            [f"{i:06d}" for i in numbers],
            namespace=namespace,
            model_id=model.model_id,
            sessions=[f"s{i % 7}" for i in numbers],
        )


@pytest.fixture(params=[True, False], ids=["on disk", "in memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FAISSVectorStore]:
    """A store of 1,300 records in two namespaces, three pages of a re-embedding."""
    with FAISSVectorStore(16, tmp_path / "store" if request.param else None, **GRAPHS) as store:
        _fill(store, 1_000)
        _fill(store, 300, namespace="other")
        yield store


def _all(store: FAISSVectorStore) -> list[Record]:
    found: list[Record] = []
    while page := store.scan(after=found[-1].uid if found else None, limit=1_000):
        found += page
    return found


def _check(store: FAISSVectorStore, model: Model) -> None:
    """Assert that every record has the model's vector, and that searches use these vectors."""
    found = _all(store)
    for record in found:
        assert record.model_id == model.model_id
        np.testing.assert_array_equal(record.vector, model.embed(record.text or ""))
    assert store.dim == model.dim
    assert store.count() == len(found)
    for record in found[::97]:
        for namespace in (record.namespace, None):
            best = store.search(record.vector, 3, namespace=namespace)
            assert best[0].score == pytest.approx(1.0, abs=1e-5)
            assert best[0].metadata["text"] == record.text


def test_reembed_replaces_every_vector_and_no_other_field(store: FAISSVectorStore, new: Model) -> None:
    """A second call finds nothing to do."""
    before = _all(store)
    progress: list[tuple[int, int]] = []
    done = store.reembed(new, on_progress=lambda *now: progress.append(now))
    assert (done.records, done.embedded, done.dropped, done.model_id, done.dim) == (1_300, 1_300, 0, "new", 8)
    assert progress[-1][1] == 1_300
    _check(store, new)
    for one, other in zip(_all(store), before, strict=True):
        for field in ("uid", "namespace", "metadata", "session", "place", "created_at", "updated_at", "priority"):
            assert getattr(one, field) == getattr(other, field)
    assert sealed(store) >= 1
    _check(store, new)
    again = store.reembed(new)
    assert (again.records, again.embedded) == (1_300, 0)


def test_reembedded_store_returns_the_results_of_one_filled_with_the_new_model(new: Model) -> None:
    """Hybrid searches agree with and without a filter."""
    with FAISSVectorStore(16, index="flat") as store, FAISSVectorStore(8, index="flat") as fresh:
        for each, model in ((store, OLD), (fresh, new)):
            _fill(each, 1_000, model=model)
            _fill(each, 300, model=model, namespace="other")
        store.reembed(new)
        for text in ("red text 7", "blue text 12"):
            for where in (None, {"i": {"$lt": 40}}):
                ours = store.search_hybrid(new.embed(text), text, 10, where=where, namespace="default")
                theirs = fresh.search_hybrid(new.embed(text), text, 10, where=where, namespace="default")
                assert [match.uid for match in ours] == [match.uid for match in theirs]
                assert [match.score for match in ours] == pytest.approx([match.score for match in theirs], abs=1e-4)


def test_reembed_leaves_no_staging_table_and_frees_the_pages_of_old_vectors(tmp_path: Path, new: Model) -> None:
    """A table that a killed process left is dropped too."""
    with FAISSVectorStore(16, tmp_path / "store", index="flat") as store:
        _fill(store, 2_500)
        with closing(sqlite3.connect(tmp_path / "store" / "memory.sqlite3", isolation_level=None)) as connection:
            connection.execute("CREATE TABLE dropped_vectors (seq INTEGER PRIMARY KEY, vector BLOB NOT NULL)")
            store.reembed(new)
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            assert "records" in tables
            assert not {"staged_vectors", "dropped_vectors"} & tables
            [(free_pages,)] = connection.execute("PRAGMA freelist_count")
            assert free_pages > 10


def test_reembedded_store_refuses_the_old_dimension_also_after_reopening(tmp_path: Path, new: Model) -> None:
    """Queries, writes, openings and graphs of the old dimension are refused."""
    folder = tmp_path / "store"
    with FAISSVectorStore(16, folder, **GRAPHS) as store:
        _fill(store, 700)
        sealed(store)
        identity = settings_of(folder)["identity"]
    shutil.copytree(folder / "index", tmp_path / "old index")
    with FAISSVectorStore(16, folder, **GRAPHS) as store:
        store.reembed(new)
        with pytest.raises(DimensionMismatchError):
            store.search(OLD.embed("red text 7"))
        with pytest.raises(DimensionMismatchError):
            store.add(OLD.embed("red text 7"))
        store.add(new.embed("more"), {"text": "more"}, model_id="new")
    with pytest.raises(ConfigurationError, match="dim=8"):
        FAISSVectorStore(16, folder)
    shutil.rmtree(folder / "index", ignore_errors=True)
    shutil.copytree(tmp_path / "old index", folder / "index")
    with FAISSVectorStore(8, folder, **GRAPHS) as store:
        assert settings_of(folder)["identity"] != identity
        _check(store, new)
        assert store.count() == 701


def test_graphs_of_the_old_model_are_dropped_when_its_dimension_is_equal(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """They would lead a search to where the vectors were before."""
    folder, other = tmp_path / "store", Model("another", 16)
    with FAISSVectorStore(16, folder, **GRAPHS) as store:
        _fill(store, 700)
        sealed(store)
    shutil.copytree(folder / "index", tmp_path / "old index")
    with FAISSVectorStore(16, folder, index="flat") as store:  # which makes no graphs that would take their place
        store.reembed(other)
    shutil.rmtree(folder / "index", ignore_errors=True)
    shutil.copytree(tmp_path / "old index", folder / "index")
    with FAISSVectorStore(16, folder, **GRAPHS) as store:
        assert store.count() == 700
        assert "store.snapshot_ignored" in caplog.messages
        for text in ("red text 0", "green text 1"):
            assert_same(store.search(other.embed(text), 10), brute_force(store, other.embed(text), 10))


def test_reads_and_writes_continue_during_reembedding_and_are_in_its_result(
    store: FAISSVectorStore, new: Model
) -> None:
    """Searches use the old vectors until the switch; adds, replacements and deletions between pages count."""
    query = OLD.embed("green text 1")
    seen = 0

    def meanwhile(batch: int) -> None:
        nonlocal seen
        if threading.current_thread().name == "store writer":
            return  # the switch itself
        found = store.search(query, 5, where={"i": {"$gte": 900, "$lt": 1_000}})
        vectors = [OLD.embed(str(match.metadata["text"])) for match in found]
        cosines = [np.dot(query, each) / np.linalg.norm(query) / np.linalg.norm(each) for each in vectors]
        assert [match.score for match in found] == pytest.approx(cosines, abs=1e-5)
        assert len(found) == 5
        seen += 1
        _fill(store, 20, start=10_000 + 20 * batch)  # new ones
        _fill(store, 10, start=5 * batch)  # replaced ones, some of them staged already
        assert store.delete([f"{i:06d}" for i in range(700 + 10 * batch, 705 + 10 * batch)], namespace="default") == 5

    new.before = meanwhile
    done = store.reembed(new)
    assert seen >= 3
    assert done.records == store.count() == 1_300 + 15 * seen
    assert done.embedded > 1_300
    _check(store, new)
    assert store.get(["000700", "000703"], namespace="default") == []
    assert len(store.get(["010000", "010039"], namespace="default")) == 2


def test_searches_return_top_k_of_one_model_during_the_switch(tmp_path: Path, new: Model) -> None:
    """Each search uses either the old or the new vectors, in every namespace."""
    with FAISSVectorStore(16, tmp_path / "store", index="flat") as store:
        for i in range(10):
            _fill(store, 500, namespace=f"n{i}")
        stop = threading.Event()
        problems: list[str] = []
        counted = {"old": 0, "new": 0}

        def search(model: Model, others: type[Exception]) -> None:
            while not stop.is_set():
                for i in range(10):
                    try:
                        found = store.search(model.embed("red text 0"), 20, namespace=f"n{i}", where={"i": {"$gte": 0}})
                    except others:
                        continue
                    counted[model.model_id] += 1
                    if len(found) != 20 or (found[0].uid, round(found[0].score, 4)) != ("000000", 1.0):
                        problems.append(f"{model.model_id} in n{i}: {len(found)} {found[:1]}")

        threads = [threading.Thread(target=search, args=(model, DimensionMismatchError)) for model in (OLD, NEW)]
        for thread in threads:
            thread.start()
        store.reembed(new)
        before = counted["new"]
        while counted["new"] < before + 20 and not problems:
            pass
        stop.set()
        for thread in threads:
            thread.join()
        assert problems == []
        assert counted["old"]


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
    _check(store, new)
    assert store.count() == 1_300


@pytest.mark.parametrize("lasting", [True, False])
def test_repeated_reembedding_continues_an_interrupted_one(tmp_path: Path, new: Model, lasting: bool) -> None:
    """It continues with the same model, also after reopening, and starts anew with another one."""

    def fail(batch: int) -> None:
        if batch == 3:
            raise StoreError("broken off")

    with FAISSVectorStore(16, tmp_path / "store" if lasting else None) as store:
        _fill(store, 1_300)
        new.before = fail
        with pytest.raises(StoreError, match="broken off"):
            store.reembed(new)
        assert store.search(OLD.embed("red text 0"), 1)[0].uid == "000000"
        assert new.batches == [1, 512, 512]
        new.before = lambda _: None
        if not lasting:
            assert store.reembed(new).embedded == 276
            _check(store, new)
            return
    with FAISSVectorStore(16, tmp_path / "store") as store:
        _fill(store, 1, start=3)  # one of the staged is replaced
        assert store.reembed(new).embedded == 277
        _check(store, new)
        third = Model("third", 12)
        third.before = fail
        with pytest.raises(StoreError):
            store.reembed(third)
        other = Model("fourth", 12)
        assert store.reembed(other).embedded == 1_300
        _check(store, other)
        assert store.reembed(other).embedded == 0


def test_queued_write_of_the_old_dimension_is_refused_after_the_switch(tmp_path: Path, new: Model) -> None:
    """It was validated before the switch and is executed after it; later writes are accepted."""
    with FAISSVectorStore(16, tmp_path / "store") as store:
        _fill(store, 10)
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
    assert store.count() == n == len(_all(store))


def test_reembed_names_the_record_whose_text_the_model_refuses(store: FAISSVectorStore, new: Model) -> None:
    """The record is in the middle of a page or among the last few."""
    for i in (600, 1_290):
        new.refused = f"{['red', 'green', 'blue'][i % 3]} text {i}"
        if i >= 1_000:
            _fill(store, 1, start=i)
            store.delete([f"{i:06d}" for i in range(1_000)], namespace="default")
        with pytest.raises(InvalidInputError, match=f"'{i:06d}' is not to its taste"):
            store.reembed(new)
    new.refused = ""
    store.reembed(new)
    _check(store, new)


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
    await asyncio.to_thread(_check, store, new)


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
    before = _all(store)
    switch = "UPDATE scopes SET model"
    connection = Internals(store).connection
    connection.set_trace_callback(lambda sql: connection.interrupt() if switch in sql else None)
    with pytest.raises(StoreError):
        store.reembed(new)
    connection.set_trace_callback(None)
    for one, other in zip(_all(store), before, strict=True):
        assert (one.uid, one.model_id) == (other.uid, "old")
        np.testing.assert_array_equal(one.vector, other.vector)
    assert store.search(OLD.embed("red text 0"), 1)[0].uid == "000000"
    store.add(OLD.embed("a"), {"text": "a"}, model_id="old")
    with busy_writer(store):
        pass
    store.reembed(new)
    _check(store, new)
