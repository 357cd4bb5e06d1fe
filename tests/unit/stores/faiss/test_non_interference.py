"""Tests that what a tenant observes is the same with and without the records of another, to the last bit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from super_advanced_agents import FAISSVectorStore
from super_advanced_agents._runtime import clock as clock_module
from super_advanced_agents.stores.base import VectorStore
from super_advanced_agents.stores.wrappers.tenant_view import tenant_view

DIM = 24
UIDS = [f"u{i}" for i in range(12)]
WORDS = ["red", "green", "blue", "apple", "pear", "shoe", "walrus"]
WHERES: list[dict[str, Any]] = [
    {"n": {"$gte": 2}},
    {"tag": "x"},
    {"tag": {"$contains": "x"}},
    {"of_b": {"$exists": False}},
    {"of_b": {"$gt": "a"}},
    {"text": {"$contains": "apple"}},
    {"$not": {"list": {"$contains": 1}}},
]

Operation = tuple[str, int]
OPERATIONS = st.tuples(
    st.sampled_from(["add", "add", "add many", "dedupe", "update", "delete", "delete where", "expire"]),
    st.integers(0, 2**32 - 1),
)


def _apply(view: VectorStore, operation: Operation, *, is_b: bool) -> object:
    """Execute one operation of a tenant, which its number determines, and return what the tenant is told."""
    kind, number = operation
    rng = np.random.default_rng(number)
    n = 30 if kind == "add many" else int(rng.integers(1, 4))
    uids = (
        [f"m{number % 7}-{i}" for i in range(n)] if kind == "add many" else rng.choice(UIDS, n, replace=False).tolist()
    )
    texts = [" ".join(rng.choice(WORDS, int(rng.integers(1, 8)))) for _ in range(n)]
    metadatas: list[Any] = [
        {"text": text, "n": int(rng.integers(5)), "tag": "x" * int(rng.integers(1, 3)), "list": [int(rng.integers(3))]}
        for text in texts
    ]
    if is_b:
        metadatas = [{**metadata, "of_b": f"{number}", f"k{number % 50}": i} for i, metadata in enumerate(metadatas)]
    vectors = rng.standard_normal((n, DIM))
    namespace = str(rng.choice(["one", "two"]))
    match kind:
        case "update":
            return view.update(str(uids[0]), {"n": 4, "text": texts[0]}, vector=vectors[0], namespace=namespace)
        case "delete":
            return view.delete(uids, namespace=namespace)
        case "delete where":
            return view.delete(where={"n": {"$lte": 1}}, namespace=namespace)
        case "dedupe":
            return view.add_batch(vectors, metadatas, uids, namespace=namespace, dedupe="exact")
    lifetimes = [5.0] * n if kind == "expire" else None
    sessions = [f"s{number % 3}"] * n
    return view.add_batch(vectors, metadatas, uids, namespace=namespace, expires_in_s=lifetimes, sessions=sessions)


def _observed(view: VectorStore, seed: int) -> list[Any]:
    """Return all that a tenant can ask of its records, without the numbers that are fresh in each process."""
    rng = np.random.default_rng(seed)
    query, queries = rng.standard_normal(DIM), rng.standard_normal((25, DIM))
    seen: list[Any] = [view.stats()]
    for namespace in ("one", "two", "none"):
        for where in [None, *WHERES]:
            more: dict[str, Any] = {"where": where, "namespace": namespace}
            seen += [view.count(**more), view.search(query, 5, **more)]
            seen += [view.search_keywords("red apple walrus", 9, **more)]
            seen += [view.search_hybrid(query, "green shoe", 9, explain=True, **more)]
        page = view.scan(None, namespace=namespace, limit=7)
        seen.append([_without_place(record) for record in page])
        seen.append(view.search_batch(queries, 50, namespace=namespace))
        seen.append([_without_place(record) for record in view.get(UIDS, namespace=namespace)])
    return seen


def _without_place(record: Any) -> dict[str, Any]:
    # A place is a number of the whole store, so no answer about memories shows it.
    fields = {name: getattr(record, name) for name in ("uid", "metadata", "source", "session", "priority")}
    times = [record.created_at, record.updated_at, record.expires_at]
    return {**fields, "times": times, "vector": record.vector.tolist()}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Set the clock, which stands still otherwise."""
    now = [1_700_000_000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    stopped = SimpleNamespace(time=lambda: now[0], monotonic=lambda: now[0])
    monkeypatch.setattr(clock_module, "time", stopped)  # by which records expire

    def set_to(seconds: float) -> None:
        now[0] = seconds

    return set_to


@pytest.mark.parametrize("index", ["flat", "hnsw"])
@settings(
    max_examples=4,
    phases=[Phase.generate],
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(st.tuples(st.booleans(), OPERATIONS), min_size=2, max_size=14), seed=st.integers(0, 1_000))
def test_tenant_observes_the_same_with_and_without_the_operations_of_another(
    clock: Callable[[float], None], index: Any, steps: list[tuple[bool, Operation]], seed: int
) -> None:
    """Results, scores, orders, explanations and counts are equal after any interleaving; no version moves for b."""
    with (
        FAISSVectorStore(DIM, index=index, buffer_rows=16) as alone,
        FAISSVectorStore(DIM, index=index, buffer_rows=16) as shared,
    ):
        expected, a, b = tenant_view(alone, "a"), tenant_view(shared, "a"), tenant_view(shared, "b")
        for i, (of_a, operation) in enumerate(steps):
            clock(1_700_000_000.0 + 2.0 * i)
            before = a.version("one")
            if not of_a:
                _apply(b, operation, is_b=True)
                assert a.version("one") == before
                continue
            assert _apply(a, operation, is_b=False) == _apply(expected, operation, is_b=False)
            if i % 3 == 0:
                assert _observed(a, seed) == _observed(expected, seed)
        assert _observed(a, seed) == _observed(expected, seed)


@pytest.fixture
def stores() -> Iterator[tuple[VectorStore, VectorStore, VectorStore]]:
    """A tenant's view of a store of its own, and the views of two tenants of one store."""
    with FAISSVectorStore(DIM, buffer_rows=64) as alone, FAISSVectorStore(DIM, buffer_rows=64) as shared:
        yield tenant_view(alone, "a"), tenant_view(shared, "a"), tenant_view(shared, "b")


@pytest.mark.parametrize("n", [3, 61, 300])
@pytest.mark.usefixtures("clock")
def test_scores_are_equal_when_the_records_lie_in_other_segments(
    stores: tuple[VectorStore, VectorStore, VectorStore], n: int
) -> None:
    """The other tenant's records stand before and between the caller's, so each lies elsewhere in memory."""
    expected, a, b = stores
    for part in range(4):
        _apply(b, ("add many", part), is_b=True)
        b.add_batch(np.random.default_rng(part).standard_normal((7 + part, DIM)), namespace="one")
        vectors = np.random.default_rng(100 + part).standard_normal((n, DIM))
        uids = [f"{part}-{i}" for i in range(n)]
        metadatas: list[Any] = [{"text": f"{WORDS[i % 7]} {WORDS[i % 5]} w{i % 9}", "n": i % 5} for i in range(n)]
        for view in (expected, a):
            view.add_batch(vectors, metadatas, uids, namespace="one", sessions=[f"s{i % 3}" for i in range(n)])
        assert _observed(a, part) == _observed(expected, part)
