"""Tests of fusion: one score from several signals, computed on plain arrays."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from super_advanced_agents.stores.fusion import (
    CANDIDATES,
    CANDIDATES_WITH_STATIC_SIGNALS,
    Candidates,
    SessionNeighbours,
    StaticSignals,
    candidate_count,
    fuse,
    needs_static_signals,
)
from super_advanced_agents.types import Weights

NOW = 1_000_000.0


class Row(NamedTuple):
    """One candidate, as the reference reads it.

    Attributes:
        similarity: its vector's similarity to the query.
        keyword: its BM25 score.
        neighbours: the similarities of its neighbours in the session.
    """

    id: int
    similarity: float
    keyword: float
    neighbours: tuple[float, ...] = ()
    updated_at: float = math.nan
    priority: float = math.nan


SIMILARITIES = st.floats(-1, 1, width=16)
ROWS = st.lists(
    st.builds(
        Row,
        id=st.integers(0, 2**32 - 1),
        similarity=SIMILARITIES,
        keyword=st.just(0.0) | st.floats(0, 40, width=16),
        neighbours=st.lists(SIMILARITIES, max_size=2).map(tuple),
        updated_at=st.just(math.nan) | st.floats(0, 2 * NOW, width=32),
        priority=st.just(math.nan) | st.floats(-2, 2, width=16),
    ),
    max_size=12,
    unique_by=lambda row: row.id,
)
AMOUNTS = st.sampled_from([0.0, 0.25, 1.0, 3.0])
WEIGHTS = st.builds(
    Weights,
    vector=AMOUNTS,
    keyword=st.sampled_from([0.5, 1.0]),
    nearby=AMOUNTS,
    recency=AMOUNTS,
    priority=AMOUNTS,
    half_life_s=st.sampled_from([1.0, 3_600.0, NOW]),
)


def candidates_of(rows: list[Row], *, sessions: bool = True, static_signals: bool = True) -> Candidates:
    """Return the arrays that an engine would pass to `fuse`."""
    pairs = [(*row.neighbours, 0.0, 0.0)[:2] for row in rows]
    before, after = np.array(pairs, dtype=np.float32).reshape(-1, 2).T
    count = np.array([len(row.neighbours) for row in rows], dtype=np.float32)
    return Candidates(
        ids=np.array([row.id for row in rows], dtype=np.uint32),
        similarities=np.array([row.similarity for row in rows], dtype=np.float32),
        keyword_scores=np.array([row.keyword for row in rows], dtype=np.float32),
        neighbours=SessionNeighbours(before=before, after=after, count=count) if sessions else None,
        static_signals=StaticSignals(
            updated_at=np.array([row.updated_at for row in rows], dtype=np.float64),
            priorities=np.array([row.priority for row in rows], dtype=np.float64),
        )
        if static_signals
        else None,
    )


def reference(rows: list[Row], weights: Weights) -> dict[int, dict[str, tuple[float, float, float]]]:
    """Return for each id and signal its value, its scaled value and its weight, computed row by row."""

    def scale(values: list[float]) -> float:
        return max(*values, *(-value for value in values), 0.05)

    mean_similarity = {row.id: sum([row.similarity, *row.neighbours]) / (1 + len(row.neighbours)) for row in rows}
    vector_scale = scale([row.similarity + weights.nearby * mean_similarity[row.id] for row in rows])
    keyword_scale = scale([row.keyword for row in rows])
    expected = {}
    for row in rows:
        age = 0.0 if math.isnan(row.updated_at) else max(0.0, NOW - row.updated_at)
        recency = 0.5 ** (age / weights.half_life_s)
        priority = 0.0 if math.isnan(row.priority) else min(1.0, max(0.0, row.priority))
        expected[row.id] = {
            "vector": (row.similarity, row.similarity / vector_scale, weights.vector),
            "nearby": (
                mean_similarity[row.id],
                mean_similarity[row.id] / vector_scale,
                weights.vector * weights.nearby,
            ),
            "keyword": (row.keyword, row.keyword / keyword_scale, weights.keyword),
            "recency": (recency, recency, weights.recency),
            "priority": (priority, priority, weights.priority),
        }
    return expected


@given(ROWS, WEIGHTS, st.integers(1, 15))
def test_fuse_returns_the_scores_order_and_explanations_of_a_plain_reference(
    rows: list[Row], weights: Weights, top_k: int
) -> None:
    """Every signal of every candidate equals that of the reference, which takes one row after the other."""
    candidates = candidates_of(rows)
    order, scores, explanations = fuse(candidates, weights, top_k, now=NOW, explain=True)
    expected = reference(rows, weights) if rows else {}
    totals = {id_: sum(by * share for _, by, share in expected[id_].values()) / weights.total for id_ in expected}
    found = [rows[at].id for at in order.tolist()]
    assert len(set(found)) == len(found) == min(top_k, len(rows))
    assert scores.tolist() == pytest.approx([totals[id_] for id_ in found], abs=2e-6)
    assert sorted(zip((-scores).tolist(), found, strict=True)) == [*zip((-scores).tolist(), found, strict=True)]
    if found:
        assert (
            min(totals[id_] for id_ in found)
            >= max([totals[id_] for id_ in expected if id_ not in found], default=-9) - 4e-6
        )
    assert explanations is not None
    for id_, score, explanation in zip(found, scores.tolist(), explanations, strict=True):
        assert [signal.name for signal in explanation.signals] == [
            name for name in expected[id_] if expected[id_][name][2]
        ]
        assert explanation.total == pytest.approx(score, abs=2e-6)
        for signal in explanation.signals:
            value, scaled, weight = expected[id_][signal.name]
            assert (signal.value, signal.scaled) == pytest.approx((value, scaled), rel=1e-5, abs=1e-6)
            assert signal.weight == pytest.approx(weight / weights.total)


@given(ROWS, WEIGHTS, st.randoms())
def test_fuse_returns_equal_scores_for_any_order_of_candidates(
    rows: list[Row], weights: Weights, random: object
) -> None:
    """An engine may list its candidates in any order; ids and scores are equal to the bit."""
    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    ranked = []
    for listed in (rows, shuffled):
        order, scores, _ = fuse(candidates_of(listed), weights, 12, now=NOW)
        ranked.append([(listed[at].id, score) for at, score in zip(order.tolist(), scores.tolist(), strict=True)])
    assert ranked[0] == ranked[1]


def test_fuse_orders_equal_scores_by_id() -> None:
    """Ties are broken by the engine's ids, the lowest first."""
    rows = [Row(id_, 0.5, 2.0) for id_ in (7, 3, 9, 1)]
    order, scores, explanations = fuse(candidates_of(rows), Weights(), 3, now=NOW)
    assert [rows[at].id for at in order.tolist()] == [1, 3, 7]
    assert len(set(scores.tolist())) == 1
    assert explanations is None


