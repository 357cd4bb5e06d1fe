"""Stores that are closed after a test, and what tests need to hold them up and to check their results."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from super_advanced_agents import FAISSVectorStore
from super_advanced_agents.errors import OverloadedError
from super_advanced_agents.stores.faiss.search import Search
from super_advanced_agents.stores.faiss.writing.requests import ViewUpdate
from super_advanced_agents.types import Match, Matrix

DIM = 16


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., FAISSVectorStore]]:
    """Return a function that opens stores of dimension `DIM`, by default in `tmp_path/store`; each is closed."""
    with ExitStack() as stack:

        def open_(path: Path | None = tmp_path / "store", **options: Any) -> FAISSVectorStore:
            return stack.enter_context(FAISSVectorStore(DIM, path, **options))

        yield open_


class Internals:
    """The parts of a store that no public operation can hold up, break, wait for or measure.

    The only place where tests of the engine reach into private attributes of a store.

    Attributes:
        rows: its table.
        connection: the connection that writes the table, whose limits a test can lower.
        index: its view, of which a test counts segments and buffers.
        writer: the queue of its writes.
        sealer: the builder of its segments, which a test wakes.
    """

    def __init__(self, store: FAISSVectorStore) -> None:
        self._store = store
        self.rows = store._rows
        self.connection = store._rows._writer
        self.index = store._index
        self.writer = store._writer
        self.sealer = store._sealer

    def search_together(self, searches: list[Search]) -> list[list[list[Match]] | BaseException]:
        """Answer searches as if they had queued for one pass."""
        return list(self._store._searcher._run(searches))

    def is_sealing_due(self) -> bool:
        """Return whether a segment is being built or buffers are full enough to be sealed."""
        return self.sealer.busy or self.index.tail.full_count >= (self.sealer._policy.min_buffers or 1)

    def wait_for_sealer(self) -> None:
        """Wait until the sealer's thread has finished the tasks that it has now."""
        self.sealer._worker.submit(lambda: None).wait(60)

    def is_sweeping(self) -> bool:
        """Return whether the thread that deletes expired rows has work."""
        return self._store._sweeper._busy

    def wait_for_slow_filters(self) -> None:
        """Wait until the threads of slow filters have finished the tasks that they have now."""
        for task in [self._store._slow_filters._workers.submit(lambda: None) for _ in range(2)]:
            task.wait(60)

    def metadata_sizes(self, tenant: str) -> dict[str, int]:
        """Return the rows, fields, values and bytes in the index of a tenant's metadata."""
        return self.index._tenants[tenant].metadata.sizes()

    def filter_table_sizes(self) -> dict[str, int]:
        """Return the number of entries of every table in memory that filters and expiry use."""
        [tenant] = self.index._tenants.values()
        return {
            **tenant.metadata.sizes(),
            "expiry times": len(tenant._expiry),
            "expiry times of versions": len(self.index.versions._expiring),
            **{f"rows of scope {scope}": len(rows) for scope, rows in self.index._scopes.items()},
        }


@contextmanager
def busy_writer(store: FAISSVectorStore) -> Iterator[None]:
    """Hold up the store's writer thread, so that submitted writes wait in its queue."""
    begun, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        go_on.wait()

    Internals(store).writer.submit(ViewUpdate(hold))
    begun.wait()
    try:
        yield
    finally:
        go_on.set()


def sealed(store: FAISSVectorStore) -> int:
    """Wait until no full buffer is left to seal, and return the number of segments."""
    store.count()
    internals = Internals(store)
    while internals.is_sealing_due():
        internals.sealer.wake()
        with suppress(OverloadedError):  # another call waits already
            internals.wait_for_sealer()
    segments = store.stats()["segments"]
    assert isinstance(segments, int)
    return segments


def vectors(n: int, seed: int = 0) -> Matrix:
    """Return n random vectors of dimension `DIM`."""
    return np.random.default_rng(seed).standard_normal((n, DIM)).astype(np.float32)


def brute_force(store: FAISSVectorStore, query: Matrix, k: int) -> list[tuple[str, float]]:
    """Return the uids and cosines that a search must find, computed from the records themselves."""
    records = []
    while page := store.scan(after=records[-1].uid if records else None, limit=1_000):
        records += page
    if not records:
        return []
    table = np.array([record.vector for record in records], dtype=np.float64)
    scores = table @ query / np.linalg.norm(table, axis=1) / np.linalg.norm(query.astype(np.float64))
    return [(records[i].uid, float(scores[i])) for i in np.argsort(-scores, kind="stable")[:k]]


def assert_same(found: list[Match], expected: list[tuple[str, float]]) -> None:
    """Assert equal uids and, within 1e-5, equal scores."""
    assert [match.uid for match in found] == [uid for uid, _ in expected]
    assert [match.score for match in found] == pytest.approx([score for _, score in expected], abs=1e-5)
