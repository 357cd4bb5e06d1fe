"""What a search weighs, and how a match tells why it has its score."""

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


def test_an_explained_match_is_a_match() -> None:
    """It unpacks to three, equals a plain match of the same values, and carries its explanation beside them."""
    match = ExplainedMatch({"text": "a museum"}, 0.5, "u1", WHY)
    metadata, score, uid = match
    assert (metadata, score, uid) == match == Match({"text": "a museum"}, 0.5, "u1")
    assert len(match) == 3
    assert math.isclose(match.explanation.total, match.score, abs_tol=1e-6)
    assert "keyword" in repr(match)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda match: pickle.loads(pickle.dumps(match))])
def test_a_copy_keeps_its_explanation(copied) -> None:
    """However it is copied."""
    match = copied(ExplainedMatch({}, 0.5, "u1", WHY))
    assert type(match) is ExplainedMatch
    assert match.explanation == WHY


def test_a_match_with_another_score_has_lost_its_explanation() -> None:
    """`rescored` gives a plain match, since the sum would no longer be right."""
    assert type(ExplainedMatch({}, 0.5, "u1", WHY).rescored(0.1)) is Match


@pytest.mark.parametrize("name", ["vector", "keyword", "nearby", "recency", "priority", "half_life_s"])
@pytest.mark.parametrize("value", [-1, math.nan, math.inf, "1", None, True])
def test_a_weight_that_is_no_weight_is_refused(name: str, value: object) -> None:
    """Each must be a finite number, zero or more; the half-life more than zero."""
    with pytest.raises(InvalidInputError) as caught:
        Weights(**{name: value})  # type: ignore[arg-type]
    assert caught.value.field == f"weights.{name}"


def test_weights_that_leave_nothing_to_count_are_refused() -> None:
    """`nearby` is a part of `vector`, and counts for nothing alone."""
    with pytest.raises(InvalidInputError):
        Weights(vector=0, keyword=0)
    with pytest.raises(InvalidInputError):
        Weights(half_life_s=0)
    assert Weights(vector=0, keyword=0, recency=1).total == 1


@given(st.lists(st.floats(0, 1_000_000), min_size=4, max_size=4).filter(any))
def test_the_total_of_weights_is_a_number_to_divide_by(values: list[float]) -> None:
    """Whatever is accepted adds up to something finite above zero."""
    vector, keyword, recency, priority = values
    assert 0 < Weights(vector=vector, keyword=keyword, recency=recency, priority=priority).total < math.inf
