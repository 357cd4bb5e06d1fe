"""Tests of `min_similarity`, which leaves out of a search what is not similar to the query."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.stores.base import VectorStore
from super_advanced_agents.testing.store_metric import StoreMetric
from super_advanced_agents.testing.store_validation import at
from super_advanced_agents.types import Match

DEGREES = {"a": 0, "b": 20, "c": 50, "d": 70, "e": 120}
"""The angles of the records to the query, whose cosines are 1, 0.94, 0.64, 0.34 and -0.5."""


def _uids(matches: Sequence[Match]) -> str:
    return "".join(match.uid for match in matches)


class StoreSimilarity(StoreMetric):
    """Test the least similarity of every kind of search; a mixin of `VectorStoreSuite`."""

    @pytest.fixture
    def filled(self, store: VectorStore) -> VectorStore:
        """Return a store with records at several angles to `at(0)`, some with the word "tea"."""
        texts = ["coffee", "coffee", "tea with milk", "tea", "tea tea"]
        store.add_batch([at(each) for each in DEGREES.values()], [{"text": text} for text in texts], list(DEGREES))
        return store

    @pytest.mark.parametrize(
        ("least", "expected"), [(None, "abcde"), (-1, "abcde"), (0, "abcd"), (0.5, "abc"), (0.9, "ab"), (1.1, "")]
    )
    def test_search_leaves_out_what_is_less_similar(
        self, filled: VectorStore, least: float | None, expected: str
    ) -> None:
        """Matches above the limit keep the scores that they have without a limit."""
        everything = {match.uid: match for match in filled.search(at(0), 5)}
        found = filled.search(at(0), 5, min_similarity=least)
        assert _uids(found) == expected
        assert [match.score for match in found] == [everything[uid].score for uid in expected]
        assert _uids(filled.search(at(0), 2, min_similarity=least)) == expected[:2]
        assert _uids(filled.search_batch([at(0), at(0)], 5, min_similarity=least)[1]) == expected
        assert _uids(filled.search_with_filter(at(0), 5, lambda _: True, min_similarity=least)) == expected
        assert _uids(filled.search(at(0), 5, min_similarity=least, where={"$uid": {"$ne": "b"}})) == expected.replace(
            "b", ""
        )

    def test_every_match_has_at_least_the_similarity_of_the_weakest_one_asked_for(self, filled: VectorStore) -> None:
        """A limit that equals the similarity of a match keeps it, to the last bit."""
        for match in filled.search(at(0), 5):
            assert match.similarity is not None
            for found in (
                filled.search(at(0), 5, min_similarity=match.similarity),
                filled.search_hybrid(at(0), "tea", 5, min_similarity=match.similarity),
            ):
                assert match.uid in _uids(found)
                assert all(each.similarity is not None and each.similarity >= match.similarity for each in found)

    def test_hybrid_search_leaves_out_what_only_shares_words(self, filled: VectorStore) -> None:
        """The limit is on the match's own vector; scores, order and explanations of the rest stay."""
        everything = filled.search_hybrid(at(0), "tea", 5, explain=True)
        assert set(_uids(everything)) == set("abcde")
        found = filled.search_hybrid(at(0), "tea", 5, min_similarity=0.5, explain=True)
        kept = [match for match in everything if match.similarity is not None and match.similarity >= 0.5]
        assert _uids(found) == _uids(kept)
        assert set(_uids(found)) == set("abc")
        assert [(each.score, each.explanation) for each in found] == [(each.score, each.explanation) for each in kept]
        assert _uids(filled.search_hybrid(at(0), "tea", 1, min_similarity=0.5)) == _uids(kept[:1])
        assert filled.search_hybrid(at(0), "tea", 5, min_similarity=2) == []

    def test_keyword_search_measures_similarity_by_the_vector_it_is_given(self, filled: VectorStore) -> None:
        """The vector ranks nothing and finds nothing; without a limit it adds the similarity alone."""
        plain = filled.search_keywords("tea", 5)
        assert set(_uids(plain)) == set("cde")
        assert [match.similarity for match in plain] == [None] * 3
        measured = filled.search_keywords("tea", 5, query_vector=at(0))
        assert [(match.uid, match.score) for match in measured] == [(match.uid, match.score) for match in plain]
        for match in measured:
            assert match.similarity == pytest.approx(math.cos(math.radians(DEGREES[match.uid])), abs=1e-5)
        found = filled.search_keywords("tea", 5, query_vector=at(0), min_similarity=0.3)
        assert [(match.uid, match.score) for match in found] == [
            (match.uid, match.score) for match in plain if match.uid in "cd"
        ]
        assert filled.search_keywords("tea", 5, query_vector=at(0), min_similarity=0.9) == []

    @pytest.mark.parametrize("least", [math.nan, math.inf, "0.5", True, [0.5], 10**400])
    def test_search_refuses_an_invalid_least_similarity(self, store: VectorStore, least: Any) -> None:
        """Every kind of search refuses an invalid `min_similarity` with an error that names it."""
        searches: list[Callable[[], object]] = [
            lambda: store.search(at(0), min_similarity=least),
            lambda: store.search_hybrid(at(0), "tea", min_similarity=least),
            lambda: store.search_keywords("tea", query_vector=at(0), min_similarity=least),
            lambda: store.search_with_filter(at(0), 5, lambda _: True, min_similarity=least),
        ]
        for search in searches:
            with pytest.raises(InvalidInputError) as refused:
                search()
            assert refused.value.field == "min_similarity"

    def test_keyword_search_refuses_a_limit_that_it_cannot_measure(self, store: VectorStore) -> None:
        """A keyword search without a query vector refuses a limit, in place of ignoring it."""
        with pytest.raises(InvalidInputError, match="query's vector") as refused:
            store.search_keywords("tea", min_similarity=0.5)
        assert refused.value.field == "min_similarity"
        with pytest.raises(InvalidInputError) as refused:
            store.search_keywords("tea", query_vector=[1.0])
        assert refused.value.field == "query_vector"
