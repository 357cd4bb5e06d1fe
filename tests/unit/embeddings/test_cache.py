"""Test the vector cache: its bounds, its order of eviction and its keys."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from super_advanced_agents.embeddings import VectorCache


def _vector(i: int) -> np.ndarray:
    return np.full(4, i, np.float32)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=60), st.integers(0, 6))
def test_vector_cache_behaves_as_a_list_ordered_by_use(steps: list[tuple[bool, int]], size: int) -> None:
    """Hits, values, evictions and counts agree with a plain list after any sequence of steps."""
    cache = VectorCache(max_entries=size, max_bytes=1 << 20)
    plain: list[int] = []
    hits = misses = 0
    for is_put, i in steps:
        key = cache.key("model", str(i))
        if is_put:
            cache.put([key], [_vector(i)])
            plain = ([*(each for each in plain if each != i), i])[-size:] if size else []
            continue
        found = cache.get(key)
        assert (found is not None) == (i in plain)
        if found is None:
            misses += 1
        else:
            hits += 1
            np.testing.assert_array_equal(found, _vector(i))
            plain = [*(each for each in plain if each != i), i]
    assert cache.stats()["cache_entries"] == len(plain)
    assert (cache.stats()["cache_hits"], cache.stats()["cache_misses"]) == (hits, misses)
    cache.clear()
    assert cache.stats()["cache_bytes"] == 0


def test_vector_cache_evicts_the_oldest_vectors_beyond_max_bytes() -> None:
    """Long vectors evict more entries than short ones."""
    cache = VectorCache(max_entries=1000, max_bytes=10_000)
    cache.put([cache.key("m", str(i)) for i in range(50)], [np.ones(384, np.float32)] * 50)
    assert 0 < cache.stats()["cache_bytes"] <= 10_000
    assert cache.get(cache.key("m", "49")) is not None
    assert cache.get(cache.key("m", "0")) is None


def test_vectors_in_the_cache_cannot_be_changed_by_callers() -> None:
    """The cache copies the vector it is given, and returns read-only arrays."""
    cache = VectorCache(max_entries=2, max_bytes=1 << 20)
    vector = _vector(1)
    cache.put([b"key"], [vector])
    vector[:] = 9
    found = cache.get(b"key")
    assert found is not None
    np.testing.assert_array_equal(found, _vector(1))
    with pytest.raises(ValueError, match="read-only"):
        found[:] = 0


def test_vector_cache_keys_differ_between_models() -> None:
    """No pair of model and text has the key of another pair."""
    assert VectorCache.key("a", "text") != VectorCache.key("b", "text")
    assert VectorCache.key("a", "b c") != VectorCache.key("a b", "c")


def test_vector_cache_stays_correct_under_concurrent_threads() -> None:
    """Each hit is the right vector, and the bound holds."""
    cache = VectorCache(max_entries=16, max_bytes=1 << 20)

    def work(seed: int) -> None:
        for step in range(2_000):
            i = (seed * 7 + step * step) % 40
            key = cache.key("m", str(i))
            found = cache.get(key)
            if found is None:
                cache.put([key], [_vector(i)])
            else:
                assert found[0] == i

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert cache.stats()["cache_entries"] == 16


def test_vector_of_one_share_is_not_found_for_another() -> None:
    """An equal text of another tenant has another key."""
    cache = VectorCache(max_entries=8, max_bytes=1 << 20)
    cache.put([cache.key("m", "text", "a")], [_vector(1)])
    assert cache.get(cache.key("m", "text", "b")) is None
    assert cache.get(cache.key("m", "text")) is None
    assert cache.get(cache.key("m", "text", "a")) is not None


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 30)), max_size=120))
def test_share_within_its_equal_part_of_the_cache_loses_no_vector(steps: list[tuple[str, int]]) -> None:
    """A share that floods the cache evicts its own vectors first."""
    cache = VectorCache(max_entries=12, max_bytes=1 << 20)
    kept = [cache.key("m", str(i), "quiet") for i in range(4)]
    cache.put(kept, [_vector(i) for i in range(4)])
    for share, i in steps:
        cache.put([cache.key("m", str(i), share)], [_vector(i)])
        assert cache.stats()["cache_entries"] <= 12
    assert all(cache.get(key) is not None for key in kept)
