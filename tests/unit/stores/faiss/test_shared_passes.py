"""Test that a search or a write that cannot be executed harms no other one that shares its pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from tests.unit.stores.conftest import DIM, Internals, vectors

from super_advanced_agents import FAISSVectorStore, Match
from super_advanced_agents._runtime.clock import ForwardClock
from super_advanced_agents.errors import DimensionMismatchError, InvalidInputError, StoreError
from super_advanced_agents.stores.faiss.metadata.index import _StaleViewError  # private: raised inside the engine only
from super_advanced_agents.stores.faiss.rows.batch import RowBatch
from super_advanced_agents.stores.faiss.search import Search
from super_advanced_agents.stores.filters import parse
from super_advanced_agents.stores.records.scope import Scope
from super_advanced_agents.stores.requests import AddRequest, Bounds

OTHER_DIM = DIM // 2
SCOPE = Scope("default", "default")


@pytest.fixture
def store() -> Iterator[FAISSVectorStore]:
    """A store with four memories."""
    with FAISSVectorStore(DIM) as made:
        made.add_batch(vectors(4), [{"text": f"word {i}"} for i in range(4)])
        yield made


def _search(dim: int, *, count: int = 1, text: str | None = None, where: dict[str, Any] | None = None) -> Search:
    """A search as it stands in the queue, for a store whose vectors had `dim` numbers when it was checked."""
    tree = None if where is None else parse(where)
    return Search(queries=np.ones((count, dim), np.float32), top_k=3, scope=None, tree=tree, text=text)


def _counts(results: list[list[list[Match]] | BaseException]) -> list[int | type[BaseException]]:
    return [type(result) if isinstance(result, BaseException) else len(result[0]) for result in results]


def test_keyword_searches_queued_for_two_dimensions_are_all_answered(store: FAISSVectorStore) -> None:
    """They have no vector, so a re-embedding between the two changes nothing for them."""
    searches = [_search(dim, count=0, text="word") for dim in (DIM, OTHER_DIM)]
    assert _counts(Internals(store).search_together(searches)) == [3, 3]


@pytest.mark.parametrize("dims", [(OTHER_DIM, DIM), (DIM, OTHER_DIM)])
@pytest.mark.parametrize("text", [None, "word"])
def test_query_of_another_dimension_fails_alone(
    store: FAISSVectorStore, dims: tuple[int, int], text: str | None
) -> None:
    """Its caller gets the error, and the caller beside it the matches."""
    results = Internals(store).search_together([_search(dim, text=text) for dim in dims])
    assert _counts(results) == [3 if dim == DIM else DimensionMismatchError for dim in dims]


def test_search_of_rows_that_the_table_lost_fails_alone_with_a_store_error(
    store: FAISSVectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says what to do; searches with another filter are answered."""
    internals = Internals(store)
    candidates = internals.index.candidates

    def lost(view: Any, scope: Any, tree: Any, now: float) -> Any:
        if tree is not None:
            raise _StaleViewError
        return candidates(view, scope, tree, now)

    monkeypatch.setattr(internals.index, "candidates", lost)
    results = internals.search_together([_search(DIM, where={"n": 1}), _search(DIM)])
    assert _counts(results) == [StoreError, 3]
    reads: list[Callable[[], object]] = [lambda: store.count({"n": 1}), lambda: store.scan({"n": 1})]
    for read in reads:
        with pytest.raises(StoreError, match="open the store again"):
            read()


def test_write_of_another_dimension_commits_nothing(store: FAISSVectorStore) -> None:
    """No transaction and no new view come of it, so selections for equal filters are kept."""
    internals = Internals(store)
    commits, view = store.stats()["commits"], internals.index.view
    bounds = Bounds(dim=OTHER_DIM, limits=store.limits)
    request = AddRequest(bounds=bounds, vectors=np.ones((1, OTHER_DIM), np.float32), uids=["a"])
    batch = RowBatch.of(request, request.vectors, now=0.0, clock=ForwardClock())
    with pytest.raises(InvalidInputError):
        internals.writer.submit(batch).wait()
    assert (store.stats()["commits"], internals.index.view) == (commits, view)
