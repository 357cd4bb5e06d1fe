"""Stores that are closed after the test, and ways to hold one's writer busy or to wait for its sealing."""

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
from super_advanced_agents.stores.faiss.writing.requests import ViewUpdate
from super_advanced_agents.types import Match, Matrix

DIM = 16


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., FAISSVectorStore]]:
    """Open stores of `DIM` numbers a vector, in `tmp_path/store` unless told otherwise; each is closed afterwards."""
    with ExitStack() as stack:

        def open_(path: Path | None = tmp_path / "store", **options: Any) -> FAISSVectorStore:
            return stack.enter_context(FAISSVectorStore(DIM, path, **options))

        yield open_


@contextmanager
def busy_writer(store: FAISSVectorStore) -> Iterator[None]:
    """Inside, the store's writer thread stands still: what is submitted waits in its queue."""
    begun, go_on = threading.Event(), threading.Event()

    def stand_still() -> None:
        begun.set()
        go_on.wait()

    store._writer.submit(ViewUpdate(stand_still))
    begun.wait()
    try:
        yield
    finally:
        go_on.set()


def sealed(store: FAISSVectorStore) -> int:
    """Wait until no full buffer is left to seal; returns how many segments there are."""
    store.count()
    while store._sealer._busy or store._index.tail.full_count >= (store._sealer._policy.min_buffers or 1):
        store._sealer.wake()
        with suppress(OverloadedError):  # one is queued already
            store._sealer._worker.submit(lambda: None).wait(60)
    segments = store.stats()["segments"]
    assert isinstance(segments, int)
    return segments


def vectors(n: int, seed: int = 0) -> Matrix:
    """n random vectors of `DIM` numbers."""
    return np.random.default_rng(seed).standard_normal((n, DIM)).astype(np.float32)


def brute_force(store: FAISSVectorStore, query: Matrix, k: int) -> list[tuple[str, float]]:
    """What a search must answer, worked out from the rows themselves."""
    records = []
    while page := store.scan(after=records[-1].uid if records else None, limit=1_000):
        records += page
    if not records:
        return []
    table = np.array([record.vector for record in records], dtype=np.float64)
    scores = table @ query / np.linalg.norm(table, axis=1) / np.linalg.norm(query.astype(np.float64))
    return [(records[i].uid, float(scores[i])) for i in np.argsort(-scores, kind="stable")[:k]]


def assert_same(found: list[Match], expected: list[tuple[str, float]]) -> None:
    """Equal names and, within 1e-5, equal scores."""
    assert [match.uid for match in found] == [uid for uid, _ in expected]
    assert [match.score for match in found] == pytest.approx([score for _, score in expected], abs=1e-5)
