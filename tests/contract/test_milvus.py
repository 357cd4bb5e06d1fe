"""The behaviour suite of vector stores, run over a real Milvus server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import pytest
from pymilvus import MilvusClient

from super_advanced_agents.stores import MilvusVectorStore, VectorStore
from super_advanced_agents.stores.options import IndexKind, Metric
from super_advanced_agents.testing.store_similarity import StoreSimilarity
from super_advanced_agents.testing.store_suite import DIM, MakeStore, VectorStoreSuite

_collections: dict[tuple[int, Metric, IndexKind], list[str]] = {}
"""The names of empty collections: making one and loading it takes seconds."""


@contextmanager
def _stores(url: str, metric: Metric, index: IndexKind) -> Iterator[MakeStore]:
    """Yield a function that opens stores of empty collections, which are emptied afterwards."""
    opened: list[tuple[MilvusVectorStore, str]] = []

    def make(dim: int) -> MilvusVectorStore:
        free = _collections.setdefault((dim, metric, index), [])
        name = free.pop() if free else f"suite_{uuid4().hex}"
        store = MilvusVectorStore(f"{url}/{name}", dim, metric=metric, index=index, partitions=2)
        opened.append((store, name))
        return store

    try:
        yield make
    finally:
        for store, name in opened:
            store.close()
            _empty(url, name)
            _collections[store.dim, metric, index].append(name)


def _empty(url: str, name: str) -> None:
    client = MilvusClient(uri=url.replace("milvus:", "http:"))
    for collection in (name, f"{name}_writes"):
        if client.has_collection(collection):
            client.delete(collection, filter='pk != ""')
            # A read with the level Strong waits for the deletion.
            [left] = client.query(collection, output_fields=["count(*)"], consistency_level="Strong")
            assert left["count(*)"] == 0
    client.close()


class TestMilvus(VectorStoreSuite):
    """Graphs, with the cosine metric."""

    @pytest.fixture
    def make_store(self, milvus_url: str) -> Iterator[MakeStore]:
        """Return stores of one server, each of a collection of its own."""
        with _stores(milvus_url, "cosine", "auto") as make:
            yield make


class TestMilvusByInnerProduct(StoreSimilarity):
    """Exact search by inner product: the tests of scores, since the others do not depend on it."""

    metric = "dot"

    @pytest.fixture
    def store(self, milvus_url: str) -> Iterator[VectorStore]:
        """Return an empty store."""
        with _stores(milvus_url, "dot", "flat") as make:
            yield make(DIM)
