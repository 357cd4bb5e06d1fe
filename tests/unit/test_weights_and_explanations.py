"""Weights of a search are validated, and explained matches keep the explanation of their score."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.types import ExplainedMatch, Explanation, Match, Signal, Weights

WHY = Explanation(
    signals=(
        Signal(name="vector", value=0.4, scaled=0.8, weight=0.5, added=0.4),
        Signal(name="keyword", value=7.5, scaled=0.2, weight=0.5, added=0.1),
    )
)


def test_explained_match_equals_and_unpacks_like_a_match() -> None:
    """It carries its explanation beside the three values."""
    match = ExplainedMatch({"text": "a museum"}, 0.5, "u1", WHY)
    metadata, score, uid = match
    assert (metadata, score, uid) == match == Match({"text": "a museum"}, 0.5, "u1")
    assert len(match) == 3
    assert math.isclose(match.explanation.total, match.score, abs_tol=1e-6)
    assert "keyword" in repr(match)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda match: pickle.loads(pickle.dumps(match))])
def test_copied_explained_match_keeps_its_explanation(copied) -> None:
    """Matches are copied and sent to other processes."""
    match = copied(ExplainedMatch({}, 0.5, "u1", WHY))
    assert type(match) is ExplainedMatch
    assert match.explanation == WHY


def test_rescored_explained_match_is_a_plain_match() -> None:
    """The sum of its explanation would no longer be the score."""
    assert type(ExplainedMatch({}, 0.5, "u1", WHY).rescored(0.1)) is Match


@pytest.mark.parametrize("name", ["vector", "keyword", "nearby", "recency", "priority", "half_life_s"])
@pytest.mark.parametrize("value", [-1, math.nan, math.inf, "1", None, True])
def test_invalid_weight_is_refused_with_its_field(name: str, value: object) -> None:
    """Weights are finite and at least zero; the half-life is more than zero."""
    with pytest.raises(InvalidInputError) as caught:
        Weights(**{name: value})  # type: ignore[arg-type]
    assert caught.value.field == f"weights.{name}"


def test_weights_without_any_signal_are_refused() -> None:
    """`nearby` is a part of `vector` and counts for nothing alone."""
    with pytest.raises(InvalidInputError):
        Weights(vector=0, keyword=0)
    with pytest.raises(InvalidInputError):
        Weights(half_life_s=0)
    assert Weights(vector=0, keyword=0, recency=1).total == 1


@given(st.lists(st.floats(0, 1_000_000), min_size=4, max_size=4).filter(any))
def test_total_of_valid_weights_is_finite_and_positive(values: list[float]) -> None:
    """Scores are divided by it."""
    vector, keyword, recency, priority = values
    assert 0 < Weights(vector=vector, keyword=keyword, recency=recency, priority=priority).total < math.inf
