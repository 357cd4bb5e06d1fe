"""Tests of the statistics of a store: sizes, counters, models and times."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.stores.conftest import vectors

from super_advanced_agents import FAISSVectorStore
from super_advanced_agents.errors import ModelMismatchError


def test_stats_count_each_write_once_by_its_effect(opened: Callable[..., FAISSVectorStore]) -> None:
    """A refused write is not counted."""
    store = opened()
    texts: list[Any] = [{"text": "a"}, {"text": "b"}, {"text": "c"}]
    store.add_batch(vectors(3), texts, list("abc"), model_id="m")
    store.add_batch(vectors(2), None, ["c", "d"], namespace="other", model_id="m")
    store.add_batch(vectors(2), None, ["b", "c"], expires_in_s=[None, 1e-6])
    store.add_batch(vectors(2), [{"text": "a"}, {"text": "e"}], dedupe="exact")
    store.update("a", {"n": 1})
    store.update("nobody", {"n": 1})
    store.put(store.get(["a"]))
    store.delete(["d", "nobody"])
    with pytest.raises(ModelMismatchError):
        store.add(vectors(1)[0], model_id="other")
    stats = store.stats()
    counters = {name: stats[name] for name in ("added", "replaced", "updated", "deduplicated", "deleted", "swept")}
    assert counters == {"added": 9, "replaced": 3, "updated": 1, "deduplicated": 1, "deleted": 1, "swept": 0}
    assert (stats["records"], stats["rows"], stats["expired"], stats["namespaces"]) == (4, 5, 1, 2)
    assert stats["models"] == {"m": 2}
    assert int(str(stats["commits"])) >= 7


def test_stats_count_each_search_call_by_mode(opened: Callable[..., FAISSVectorStore]) -> None:
    """A call with several queries counts as one search."""
    store = opened(None)
    store.add(vectors(1)[0], {"text": "word"})
    store.search(vectors(1)[0])
    store.search_batch(vectors(5))
    store.search_hybrid(vectors(1)[0], "word")
    store.search_keywords("word")
    store.search_with_filter(vectors(1)[0], 1, bool)
    stats = store.stats()
    assert stats["searches_by_mode"] == {"vector": 2, "hybrid": 1, "keyword": 1, "predicate": 1}
    assert stats["searches"] == 5


def test_stats_hold_file_sizes_and_the_oldest_and_newest_write(opened: Callable[..., FAISSVectorStore]) -> None:
    """An empty store has no write times, and a store in memory has no log."""
    store = opened()
    empty = store.stats()
    assert (empty["oldest_write_at"], empty["newest_write_at"], empty["models"]) == (None, None, {})
    began = time.time()
    store.add(vectors(1)[0], None, "x")
    store.add_batch(vectors(200))
    store.delete(["x"])
    stats = store.stats()
    assert began <= float(str(stats["oldest_write_at"])) <= float(str(stats["newest_write_at"])) <= time.time()
    assert float(str(stats["log_bytes"])) > 200 * 64
    assert float(str(stats["size_bytes"])) > 200 * 64
    store.close()
    assert opened(None).stats()["log_bytes"] == 0
