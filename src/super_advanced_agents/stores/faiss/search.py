"""A search request as the FAISS store executes it, and the ranked rows that answer it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from super_advanced_agents._runtime.concurrency.budget import Budget
from super_advanced_agents.stores.filters import Filter
from super_advanced_agents.stores.records.scope import Scope
from super_advanced_agents.stores.requests import QueryRequest
from super_advanced_agents.types import Explanation, Matrix, Weights


@dataclass(frozen=True, slots=True)
class Search:
    """Hold one validated search: by vector, by keywords or by both.

    It is a vector search without `text`, a hybrid search with `text` and one query, and a keyword search with `text`
    and no query, or with `by_keywords` and a query that only measures similarity.

    Attributes:
        queries: (m, dim) float32, scaled as the metric requires.
        top_k: the number of matches for each query.
        scope: the tenant and namespace to search; None for the whole store.
        tree: the parsed filter; None for no filter.
        return_scores: False to give every match the score 0.
        text: the query text of a hybrid or keyword search.
        weights: the weights of the signals of a hybrid search.
        explain: True to explain each score of a hybrid search.
        by_keywords: True for a keyword search with a query.
        min_similarity: the least similarity of a match; None for any.
        budget: the time that the search may take.
    """

    queries: Matrix
    top_k: int
    scope: Scope | None
    tree: Filter | None
    return_scores: bool = True
    text: str | None = None
    weights: Weights = field(default_factory=Weights)
    explain: bool = False
    by_keywords: bool = False
    min_similarity: float | None = None
    budget: Budget = field(default_factory=Budget, compare=False)

    @classmethod
    def of(cls, request: QueryRequest[Any], queries: Matrix, **options: Any) -> Self:
        """Build the search of a request, from its scaled query vectors and further fields."""
        return cls(
            queries=queries,
            top_k=request.top_k,
            scope=Scope.of_reading(request.tenant, request.namespace),
            tree=request.tree,
            min_similarity=request.min_similarity,
            **options,
        )

    @property
    def kind(self) -> Literal["vector", "hybrid", "keyword"]:
        """The kind of search: `vector`, `hybrid` (vector and keywords) or `keyword`."""
        if self.text is None:
            return "vector"
        return "hybrid" if len(self.queries) and not self.by_keywords else "keyword"


class Ranked(NamedTuple):
    """Hold the rows that answer one query, best first.

    Attributes:
        scores: (n,) float32, in descending order.
        rows: (n,) int64, -1 past the end.
        explanations: an explanation of each score; None unless requested.
        similarities: (n,) float32, vector similarities; None where they are the scores or there are none.
    """

    scores: NDArray[np.float32]
    rows: NDArray[np.int64]
    explanations: list[Explanation] | None = None
    similarities: NDArray[np.float32] | None = None

    def best(self, top_k: int, *, min_similarity: float | None) -> Ranked:
        """Return the best `top_k` rows of at least this similarity; all rows if it is None."""
        if min_similarity is None:
            return self
        similarities = self.scores if self.similarities is None else self.similarities
        kept = np.flatnonzero(similarities.astype(np.float64) >= min_similarity)[:top_k]
        return Ranked(
            self.scores[kept],
            self.rows[kept],
            None if self.explanations is None else [self.explanations[i] for i in kept.tolist()],
            None if self.similarities is None else self.similarities[kept],
        )
