"""Tests that records which are replaced again and again do not fill the memory."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.unit.stores.conftest import Internals, assert_same, brute_force, sealed, vectors

from super_advanced_agents import FAISSVectorStore
from super_advanced_agents.stores.faiss.vectors.seal_policy import SealPolicy, SealTask


@pytest.mark.parametrize("index", ["flat", "hnsw"])
def test_memory_of_vectors_is_released_when_records_are_replaced(
    opened: Callable[..., FAISSVectorStore], index: str
) -> None:
    """Vectors in memory stay in proportion to the records; a few that are never replaced stay among them."""
    store = opened(index=index, buffer_rows=64)
    names = [f"{i:03d}" for i in range(100)]
    for round_ in range(60):
        store.add_batch(vectors(100, round_), [{"round": round_}] * 100, names)
        store.add(vectors(1, 1_000 + round_)[0], {"lasting": True})
        if index == "hnsw":
            sealed(store)
    segments = [segment for segment in Internals(store).index.view.segments if len(segment.rows)]
    assert store.count() == 160
    if index == "flat":
        assert sum(len(segment.rows) for segment in segments) < 3 * 160
        assert len(segments) < 10
    for query in vectors(10, 5_000):
        assert_same(store.search(query, 12), brute_force(store, query, 12))
    assert len(store.search(np.ones(16), 200)) == 160
    store.close()
    again = opened(index=index, buffer_rows=64)
    for query in vectors(5, 6_000):
        assert_same(again.search(query, 12), brute_force(again, query, 12))


def test_segments_without_a_live_row_are_dropped(opened: Callable[..., FAISSVectorStore]) -> None:
    """Such a segment is dropped when the next one is built."""
    store = opened(index="hnsw", buffer_rows=64)
    names = [f"{i:03d}" for i in range(64)]
    for round_ in range(20):
        store.add_batch(vectors(64, round_), None, names)
        assert sealed(store) <= 2
    assert len(store.search(np.ones(16), 100)) == 64


def test_buffer_filled_as_sealing_ends_is_sealed_without_another_write(
    opened: Callable[..., FAISSVectorStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write comes after the sealer has found nothing more to do, and before it has ended."""
    store = opened(index="hnsw", buffer_rows=16)
    next_task, written = SealPolicy.next_task, threading.Event()

    def write_when_nothing_is_due(policy: SealPolicy, *sizes: Any, idle: bool = False) -> SealTask | None:
        task = next_task(policy, *sizes, idle=idle)
        if idle and task is None and not written.is_set():
            store.add_batch(vectors(16, 2))
            written.set()
        return task

    monkeypatch.setattr(SealPolicy, "next_task", write_when_nothing_is_due)
    store.add_batch(vectors(16, 1))
    assert written.wait(60)
    internals = Internals(store)
    internals.wait_for_sealer()
    assert internals.index.tail.full_count == 0
    assert sum(len(segment.rows) for segment in internals.index.sealed) == 32
