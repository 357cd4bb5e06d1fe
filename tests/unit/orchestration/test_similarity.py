"""Test the grouping of answers that say the same."""

from __future__ import annotations

import numpy as np
import pytest

from super_advanced_agents.orchestration.similarity import group_answers, normalise_answer

EQUAL_VECTORS = np.ones((3, 4), np.float32) / 2


def _groups(texts, vectors=None):
    return [group.members for group in group_answers(texts, vectors, min_similarity=0.9)]


def test_group_answers_compares_normalised_texts_without_vectors():
    """Case, punctuation and articles do not matter; larger groups come first, then earlier ones."""
    assert _groups(["Lyon", "The capital is Paris.", "capital is PARIS", "lyon!", "Nice"]) == [(0, 3), (1, 2), (4,)]
    assert normalise_answer("A 1,000 %!") == "1000"
    assert normalise_answer("?!") == "?!"


def test_group_answers_joins_paraphrases_by_their_vectors():
    """The most frequent answer leads its group, else the first one."""
    texts = ["It broke down", "It stopped working", "it broke down"]
    groups = group_answers(texts, EQUAL_VECTORS, min_similarity=0.9)
    assert [(group.leader, group.members) for group in groups] == [(0, (0, 1, 2))]


@pytest.mark.parametrize(
    "texts",
    [
        ["The answer is 41.", "The answer is 42.", "The answer is 43."],
        ["It is open.", "It is not open.", "It is open at 3."],
        ["He can", "He can't", "10 of them can"],
    ],
)
def test_group_answers_separates_different_numbers_and_negations(texts):
    """The vectors are equal and do not matter."""
    assert _groups(texts, EQUAL_VECTORS) == [(0,), (1,), (2,)]


def test_group_answers_separates_other_answers_from_paraphrases_by_real_vectors(embedder):
    """The model and the threshold are the defaults."""
    texts = [
        "The server crashed because it ran out of memory.",
        "The disk of the server was full.",
        "It ran out of memory, which crashed the server.",
    ]
    assert _groups(texts, embedder.embed_batch(texts)) == [(0, 2), (1,)]
