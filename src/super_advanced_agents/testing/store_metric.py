"""Tests of scores and zero vectors, which depend on a store's metric: cosine or dot product."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.stores.base import VectorStore
from super_advanced_agents.stores.options import Metric
from super_advanced_agents.testing.store_validation import DIM, at
from super_advanced_agents.types import Vector


class StoreMetric:
    """Test a store's scores and zero vectors by its metric; a mixin of `VectorStoreSuite`.

    Attributes:
        metric: the metric of the stores that `make_store` returns; a subclass for another one sets it.
    """

    metric: Metric = "cosine"

    def score(self, vector: Vector, query: Vector) -> float:
        """Return the score to expect for a vector and a query: their cosine or dot product."""
        product = float(np.dot(vector.astype(np.float64), query))
        return product if self.metric == "dot" else product / float(np.linalg.norm(vector) * np.linalg.norm(query))

    def test_search_ranks_by_the_metric(self, store: VectorStore) -> None:
        """Search ranks vectors by their cosine or dot product with the query, negative ones too."""
        degrees = [120, 5, 60, 180, 0, 90]
        vectors = {f"d{angle}": at(angle) * np.float32(i + 0.5) for i, angle in enumerate(degrees)}
        query = at(0) * 40
        store.add_batch(list(vectors.values()), None, list(vectors))
        expected = {uid: self.score(vector, query) for uid, vector in vectors.items()}
        order = sorted(expected, key=lambda uid: -expected[uid])
        found = store.search(query, 10)
        assert [match.uid for match in found] == order
        assert [match.score for match in found] == pytest.approx([expected[uid] for uid in order], abs=1e-5)
        assert all(match.similarity == match.score for match in found)
        assert [match.uid for match in store.search(at(0), 2)] == order[:2]
        assert isinstance(found[0].score, float)
        if self.metric == "cosine":
            assert order == ["d0", "d5", "d60", "d90", "d120", "d180"]
            assert all(-1 <= match.score <= 1 for match in found)

    def test_predicate_search_ranks_by_the_metric_beyond_the_first_thousand(self, store: VectorStore) -> None:
        """Predicate search ranks passing records by score, though 1,000 others are more similar."""
        vectors = {"far": at(170) * 2, "near": at(80) * 3, "long": at(150) * 9}
        store.add_batch(list(vectors.values()), [{"keep": True}] * 3, list(vectors))
        for first in (0, 600):
            store.add_batch([at(i / 20) * 4 for i in range(first, first + 600)], [{"keep": False}] * 600)
        expected = {uid: self.score(vector, at(0)) for uid, vector in vectors.items()}
        order = sorted(expected, key=lambda uid: -expected[uid])
        for top_k in (1, 5):
            found = store.search_with_filter(at(0), top_k, lambda metadata: bool(metadata["keep"]))
            assert [match.uid for match in found] == order[:top_k]
            assert [match.score for match in found] == pytest.approx([expected[m.uid] for m in found], abs=1e-5)
        assert store.search_with_filter(at(0), 1, lambda metadata: False) == []

    def test_zero_vector_is_refused_by_cosine_and_accepted_by_dot(self, store: VectorStore) -> None:
        """A cosine store refuses a zero vector; a dot store accepts it, and its score is always 0."""
        zero = np.zeros(DIM, dtype=np.float32)
        store.add_batch([at(0), at(180)], [{"v": 1}, {"v": 2}], ["x", "y"])
        [record] = store.get(["x"])
        calls: list[Callable[[], object]] = [
            lambda: store.add(zero, None, "z"),
            lambda: store.add_batch([at(1), zero], None, ["x", "z"]),
            lambda: store.put([replace(record, uid="z", vector=zero)]),
            lambda: store.update("x", vector=zero),
            lambda: store.search(zero),
            lambda: store.search_with_filter(zero, 1, lambda metadata: True),
        ]
        for call in calls:
            if self.metric == "cosine":
                with pytest.raises(InvalidInputError):
                    call()
            else:
                call()
        if self.metric == "cosine":
            assert [stored.metadata for stored in store.scan()] == [{"v": 1}, {"v": 2}]
            np.testing.assert_array_equal(store.get(["x"])[0].vector, at(0))
        else:
            assert {match.uid: match.score for match in store.search(at(0))} == {"x": 0.0, "z": 0.0, "y": -1.0}
