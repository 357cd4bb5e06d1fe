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
    """Exact, nothing on disk."""

    @pytest.fixture
    def make_store(self) -> Iterator[MakeStore]:
        """Stores without a path."""
        with ExitStack() as stack:
            yield lambda dim: stack.enter_context(FAISSVectorStore(dim, index="flat"))


class TestFlatInMemoryByInnerProduct(VectorStoreSuite):
    """Exact, nothing on disk, scores that depend on the lengths of vectors."""

    metric = "dot"

    @pytest.fixture
    def make_store(self) -> Iterator[MakeStore]:
        """Stores without a path, with the dot metric."""
        with ExitStack() as stack:
            yield lambda dim: stack.enter_context(FAISSVectorStore(dim, index="flat", metric="dot"))


class TestFlatOnDisk(VectorStoreSuite):
    """Exact, rows on disk."""

    @pytest.fixture
    def make_store(self, tmp_path: Path) -> Iterator[MakeStore]:
        """Stores in folders of their own."""
        numbers = count()
        with ExitStack() as stack:
            yield lambda dim: stack.enter_context(FAISSVectorStore(dim, tmp_path / str(next(numbers)), index="flat"))


class TestGraphsOnDisk(VectorStoreSuite):
    """Buffers so small that graphs are made while the tests run."""

    @pytest.fixture
    def make_store(self, tmp_path: Path) -> Iterator[MakeStore]:
        """Stores in folders of their own that seal every 16 vectors."""
        numbers = count()
        with ExitStack() as stack:
            yield lambda dim: stack.enter_context(
                FAISSVectorStore(dim, tmp_path / str(next(numbers)), index="hnsw", buffer_rows=16)
            )


class TestInvertedFilesOnDisk(VectorStoreSuite):
    """Inverted files instead of graphs, of shortened vectors."""

    @pytest.fixture
    def make_store(self, tmp_path: Path) -> Iterator[MakeStore]:
        """Stores in folders of their own that seal every 16 vectors."""
        numbers = count()
        with ExitStack() as stack:
            yield lambda dim: stack.enter_context(
                FAISSVectorStore(dim, tmp_path / str(next(numbers)), index="ivf", storage="fp16", buffer_rows=16)
            )


class TestShortenedGraphsOnDisk(VectorStoreSuite):
    """Graphs that keep one byte a number, and weigh their best by the table's vectors."""

    @pytest.fixture
    def make_store(self, tmp_path: Path) -> Iterator[MakeStore]:
        """Stores in folders of their own that seal every 16 vectors."""
        numbers = count()
        with ExitStack() as stack:
            yield lambda dim: stack.enter_context(
                FAISSVectorStore(dim, tmp_path / str(next(numbers)), index="hnsw", storage="sq8", buffer_rows=16)
            )


class TestOverTheLoopback(VectorStoreSuite):
    """A client that encodes every call and decodes every answer."""

    @pytest.fixture
    def make_store(self) -> Iterator[MakeStore]:
        """Clients, each of a store in memory of its own."""
        with ExitStack() as stack:
            yield lambda dim: stack.enter_context(
                DistributedVectorStoreStub(stack.enter_context(FAISSVectorStore(dim, index="flat")))
            )
