"""Sizes of answers that are known before they are built."""

from __future__ import annotations

import pytest

from super_advanced_agents.config import LIMITS
from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.stores.records.answer_sizes import embeddings_bytes


def test_embeddings_that_fit_into_an_answer_are_not_refused() -> None:
    """As base64 an embedding takes half the bytes that it takes as numbers."""
    assert embeddings_bytes(LIMITS, 1_000, 384, as_base64=False) == 1_000 * (256 + 384 * 12)
    assert embeddings_bytes(LIMITS, 1_000, 4_096, as_base64=True) < LIMITS.answer_bytes


def test_embeddings_beyond_an_answer_are_refused_with_the_number_that_fits() -> None:
    """The number in the hint is the largest that is answered."""
    with pytest.raises(InvalidInputError, match=r"at most 679 texts.*base64") as refused:
        embeddings_bytes(LIMITS, 1_000, 4_096, as_base64=False)
    assert refused.value.field == "input"
    assert embeddings_bytes(LIMITS, 679, 4_096, as_base64=False) <= LIMITS.answer_bytes
    with pytest.raises(InvalidInputError):
        embeddings_bytes(LIMITS, 680, 4_096, as_base64=False)