def test_fuse_keeps_the_score_low_when_no_candidate_is_similar() -> None:
    """Weak similarities are not scaled up to what a good match would count."""
    _, scores, _ = fuse(candidates_of([Row(1, 0.01, 0.0)], sessions=False), Weights(keyword=0), 1, now=NOW)
    assert scores.tolist() == pytest.approx([0.2])


def test_fuse_counts_neighbours_only_with_sessions_and_a_weight() -> None:
    """Without either, only the candidate's own similarity counts."""
    rows = [Row(1, 0.5, 0.0, (1.0, 1.0)), Row(2, 0.6, 0.0)]
    for candidates, weights in (
        (candidates_of(rows, sessions=False), Weights()),
        (candidates_of(rows), Weights(nearby=0)),
    ):
        order, _, explanations = fuse(candidates, weights, 2, now=NOW, explain=True)
        assert order.tolist() == [1, 0]
        assert explanations is not None
        assert {signal.name for why in explanations for signal in why.signals} == {"vector", "keyword"}
    assert fuse(candidates_of(rows), Weights(), 2, now=NOW).order.tolist() == [0, 1]


def test_fuse_returns_empty_results_without_candidates() -> None:
    """The explanations are an empty list when they are requested, and None otherwise."""
    assert fuse(candidates_of([]), Weights(), 5, now=NOW).explanations is None
    order, scores, explanations = fuse(candidates_of([]), Weights(), 5, now=NOW, explain=True)
    assert (len(order), len(scores), explanations) == (0, 0, [])


@pytest.mark.parametrize(
    ("weights", "top_k", "count"),
    [
        (Weights(), 5, CANDIDATES),
        (Weights(), 80, 80),
        (Weights(recency=0.1), 5, CANDIDATES_WITH_STATIC_SIGNALS),
        (Weights(priority=0.1), 5, CANDIDATES_WITH_STATIC_SIGNALS),
        (Weights(priority=0.1), 500, 500),
    ],
)
def test_candidate_count_is_larger_when_recency_or_priority_has_a_weight(
    weights: Weights, top_k: int, count: int
) -> None:
    """It is 30 per search, 100 when age or priority may lift lower ranks, and never less than `top_k`."""
    assert candidate_count(weights, top_k) == count
    assert needs_static_signals(weights) is bool(weights.recency or weights.priority)
