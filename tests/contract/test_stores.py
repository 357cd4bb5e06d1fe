"""The behaviour suite of vector stores, run on each store and each of its settings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest

from super_advanced_agents import DistributedVectorStoreStub, FAISSVectorStore
from super_advanced_agents.testing.store_suite import MakeStore, VectorStoreSuite


class TestFlatInMemory(VectorStoreSuite):
    """Exact search, nothing on disk."""

    @pytest.fixture
    def make_store(self) -> Iterator[MakeStore]:
        """Return stores without a path."""
        with ExitStack() as stack:
            yield lambda dim: stack.enter_context(FAISSVectorStore(dim, index="flat"))


class TestFlatInMemoryByInnerProduct(VectorStoreSuite):
    """Exact search by inner product, so that scores depend on the lengths of vectors."""

    metric = "dot"

    @pytest.fixture
    def make_store(self) -> Iterator[MakeStore]:
        """Return stores without a path, with the dot metric."""
        with ExitStack() as stack:
            yield lambda dim: stack.enter_context(FAISSVectorStore(dim, index="flat", metric="dot"))


class TestFlatOnDisk(VectorStoreSuite):
    """Exact search, rows on disk."""

    @pytest.fixture
    def make_store(self, tmp_path: Path) -> Iterator[MakeStore]:
        """Return stores in folders of their own."""
        numbers = count()
        with ExitStack() as stack:
            yield lambda dim: stack.enter_context(FAISSVectorStore(dim, tmp_path / str(next(numbers)), index="flat"))


class TestGraphsOnDisk(VectorStoreSuite):
    """Graphs, built while the tests run because buffers are small."""

    @pytest.fixture
    def make_store(self, tmp_path: Path) -> Iterator[MakeStore]:
        """Return stores in folders of their own that seal every 16 vectors."""
        numbers = count()
        with ExitStack() as stack:
            yield lambda dim: stack.enter_context(
                FAISSVectorStore(dim, tmp_path / str(next(numbers)), index="hnsw", buffer_rows=16)
            )


class TestInvertedFilesOnDisk(VectorStoreSuite):
    """Inverted files of 16-bit vectors instead of graphs."""

    @pytest.fixture
    def make_store(self, tmp_path: Path) -> Iterator[MakeStore]:
        """Return stores in folders of their own that seal every 16 vectors."""
        numbers = count()
        with ExitStack() as stack:
            yield lambda dim: stack.enter_context(
                FAISSVectorStore(dim, tmp_path / str(next(numbers)), index="ivf", storage="fp16", buffer_rows=16)
            )


class TestQuantizedGraphsOnDisk(VectorStoreSuite):
    """Graphs of 8-bit vectors, whose best candidates are scored again by the table's vectors."""

    @pytest.fixture
    def make_store(self, tmp_path: Path) -> Iterator[MakeStore]:
        """Return stores in folders of their own that seal every 16 vectors."""
        numbers = count()
        with ExitStack() as stack:
            yield lambda dim: stack.enter_context(
                FAISSVectorStore(dim, tmp_path / str(next(numbers)), index="hnsw", storage="sq8", buffer_rows=16)
            )


class TestOverLoopback(VectorStoreSuite):
    """Clients that encode every request and decode every response."""

    @pytest.fixture
    def make_store(self) -> Iterator[MakeStore]:
        """Return clients, each of a store in memory of its own."""
        with ExitStack() as stack:
            yield lambda dim: stack.enter_context(
                DistributedVectorStoreStub(stack.enter_context(FAISSVectorStore(dim, index="flat")))
            )
