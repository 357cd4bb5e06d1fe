"""One score from several signals, the same for every engine: meaning, session neighbours, words, age and priority.

An engine finds `candidates_wanted` candidates by vector and as many by words, measures the signals that count for all
of them, and hands the arrays to `fuse`. (Score fusion beat fusion of ranks by 0.12 of LoCoMo recall@10.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from super_advanced_agents.types import Explanation, Signal, Weights

CANDIDATES = 30
"""How many of each way are weighed: LoCoMo recall@10 is 0.718 with 20, 0.721 with 30 or 50, at a cost for each."""
CANDIDATES_BY_STANDING = 100
"""How many when age or priority counts, which may lift what is further down."""

_LEAST = 0.05
"""Below this the best signal is noise, and is not blown up to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionNeighbours:
    """What the turns before and after each candidate in its session are to the query.

    Attributes:
        before: (n,) float32, their similarities; 0 where there is none.
        after: (n,) float32, likewise.
        count: (n,) float32, how many each candidate has: 0, 1 or 2.
    """

    before: NDArray[np.float32]
    after: NDArray[np.float32]
    count: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What does not depend on the query.

    Attributes:
        updated_at: (n,) float64, seconds since the epoch of the last write; NaN for just now.
        priorities: (n,) float64; NaN where nobody said.
    """

    updated_at: NDArray[np.float64]
    priorities: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """The records found for one query by vector or by words, each once, in any order.

    Attributes:
        ids: (n,) integers; of equal scores the lower one comes first.
        similarities: (n,) float32, to the query; of those that only the words found, too.
        keyword_scores: (n,) float32; 0 for those that the words did not find.
        neighbours: None where the engine has no sessions, or the weights count no neighbours.
        standing: None unless `needs_standing`.
    """

    ids: NDArray[np.integer]
    similarities: NDArray[np.float32]
    keyword_scores: NDArray[np.float32]
    neighbours: SessionNeighbours | None = None
    standing: Standing | None = None


class Fused(NamedTuple):
    """The best candidates: their positions (k,), best first, scores (k,) of at most 1, and why, if asked for."""

    order: NDArray[np.int64]
    scores: NDArray[np.float32]
    explanations: list[Explanation] | None


class _Term(NamedTuple):
    """One signal of all candidates: as measured (n,), on the common scale (n,), and what it counts."""

    name: str
    values: NDArray[np.float32]
    scaled: NDArray[np.float32]
    weight: float


def needs_standing(weights: Weights) -> bool:
    """Return whether age or priority counts, so that `Candidates.standing` must be given."""
    return bool(weights.recency or weights.priority)


def candidates_wanted(weights: Weights, top_k: int) -> int:
    """Return how many candidates of each way (by vector, by words) are to be weighed."""
    return max(CANDIDATES_BY_STANDING if needs_standing(weights) else CANDIDATES, top_k)


def fuse(candidates: Candidates, weights: Weights, top_k: int, *, now: float, explain: bool = False) -> Fused:
    """Return the best `top_k` candidates by all signals together.

    Similarities and keyword scores are divided by their best candidate's, so that the two are on one scale whatever
    BM25's happens to be. Recency and priority are from 0 to 1 as they are.

    Args:
        candidates: what the engine found.
        weights: what counts.
        top_k: how many are wanted.
        now: seconds since the epoch, to which age is counted.
        explain: whether to say what each signal added.
    """
    if len(candidates.ids) == 0:
        return Fused(np.empty(0, np.int64), np.empty(0, np.float32), [] if explain else None)
    words = candidates.keyword_scores
    terms = [*_meaning(candidates, weights), _Term("keyword", words, words / _scale(words), weights.keyword)]
    if candidates.standing is not None:
        terms += _standing(candidates.standing, weights, now)
    scores = np.zeros(len(candidates.ids), dtype=np.float32)
    for term in terms:
        scores += term.scaled * np.float32(term.weight / weights.total)
    best = np.lexsort((candidates.ids, -scores))[:top_k]
    explanations = [_explanation(terms, int(at), weights.total) for at in best] if explain else None
    return Fused(best, scores[best], explanations)


def _meaning(candidates: Candidates, weights: Weights) -> list[_Term]:
    """The similarity and, counting `nearby` times that, its mean with the neighbours', both on one scale."""
    own, beside = candidates.similarities, candidates.neighbours
    if beside is None or not weights.nearby:
        return [_Term("vector", own, own / _scale(own), weights.vector)]
    around: NDArray[np.float32] = np.divide(own + beside.before + beside.after, beside.count + 1)
    scale = _scale(own + np.float32(weights.nearby) * around)
    return [
        _Term("vector", own, own / scale, weights.vector),
        _Term("nearby", around, around / scale, weights.vector * weights.nearby),
    ]


def _standing(standing: Standing, weights: Weights, now: float) -> list[_Term]:
    # A clock that went back makes no record newer than new.
    age_s = np.maximum(np.nan_to_num(now - standing.updated_at), 0)
    recency = np.exp2(-age_s / weights.half_life_s).astype(np.float32)
    priority = np.clip(np.nan_to_num(standing.priorities), 0, 1).astype(np.float32)
    return [
        _Term("recency", recency, recency, weights.recency),
        _Term("priority", priority, priority, weights.priority),
    ]


def _explanation(terms: Sequence[_Term], at: int, total: float) -> Explanation:
    signals = []
    for name, values, scaled, weight in terms:
        share, size = weight / total, float(scaled[at])
        if share:
            signals.append(Signal(name=name, value=float(values[at]), scaled=size, weight=share, added=size * share))
    return Explanation(signals=tuple(signals))


def _scale(signal: NDArray[np.float32]) -> np.float32:
    """The best candidate's; the worst one's where that is further below zero, so that none falls below -1."""
    return np.float32(max(float(signal.max()), -float(signal.min()), _LEAST))
