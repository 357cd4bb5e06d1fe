"""What is asked of the worker threads of a store: its requests in the shape of the engine, and its own upkeep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from super_advanced_agents.stores.faiss.rows.batch import RowBatch, Scope
from super_advanced_agents.stores.faiss.writing.update import Update
from super_advanced_agents.stores.filters import Filter
from super_advanced_agents.stores.requests import DeleteRequest
from super_advanced_agents.types import Explanation, Matrix, Weights


@dataclass(frozen=True, slots=True)
class RowBatches:
    """Whole records of several namespaces, all stored or none."""

    batches: list[RowBatch]


@dataclass(frozen=True, slots=True)
class ExpirySweep:
    """Take one step in deleting what has expired."""


@dataclass(frozen=True, slots=True)
class MaintenanceWrite:
    """Something else done to the tables, in a transaction of its own.

    Attributes:
        carry_out: inside it; its result is that of the request.
        follow: after its commit, while nothing else can be read or written between the two.
    """

    execute: Callable[[], object]
    follow: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True)
class ViewUpdate:
    """Not a write: a change of the view that must happen between writes."""

    execute: Callable[[], None]


Write: TypeAlias = RowBatch | RowBatches | Update | DeleteRequest | ExpirySweep | MaintenanceWrite | ViewUpdate


@dataclass(frozen=True, slots=True)
class Search:
    """One caller's queries (m, dim), already scaled as the metric wants.

    With `text` and one query it is a hybrid search, with `text` and none a search for words. A hybrid search may ask
    for explanations.
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
        """Searches of one kind, scope and filter are carried out together."""
        if self.text is None:
            return "vector"
        return "hybrid" if len(self.queries) else "keyword"


class Ranked(NamedTuple):
    """The rows found for one query, best first.

    Attributes:
        scores: (n,), what they are ordered by.
        rows: (n,), -1 past the end.
        reasons: why each has its score, if that was asked for.
        similarities: (n,), of the vectors, where the scores are not that themselves.
    """

    scores: NDArray[np.float32]
    rows: NDArray[np.int64]
    reasons: list[Explanation] | None = None
    similarities: NDArray[np.float32] | None = None
