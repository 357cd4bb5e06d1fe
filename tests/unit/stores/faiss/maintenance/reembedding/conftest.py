"""A model that makes vectors from digests, and stores whose records have its vectors."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from super_advanced_agents import FAISSVectorStore
from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.types import Matrix, Record, Vector

GRAPHS = {"index": "hnsw", "buffer_rows": 32}


class Model:
    """A model that makes vectors from digests of its name and a text.

    Attributes:
        batches: the sizes of the batches that it embedded.
        before: called with the number of each batch before it is embedded; a test waits or raises in it.
        refused: a text that it refuses to embed.
    """

    def __init__(self, model_id: str, dim: int) -> None:
        self.model_id = model_id
        self.dim = dim
        self.batches: list[int] = []
        self.before: Callable[[int], None] = lambda _: None
        self.refused = ""

    def embed(self, text: str) -> Vector:
        """Return the vector of one text."""
        seed = int.from_bytes(hashlib.blake2b(f"{self.model_id} {text}".encode(), digest_size=8).digest(), "big")
        return np.random.default_rng(seed).standard_normal(self.dim).astype(np.float32)

    def embed_batch(self, texts: Sequence[str]) -> Matrix:
        """Return the vectors of some texts."""
        self.before(len(self.batches))
        if self.refused in texts:
            where = f"texts[{list(texts).index(self.refused)}]"
            raise InvalidInputError(f"{where} is not to its taste", field=where)
        self.batches.append(len(texts))
        return np.array([self.embed(text) for text in texts])

    async def aembed_batch(self, texts: Sequence[str]) -> Matrix:
        """Return the vectors of some texts, for asyncio."""
        return self.embed_batch(texts)


OLD, NEW = Model("old", 16), Model("new", 8)


@pytest.fixture
def new() -> Model:
    """The model to which a store is changed."""
    return Model("new", 8)


def fill(store: FAISSVectorStore, n: int, *, model: Model = OLD, namespace: str = "default", start: int = 0) -> None:
    for first in range(start, start + n, 500):
        numbers = range(first, min(first + 500, start + n))
        texts = [f"{['red', 'green', 'blue'][i % 3]} text {i}" for i in numbers]
        store.add_batch(
            model.embed_batch(texts),
            [{"text": text, "i": i} for text, i in zip(texts, numbers, strict=True)],
            [f"{i:06d}" for i in numbers],
            namespace=namespace,
            model_id=model.model_id,
            sessions=[f"s{i % 7}" for i in numbers],
        )


@pytest.fixture(params=[True, False], ids=["on disk", "in memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FAISSVectorStore]:
    """A store of 1,300 records in two namespaces, three pages of a re-embedding."""
    with FAISSVectorStore(16, tmp_path / "store" if request.param else None, **GRAPHS) as store:
        fill(store, 1_000)
        fill(store, 300, namespace="other")
        yield store


def all_records(store: FAISSVectorStore) -> list[Record]:
    found: list[Record] = []
    while page := store.scan(after=found[-1].uid if found else None, limit=1_000):
        found += page
    return found


def check_model(store: FAISSVectorStore, model: Model) -> None:
    """Assert that every record has the model's vector, and that searches use these vectors."""
    found = all_records(store)
    for record in found:
        assert record.model_id == model.model_id
        np.testing.assert_array_equal(record.vector, model.embed(record.text or ""))
    assert store.dim == model.dim
    assert store.count() == len(found)
    for record in found[::97]:
        for namespace in (record.namespace, None):
            best = store.search(record.vector, 3, namespace=namespace)
            assert best[0].score == pytest.approx(1.0, abs=1e-5)
            assert best[0].metadata["text"] == record.text
