"""Tests that a write reaches SQLite, and a search FAISS, through at most four functions."""

from __future__ import annotations

import inspect
from pathlib import Path
from types import FrameType
from typing import Any

import faiss
import numpy as np
import pytest
from tests.unit.stores.conftest import vectors

import super_advanced_agents
from super_advanced_agents import FAISSVectorStore
from super_advanced_agents.stores.faiss.rows import table

PACKAGE = Path(super_advanced_agents.__file__).parent
MOST = 4
"""The largest number of this package's functions between `_execute` and the library."""


def _functions(frame: FrameType | None) -> list[str]:
    """Return the engine's functions from the innermost out, up to `_execute` or the batcher that runs the work."""
    names: list[str] = []
    frame = None if frame is None else frame.f_back  # of the watching function itself
    while frame is not None:
        file = Path(frame.f_code.co_filename)
        if frame.f_code.co_name == "_execute" or "_runtime" in file.parts:
            break
        if file.is_relative_to(PACKAGE):
            names.append(f"{file.relative_to(PACKAGE)}:{frame.f_code.co_name}")
        frame = frame.f_back
    return names


@pytest.mark.parametrize("index", ["flat", "hnsw"])
@pytest.mark.parametrize("kind", ["vector", "hybrid"])
def test_search_reaches_faiss_through_four_functions(index: Any, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The handler of the request, the searcher, the view and the segment."""
    seen: list[list[str]] = []

    def watch(original: Any) -> Any:
        def watched(*args: Any, **kwargs: Any) -> Any:
            seen.append(_functions(inspect.currentframe()))
            return original(*args, **kwargs)

        return watched

    data = vectors(3_000)
    with FAISSVectorStore(data.shape[1], index=index, buffer_rows=1_024) as store:
        for start in range(0, len(data), 1_000):
            store.add_batch(data[start : start + 1_000], [{"text": f"memory {i}"} for i in range(1_000)])
        monkeypatch.setattr(faiss, "knn_inner_product", watch(faiss.knn_inner_product))
        monkeypatch.setattr(faiss.IndexHNSW, "search", watch(faiss.IndexHNSW.search))
        if kind == "vector":
            store.search(data[0])
        else:
            store.search_hybrid(data[0], "memory 1")
    assert seen
    for functions in seen:
        assert len(functions) + 1 <= MOST, f"with the handler beside `_execute`: {functions}"


def test_write_reaches_sqlite_through_four_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    """The handler of the request, the writer, one match over the kinds of writes, and the table."""
    seen: list[list[str]] = []
    original = table.insert_statement

    def watched(columns: Any) -> Any:
        seen.append(_functions(inspect.currentframe()))  # the caller hands the statement to SQLite itself
        return original(columns)

    monkeypatch.setattr(table, "insert_statement", watched)
    with FAISSVectorStore(4) as store:
        store.add(np.ones(4, np.float32), {"text": "one"})
        store.add(np.ones(4, np.float32), {"text": "two"}, dedupe="exact")
        store.update(store.add(np.ones(4, np.float32)), {"a": 1})
        store.put(store.scan())
    assert seen
    for functions in seen:
        assert len(functions) + 1 <= MOST, f"with the handler beside `_execute`: {functions}"
