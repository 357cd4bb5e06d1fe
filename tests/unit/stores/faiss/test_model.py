"""Tests of a store against a dict and brute force: random operations, restarts, kills and clock jumps."""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.unit.stores.conftest import Internals

from super_advanced_agents import FAISSVectorStore
from super_advanced_agents._runtime import clock
from super_advanced_agents.stores.filters import matches, parse
from super_advanced_agents.types import Metadata, Record, Vector

DIM = 8
UIDS = st.sampled_from(["a", "b", "c", "d\u00e9", "e", "zz"])
NAMESPACES = st.sampled_from(["default", "one", "two"])
METADATA = st.fixed_dictionaries(
    {"n": st.integers(0, 5)},
    optional={"type": st.sampled_from(["fact", "note"]), "tags": st.lists(st.sampled_from("xyz"), max_size=2)},
)
WHERE = st.sampled_from(
    [
        {},
        {"n": 3},
        {"n": {"$gte": 2}},
        {"type": "fact"},
        {"type": {"$ne": "fact"}},
        {"tags": {"$contains": "x"}},
        {"$or": [{"n": {"$lt": 1}}, {"type": {"$exists": False}}]},
        {"nobody": 1},
    ]
)


@dataclass
class _Stored:
    vector: Vector
    metadata: Metadata
    expires_at: float | None
    created_at: set[float]  # two values when it replaced an expired record, which may have been swept already


