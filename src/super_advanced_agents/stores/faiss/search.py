"""One caller's search in the engine's own shape, and the rows that it finds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from super_advanced_agents.stores.faiss.rows.batch import Scope
from super_advanced_agents.stores.filters import Filter
from super_advanced_agents.types import Explanation, Matrix, Weights


@dataclass(frozen=True, slots=True)
class Search:
    """Search with one caller's queries: hybrid with `text` and one query, keyword with `text` and none.

    Attributes:
        queries: (m, dim), already scaled as the metric wants.
        top_k: the number of matches for each query.
        scope: where to look; None for the whole store.
        tree: the filter, parsed.
        return_scores: whether matches have their scores, or 0.
        text: what a hybrid or a keyword search looks for.
        weights: what counts in a hybrid search.
        explain: whether each match of a hybrid search comes with an explanation.
    """

    queries: Matrix
    top_k: int
    scope: Scope | None
    tree: Filter | None
    return_scores: bool = True
    text: str | None = None
    weights: Weights = field(default_factory=Weights)
    explain: bool = False

    @property
    def kind(self) -> Literal["vector", "hybrid", "keyword"]:
        """The kind; searches of one kind, scope and filter share a pass."""
        if self.text is None:
            return "vector"
        return "hybrid" if len(self.queries) else "keyword"


class Ranked(NamedTuple):
    """Hold the rows found for one query, best first.

    Attributes:
        scores: (n,) float32, in descending order.
        rows: (n,) int64, -1 past the end.
        reasons: an explanation of each score, where the search asked for it.
        similarities: (n,) float32, of the vectors, where the scores are something else.
    """

    scores: NDArray[np.float32]
    rows: NDArray[np.int64]
    reasons: list[Explanation] | None = None
    similarities: NDArray[np.float32] | None = None
