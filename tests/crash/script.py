"""Thirty operations that are the same in every run, and what a store holds after each of them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from super_advanced_agents import FAISSVectorStore
from super_advanced_agents.types import Record, Vector

DIM = 8
NAMESPACES = ("one", "two")
GROUPS = 5
NAMES = [f"n{i:02d}" for i in range(100)]
KINDS = [
    "batch",
    "batch",
    "one",
    "replace",
    "delete",
    "batch",
    "expire",
    "batch",
    "remove",
    "replace",
    "reopen",
    "batch",
    "one",
    "delete",
    "everywhere",
    "batch",
    "replace",
    "expire",
    "batch",
    "delete",
    "reopen",
    "remove",
    "batch",
    "one",
    "replace",
    "delete",
    "batch",
    "expire",
    "batch",
    "everywhere",
]

SHAPES: dict[str, dict[str, Any]] = {
    "flat": {"index": "flat"},
    "hnsw": {"index": "hnsw"},
    "ivf": {"index": "ivf", "storage": "sq8"},
}
"""The settings of the stores that are tested."""

State = dict[tuple[str, str], int]
"""For each (namespace, uid) the tag it holds; everything else of a record follows from its tag."""


@dataclass(frozen=True)
class Operation:
    """One call on a store; what it writes follows from the tags."""

    kind: str
    namespace: str
    names: list[str]
    tags: list[int]
    group: int


def opened(folder: Path | str, shape: str) -> FAISSVectorStore:
    """Open a store with buffers so small that sealing goes on all the time."""
    return FAISSVectorStore(DIM, folder, buffer_rows=16, **SHAPES[shape])


def vector(tag: int) -> Vector:
    """Return the vector of a tag: different tags, different vectors."""
    return np.random.default_rng(tag).standard_normal(DIM).astype(np.float32)


def metadata(tag: int) -> dict[str, Any]:
    """Return the metadata of a tag."""
    return {"tag": tag, "group": tag % GROUPS, "text": f"text number{tag}"}


def operations() -> list[Operation]:
    """Return the script; each operation but `reopen` changes something."""
    rng = random.Random(11)  # a plan, not a secret
    script: list[Operation] = []
    state: State = {}
    for i, kind in enumerate(KINDS):
        after = state
        while after == state:
            namespace, size = rng.choice(NAMESPACES), {"batch": 30, "one": 1, "delete": 4}.get(kind, 8)
            there = [name for space, name in state if space == namespace]
            names = rng.sample(NAMES if kind in ("batch", "one") or len(there) < size else there, size)
            tags = [1_000 * (i + 1) + GROUPS * k + rng.randrange(GROUPS) for k in range(size)]
            operation = Operation(kind, namespace, names, tags, rng.randrange(GROUPS))
            after = applied(state, operation)
            if kind == "reopen":
                break
        script.append(operation)
        state = after
    return script


def applied(state: State, operation: Operation) -> State:
    """Return what is held after one more operation."""
    named = {(operation.namespace, name): tag for name, tag in zip(operation.names, operation.tags, strict=True)}
    match operation.kind:
        case "batch" | "one" | "replace":
            return {**state, **named}
        case "delete" | "expire":
            return {key: tag for key, tag in state.items() if key not in named}
        case "remove" | "everywhere":
            where = NAMESPACES if operation.kind == "everywhere" else (operation.namespace,)
            return {k: tag for k, tag in state.items() if k[0] not in where or tag % GROUPS != operation.group}
        case _:
            return state


def states() -> list[State]:
    """Return what is held before the first operation and after each."""
    found: list[State] = [{}]
    for operation in operations():
        found.append(applied(found[-1], operation))
    return found


def execute(store: FAISSVectorStore, operation: Operation) -> None:
    """Call the store for an operation; `reopen` is left to the caller."""
    match operation.kind:
        case "one":
            store.add(
                vector(operation.tags[0]),
                metadata(operation.tags[0]),
                operation.names[0],
                namespace=operation.namespace,
            )
        case "batch" | "replace" | "expire":
            store.add_batch(
                [vector(tag) for tag in operation.tags],
                [metadata(tag) for tag in operation.tags],
                operation.names,
                namespace=operation.namespace,
                expires_in_s=[0.001 if operation.kind == "expire" else 3_600.0] * len(operation.names),
            )
        case "delete":
            store.delete(operation.names, namespace=operation.namespace)
        case "remove":
            store.delete(where={"group": operation.group}, namespace=operation.namespace)
        case "everywhere":
            store.delete(where={"group": operation.group})


def held(store: FAISSVectorStore) -> State:
    """Read a store in every way and return what it holds; fail when the ways or the values differ."""
    records: list[Record] = []
    while page := store.scan(after=records[-1].uid if records else None, limit=50):
        records += page
    state = {(record.namespace, record.uid): _tag(record) for record in records}
    assert len(state) == len(records), "a record is there twice"
    known = sorted({uid for _, uid in state} | set(NAMES))
    _same(store.get(known), state)
    assert store.count() == len(state)
    for namespace in NAMESPACES:
        inside = {key: tag for key, tag in state.items() if key[0] == namespace}
        _same(store.get(known, namespace=namespace), inside)
        assert store.count(namespace=namespace) == len(inside)
        assert _found(store, namespace=namespace) == _named(inside)
    for group in range(GROUPS):
        chosen = _named({key: tag for key, tag in state.items() if tag % GROUPS == group})
        assert store.count({"group": group}) == len(chosen)
        assert _found(store, where={"group": group}) == chosen
    for (_, uid), tag in sorted(state.items())[::5]:
        nearest, *_ = store.search(vector(tag), 3)
        assert (nearest.uid, nearest.metadata) == (uid, metadata(tag))
        assert nearest.score == pytest.approx(1.0, abs=1e-5)
    for (namespace, uid), tag in sorted(state.items())[::15]:
        assert [match.uid for match in store.search_keywords(f"number{tag}", 3, namespace=namespace)] == [uid]
    words = store.search_keywords("text", 1_000)
    assert sorted((match.uid, _int(match.metadata["tag"])) for match in words) == _named(state)
    return state


def _named(state: State) -> list[tuple[str, int]]:
    return sorted((uid, tag) for (_, uid), tag in state.items())


def _tag(record: Record) -> int:
    tag = record.metadata["tag"]
    assert isinstance(tag, int)
    assert record.metadata == metadata(tag)
    np.testing.assert_array_equal(record.vector, vector(tag))
    return tag


def _same(records: Sequence[Record], state: State) -> None:
    found = {(record.namespace, record.uid): _tag(record) for record in records}
    assert len(found) == len(records)
    assert found == state


def _found(store: FAISSVectorStore, **options: Any) -> list[tuple[str, int]]:
    """Return (uid, tag) of everything a search finds, after checking each score."""
    query = np.ones(DIM, dtype=np.float32)
    matches = store.search(query, 1_000, **options)
    for match in matches:
        own = vector(_int(match.metadata["tag"]))
        assert match.score == pytest.approx(float(own @ query / np.linalg.norm(own) / np.linalg.norm(query)), abs=1e-5)
    return sorted((match.uid, _int(match.metadata["tag"])) for match in matches)


def _int(value: object) -> int:
    assert isinstance(value, int)
    return value
