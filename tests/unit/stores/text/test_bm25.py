"""Tests of the ranking function that the keyword searches of all engines share."""

from __future__ import annotations

import numpy as np
import pytest

from super_advanced_agents.stores.text.bm25 import (
    FIELDS,
    idf,
    indexed_words,
    length_code,
    lengths_of,
    saturated,
    word_boosts,
)


def test_lengths_keep_their_order_and_fit_in_a_byte():
    """Short lengths are exact; of long ones the code's length is at most a ninth below."""
    lengths = [*range(100), 1_000, 50_000, 2_000_000_000]
    codes = [length_code(each) for each in lengths]
    assert codes == sorted(codes)
    assert max(codes) < 256
    scored = lengths_of(np.array(codes, np.uint8))
    assert scored[:41].tolist() == list(range(41))
    assert all(length * 8 / 9 <= each <= length for each, length in zip(scored, lengths, strict=True))


def test_rarer_terms_and_more_of_them_in_shorter_fields_score_higher():
    """A term of every text still counts."""
    assert idf(100, 1) > idf(100, 50) > idf(100, 100) > 0
    scores = saturated(np.array([1.0, 2.0, 2.0]), np.array([10.0, 10.0, 5.0]), 8.0)
    assert 0 < scores[0] < scores[1] < scores[2] < 2.2


def test_terms_of_one_word_share_its_rarity():
    """A name is as rare as in the texts of all languages together."""
    counts = {"anna": 40, "de/anna": 1, "berlin": 1}
    boosts = word_boosts([["anna", "de/anna"], ["berlin"]], lambda field, term: counts[term], 41)
    for field, weight in FIELDS.items():
        assert boosts[field, "anna"] == boosts[field, "de/anna"] == pytest.approx(weight * idf(41, 41))
        assert boosts[field, "berlin"] == pytest.approx(weight * idf(41, 1))


def test_only_the_rarest_of_many_words_count():
    """Terms that no text has are left out first."""
    words = [(f"w{i}", f"de/w{i}") for i in range(100)]
    found = indexed_words(words, lambda field, term: 0 if "/" in term else int(term[1:]))
    assert found == [[f"w{i}"] for i in range(1, 49)]
