"""Tests of predicate search in stores that cannot evaluate a predicate themselves."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest

from super_advanced_agents import DistributedVectorStoreStub, FAISSVectorStore

QUERY = [1.0, 0.0]


@pytest.fixture
def store():
    """A client of a store with the dot metric, in which no passing record is among the best thousand."""
    with FAISSVectorStore(2, metric="dot") as local, DistributedVectorStoreStub(local) as stub:
        local.add_batch(np.tile(np.float32(QUERY), (1_000, 1)), [{"keep": False}] * 1_000)
        vectors = [[0.2, 0.0], [0.0, 0.0], [0.5, 5.0]]
        local.add_batch(vectors, [{"keep": True}] * 3, uids=["near", "zero", "far"])
        yield stub


def has_keep_flag(metadata):
    """Return whether a record passes."""
    return metadata["keep"]


def test_search_with_filter_ranks_by_inner_product_beyond_the_first_thousand(store):
    """Order and scores equal those of the store, and a zero vector is accepted with the dot metric."""
    found = store.search_with_filter(QUERY, 3, has_keep_flag)
    assert [match.uid for match in found] == ["far", "near", "zero"]
    assert [match.score for match in found] == pytest.approx([0.5, 0.2, 0.0])


def test_search_with_filter_calls_the_predicate_off_the_event_loop(store):
    """A slow predicate delays no other task."""
    threads = set()

    def predicate(metadata):
        threads.add(threading.get_ident())
        return metadata["keep"]

    async def search():
        return await store.asearch_with_filter(QUERY, 3, predicate), threading.get_ident()

    found, loop_thread = asyncio.run(search())
    assert len(found) == 3
    assert loop_thread not in threads