class _Machine(RuleBasedStateMachine):
    options: ClassVar[dict[str, Any]]
    durable: ClassVar[bool]
    exact: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_700_000_000.0
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(time, "time", lambda: self.now)
        self.passed = 0.0
        self.patch.setattr(clock, "time", SimpleNamespace(time=lambda: self.now, monotonic=lambda: self.passed))
        self.lives = count()
        self.folder = Path(tempfile.mkdtemp())
        self.store_folder = self.folder / "0"
        self.stored: dict[tuple[str, str], _Stored] = {}
        self.last_made = ""
        self.store = self._opened()

    def _opened(self) -> FAISSVectorStore:
        return FAISSVectorStore(DIM, self.store_folder if self.durable else None, **self.options)

    def teardown(self) -> None:
        self.store.close()
        self.patch.undo()
        shutil.rmtree(self.folder)

    def _visible(self, namespace: str | None, where: dict[str, Any] | None) -> dict[tuple[str, str], _Stored]:
        tree = parse(where or {})
        return {
            (uid, space): record
            for (uid, space), record in self.stored.items()
            if (namespace is None or space == namespace)
            and not self._expired(record)
            and matches(tree, record.metadata)
        }

    def _expired(self, record: _Stored) -> bool:
        return record.expires_at is not None and record.expires_at <= self._store_time()

    def _store_time(self) -> float:
        # The clock by which records expire; it goes back at most when the store is opened again.
        seen = Internals(self.store).rows.clock.now()
        assert seen >= self.now
        return seen

    def _same(self, records: list[Record], expected: dict[tuple[str, str], _Stored]) -> None:
        assert [(record.uid, record.namespace) for record in records] == sorted(expected)
        for record in records:
            stored = expected[record.uid, record.namespace]
            np.testing.assert_array_equal(record.vector, stored.vector)
            assert record.metadata == stored.metadata
            assert record.expires_at == stored.expires_at
            assert record.created_at in stored.created_at

    def _add(self, seed: int, uids: list[str | None], namespace: str, data: st.DataObject) -> None:
        vectors = np.random.default_rng(seed).standard_normal((len(uids), DIM)).astype(np.float32)
        metadatas = [data.draw(METADATA) for _ in uids]
        lifetimes = [data.draw(st.sampled_from([None, None, None, 5.0, 100.0])) for _ in uids]
        named = self.store.add_batch(vectors, metadatas, uids, namespace=namespace, expires_in_s=lifetimes)
        for i, uid in enumerate(named):
            assert uids[i] in (None, uid)
            if uids[i] is None:
                assert uid > self.last_made
                self.last_made = uid
        whole = list(zip(named, vectors, metadatas, lifetimes, strict=True))
        before = {uid: self.stored[uid, namespace] for uid in named if (uid, namespace) in self.stored}
        for uid, vector, metadata, lifetime in whole:
            expires_at = None if lifetime is None else self._store_time() + lifetime
            old = before.get(uid)
            created_at = {self.now} if old is None else old.created_at | ({self.now} if self._expired(old) else set())
            self.stored[uid, namespace] = _Stored(vector, metadata, expires_at, created_at)

    @initialize(seed=st.integers(0, 2**32 - 1), data=st.data())
    def add_first_records(self, seed: int, data: st.DataObject) -> None:
        for namespace in ("default", "one"):
            self._add(seed, [None] * 20, namespace, data)

    @rule(
        seed=st.integers(0, 2**32 - 1),
        uids=st.lists(UIDS | st.none(), max_size=12),
        namespace=NAMESPACES,
        data=st.data(),
    )
    def add(self, seed: int, uids: list[str | None], namespace: str, data: st.DataObject) -> None:
        self._add(seed, uids, namespace, data)

    @rule(uids=st.lists(UIDS, max_size=4), namespace=NAMESPACES | st.none(), where=WHERE | st.none())
    def delete_named(self, uids: list[str], namespace: str | None, where: dict[str, Any] | None) -> None:
        gone = {key for key in self._visible(namespace, where) if key[0] in uids}
        assert self.store.delete(uids, where=where, namespace=namespace) == len(gone)
        for key in gone:
            del self.stored[key]
        self._forget_expired(namespace, where, uids)

    @rule(namespace=NAMESPACES | st.none(), where=WHERE)
    def delete_where(self, namespace: str | None, where: dict[str, Any]) -> None:
        gone = self._visible(namespace, where)
        assert self.store.delete(where=where, namespace=namespace) == len(gone)
        for key in gone:
            del self.stored[key]
        self._forget_expired(namespace, where, None)

    def _forget_expired(self, namespace: str | None, where: dict[str, Any] | None, uids: list[str] | None) -> None:
        """Forget expired records that a delete removed without counting them; their creation times are lost."""
        for (uid, space), record in list(self.stored.items()):
            chosen = (uids is None or uid in uids) and namespace in (None, space)
            if chosen and matches(parse(where or {}), record.metadata):
                del self.stored[uid, space]

    @rule(seed=st.integers(0, 2**32 - 1), k=st.integers(1, 60), namespace=NAMESPACES | st.none(), where=WHERE)
    def search(self, seed: int, k: int, namespace: str | None, where: dict[str, Any]) -> None:
        queries = np.random.default_rng(seed).standard_normal((2, DIM)).astype(np.float32)
        expected = self._visible(namespace, where)
        answers = [
            *self.store.search_batch(queries, k, where=where, namespace=namespace),
            self.store.search_with_filter(queries[0], k, lambda metadata: matches(parse(where), metadata)),
        ]
        truths = [expected, expected, self._visible(None, where)]
        for query, found, truth in zip([*queries, queries[0]], answers, truths, strict=True):
            scores = {key: _cosine(query, record.vector) for key, record in truth.items()}
            best = sorted(scores.values(), reverse=True)[:k]
            assert len(found) == len(best)
            if self.exact:
                assert [match.score for match in found] == pytest.approx(best, abs=1e-5)
            for match in found:
                known = [key for key in truth if key[0] == match.uid and truth[key].metadata == match.metadata]
                assert any(abs(scores[key] - match.score) < 1e-5 for key in known)

    @rule(uids=st.lists(UIDS, max_size=5, unique=True), namespace=NAMESPACES | st.none())
    def get(self, uids: list[str], namespace: str | None) -> None:
        expected = {key: record for key, record in self._visible(namespace, None).items() if key[0] in uids}
        records = self.store.get(uids, namespace=namespace)
        assert [record.uid for record in records] == [uid for uid in uids for key in expected if key[0] == uid]
        self._same(sorted(records, key=lambda record: (record.uid, record.namespace)), expected)

    @rule(limit=st.integers(1, 40), namespace=NAMESPACES | st.none(), where=WHERE | st.none())
    def scan(self, limit: int, namespace: str | None, where: dict[str, Any] | None) -> None:
        records: list[Record] = []
        while page := self.store.scan(
            where, after=records[-1].uid if records else None, limit=limit, namespace=namespace
        ):
            records += page
        self._same(records, self._visible(namespace, where))

    @rule(seconds=st.sampled_from([1.0, 5.0, 60.0, 1_000.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.passed += seconds

    @rule(seconds=st.sampled_from([1.0, 60.0, 86_400.0]))
    def clock_goes_back(self, seconds: float) -> None:
        """Set the clock back, after deleting expired records, which may be swept at any moment."""
        for namespace in ("default", "one", "two"):
            gone = [uid for (uid, space), record in self.stored.items() if space == namespace and self._expired(record)]
            assert self.store.delete(gone, namespace=namespace) == 0
            for uid in gone:
                del self.stored[uid, namespace]
        before = self._store_time()
        self.now -= seconds
        assert self._store_time() == before

    @precondition(lambda self: self.durable)
    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = self._opened()

    @precondition(lambda self: self.durable)
    @rule()
    def kill(self) -> None:
        """Continue with a copy of the folder as it is now, as after a kill: nothing is closed, sealing may go on."""
        before, self.store_folder = self.store_folder, self.folder / str(next(self.lives) + 1)
        _copied_while_open(before, self.store_folder)
        self.store.close()
        shutil.rmtree(before)
        self.store = self._opened()

    @invariant()
    def counts_agree(self) -> None:
        assert self.store.count() == len(self._visible(None, None))
        assert self.store.count({"n": 3}, namespace="one") == len(self._visible("one", {"n": 3}))


def _copied_while_open(folder: Path, copy: Path) -> None:
    copy.mkdir()
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            _copied_while_open(path, copy / path.name)
        elif not path.name.endswith("-shm"):  # shared memory, not kept on any disk
            try:
                shutil.copyfile(path, copy / path.name)
            except FileNotFoundError:
                continue  # a snapshot's file that had another name a moment ago


def _cosine(a: Vector, b: Vector) -> float:
    return float(a.astype(np.float64) @ b / np.linalg.norm(a.astype(np.float64)) / np.linalg.norm(b.astype(np.float64)))


class _InMemory(_Machine):
    options: ClassVar[dict[str, Any]] = {"index": "flat", "buffer_rows": 16}
    durable: ClassVar[bool] = False


class _GraphsInMemory(_Machine):
    options: ClassVar[dict[str, Any]] = {"index": "hnsw", "buffer_rows": 16}
    durable: ClassVar[bool] = False


class _Flat(_Machine):
    options: ClassVar[dict[str, Any]] = {"index": "flat", "buffer_rows": 16}
    durable: ClassVar[bool] = True


class _Graphs(_Machine):
    options: ClassVar[dict[str, Any]] = {"index": "hnsw", "buffer_rows": 16}
    durable: ClassVar[bool] = True


class _Lists(_Machine):
    options: ClassVar[dict[str, Any]] = {"index": "ivf", "storage": "fp16", "buffer_rows": 16}
    durable: ClassVar[bool] = True


class _Small(_Machine):
    options: ClassVar[dict[str, Any]] = {"index": "hnsw", "storage": "sq8", "buffer_rows": 16}
    durable: ClassVar[bool] = True
    # Of each segment the best 2 k by one-byte vectors are rescored. Codes learnt from 16 rows clip what lies outside
    # their range, so a better row may be left out; every match's own score is still exact.
    exact: ClassVar[bool] = False


# 204 examples of 50 steps in all; a class each, so that several test processes share them.
_SETTINGS = settings(max_examples=34, stateful_step_count=50, suppress_health_check=list(HealthCheck))
TestInMemory = _InMemory.TestCase
TestInMemory.settings = _SETTINGS
TestGraphsInMemory = _GraphsInMemory.TestCase
TestGraphsInMemory.settings = _SETTINGS
TestFlat = _Flat.TestCase
TestFlat.settings = _SETTINGS
TestGraphs = _Graphs.TestCase
TestGraphs.settings = _SETTINGS
TestLists = _Lists.TestCase
TestLists.settings = _SETTINGS
TestSmall = _Small.TestCase
TestSmall.settings = _SETTINGS
