"""Which answers count as the same."""

from __future__ import annotations

import numpy as np
import pytest

from super_advanced_agents.orchestration.similarity import group_answers, normalise_answer

ALIKE = np.ones((3, 4), np.float32) / 2


def _groups(texts, vectors=None):
    return [group.members for group in group_answers(texts, vectors, min_similarity=0.9)]


def test_words_alone_count_without_vectors():
    """Case, punctuation and articles do not; the largest group comes first, then the one that began first."""
    assert _groups(["Lyon", "The capital is Paris.", "capital is PARIS", "lyon!", "Nice"]) == [(0, 3), (1, 2), (4,)]
    assert normalise_answer("A 1,000 %!") == "1000"
    assert normalise_answer("?!") == "?!"


def test_similarity_joins_other_words_of_the_same_meaning():
    """The answer said most often leads its group, else the first."""
    texts = ["It broke down", "It stopped working", "it broke down"]
    groups = group_answers(texts, ALIKE, min_similarity=0.9)
    assert [(group.leader, group.members) for group in groups] == [(0, (0, 1, 2))]


@pytest.mark.parametrize(
    "texts",
    [
        ["The answer is 41.", "The answer is 42.", "The answer is 43."],
        ["It is open.", "It is not open.", "It is open at 3."],
        ["He can", "He can't", "10 of them can"],
    ],
)
def test_numbers_and_denials_are_never_alike(texts):
    """However near the model finds them."""
    assert _groups(texts, ALIKE) == [(0,), (1,), (2,)]


def test_real_vectors_tell_paraphrases_from_other_answers(embedder):
    """With the default model and the default threshold."""
    texts = [
        "The server crashed because it ran out of memory.",
        "The disk of the server was full.",
        "It ran out of memory, which crashed the server.",
    ]
    assert _groups(texts, embedder.embed_batch(texts)) == [(0, 2), (1,)]
