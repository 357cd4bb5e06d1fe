"""Tests of a vector store's keyword search and hybrid search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.stores.base import VectorStore
from super_advanced_agents.testing.store_validation import DIM
from super_advanced_agents.types import ExplainedMatch, Match, Weights


def _unit(axis: int) -> list[float]:
    return [1.0 if i == axis % DIM else 0.0 for i in range(DIM)]


def _texts(matches: Sequence[Match]) -> list[str]:
    return [str(match.metadata.get("text")) for match in matches]


def _fill(store: VectorStore, texts: Sequence[str]) -> list[str]:
    return store.add_batch([_unit(i) for i in range(len(texts))], [{"text": text} for text in texts])


def _signal(match: Match, name: str) -> float:
    assert isinstance(match, ExplainedMatch)
    [value] = [signal.value for signal in match.explanation.signals if signal.name == name]
    return value


class StoreKeywords:
    """Test `search_keywords` and `search_hybrid`; a mixin of `VectorStoreSuite`."""

    def test_match_holds_the_record_fields_and_the_vector_similarity(self, store: VectorStore) -> None:
        """A match has its record's fields and, except in keyword search, the vector similarity."""
        vector = np.array([0.6, 0.8, 0, 0], dtype=np.float32)
        store.add(vector, {"text": "a cat", "n": 1}, "u", source="cats.md", session="monday")
        query = np.array([1, 0, 0, 0], dtype=np.float32)
        found = {
            "vector": store.search(query, 1),
            "hybrid": store.search_hybrid(query, "cats", 1),
            "keyword": store.search_keywords("cats", 1),
            "predicate": store.search_with_filter(query, 1, lambda metadata: metadata["n"] == 1),
        }
        [record] = store.get(["u"])
        for search, [match] in found.items():
            assert (match.text, match.source, match.session) == ("a cat", "cats.md", "monday"), search
            assert (match.created_at, match.updated_at) == (record.created_at, record.updated_at), search
            assert match.metadata == {"text": "a cat", "n": 1}, search
            assert match.similarity == (None if search == "keyword" else pytest.approx(0.6)), search

    def test_keyword_search_ignores_case_endings_accents_and_stop_words(self, store: VectorStore) -> None:
        """Keyword search ignores case, word endings, accents, and stop words such as "the"."""
        _fill(store, ["Caroline went running in the caf\u00e9.", "The cat sat on the mat.", "Nothing to see here."])
        assert _texts(store.search_keywords("When did CAROLINE run?")) == ["Caroline went running in the caf\u00e9."]
        assert _texts(store.search_keywords("cafe")) == ["Caroline went running in the caf\u00e9."]
        assert _texts(store.search_keywords("what is the")) == []

    @pytest.mark.parametrize(
        "query",
        [
            "cat AND (",
            '"cat',
            "cat:mat",
            "+cat -mat",
            "text:cat",
            "cat*",
            "[cat TO dog]",
            "cat^9",
            "\\",
            "{}'); DROP",
            "\N{CAT} cat",
        ],
    )
    def test_query_text_has_no_syntax(self, store: VectorStore, query: str) -> None:
        """Operators, quotes and brackets in a query text raise no error and have no meaning."""
        _fill(store, ["The cat sat on the mat."])
        store.search_keywords(query)
        assert len(store.search_hybrid(_unit(0), query)) == 1

    def test_keyword_search_sees_every_acknowledged_write(self, store: VectorStore) -> None:
        """Keyword search reflects each add, replacement or deletion once that call has returned."""
        [uid] = _fill(store, ["a red apple"])
        assert _texts(store.search_keywords("apple")) == ["a red apple"]
        store.add(_unit(1), {"text": "a green pear"}, uid)
        assert _texts(store.search_keywords("apple pear")) == ["a green pear"]
        store.add(_unit(2), {"text": "an apple pie"})
        assert sorted(_texts(store.search_keywords("apple pear"))) == ["a green pear", "an apple pie"]
        store.delete([uid])
        assert _texts(store.search_keywords("apple pear")) == ["an apple pie"]

    def test_keyword_search_returns_top_k_when_filter_matches_more(self, store: VectorStore) -> None:
        """Keyword search with a filter finds `top_k` matching records among many that do not match."""
        for start in range(0, 3_000, 1_000):
            numbers = range(start, start + 1_000)
            store.add_batch(
                [_unit(i) for i in numbers],
                [{"text": "common word", "n": i} for i in numbers],
                namespace="even" if start == 1_000 else "odd",
            )
        found = store.search_keywords("word", 3, where={"n": {"$in": [7, 2_500, 1_500]}})
        assert sorted(str(match.metadata["n"]) for match in found) == ["1500", "2500", "7"]
        assert len(store.search_keywords("word", 100, where={"n": {"$gte": 100}}, namespace="even")) == 100
        assert store.search_keywords("word", 5, where={"n": {"$lt": 1_000}}, namespace="even") == []
        both = store.search_hybrid(_unit(0), "word", 5, where={"n": {"$in": [3, 5]}})
        assert sorted(str(match.metadata["n"]) for match in both) == ["3", "5"]

    def test_hybrid_search_ranks_vector_and_keyword_matches_first(self, store: VectorStore) -> None:
        """Hybrid search ranks vector and keyword matches first; the weights decide their order."""
        store.add(_unit(0), {"text": "alpha"}, "near")
        store.add(_unit(1), {"text": "zebra crossing"}, "word")
        store.add(_unit(2), {"text": "nothing of it"}, "none")
        assert {match.uid for match in store.search_hybrid(_unit(0), "zebra", 2)} == {"near", "word"}
        by_word = store.search_hybrid(_unit(0), "zebra", 3, weights=Weights(vector=0.1, keyword=1.0))
        assert [match.uid for match in by_word] == ["word", "near", "none"]
        by_meaning = store.search_hybrid(_unit(0), "zebra", 3, weights=Weights(vector=1.0, keyword=0.1))
        assert [match.uid for match in by_meaning] == ["near", "word", "none"]
        assert all(-1 <= match.score <= 1 for match in by_word + by_meaning)

    def test_explanation_adds_up_to_the_score(self, store: VectorStore) -> None:
        """The parts of a score that `explain=True` returns add up to the score."""
        rng = np.random.default_rng(0)
        texts = [f"cat number {i} {'and a dog' if i % 3 else ''}" for i in range(40)]
        store.add_batch(
            rng.normal(size=(40, DIM)), [{"text": text} for text in texts], sessions=["a"] * 20 + [None] * 20
        )
        query = rng.normal(size=DIM)
        weights: Weights | None = None
        for weights in (None, Weights(vector=0), Weights(recency=1.0, priority=2.0, half_life_s=0.01)):
            found = store.search_hybrid(query, "a dog, 7", 40, weights=weights, explain=True)
            assert len(found) == 40
            for match in found:
                assert isinstance(match, ExplainedMatch)
                assert abs(match.explanation.total - match.score) <= 1e-6
                for signal in match.explanation.signals:
                    assert signal.added == pytest.approx(signal.scaled * signal.weight)
            plain = store.search_hybrid(query, "a dog, 7", 40, weights=weights)
            assert {type(match) for match in plain} == {Match}
            if weights is None or not weights.recency:
                assert plain == found
        [best] = store.search_hybrid(query, "a dog, 7", 1, weights=weights, explain=True)
        assert isinstance(best, ExplainedMatch)
        names = [signal.name for signal in best.explanation.signals]
        assert names == ["vector", "nearby", "keyword", "recency", "priority"]

    def test_recency_and_priority_count_only_when_weighted(self, store: VectorStore) -> None:
        """Recency and priority affect a hybrid search only when its `Weights` count them."""
        records = [store.add(_unit(0), {"text": "the same"}, uid) for uid in ("old", "renewed", "new")]
        [old] = store.get([records[0]])
        store.put([replace(old, created_at=1e9, updated_at=1e9, priority=0.9)])
        [renewed] = store.get([records[1]])
        store.put([replace(renewed, created_at=1e9, priority=7.0)])
        store.put([replace(store.get([records[2]])[0], updated_at=4e9, priority=-3.0)])
        usual = store.search_hybrid(_unit(0), "same", 3)
        assert len({match.score for match in usual}) == 1
        by_age = store.search_hybrid(_unit(0), "same", 3, weights=Weights(recency=1.0), explain=True)
        assert by_age[-1].uid == "old"
        recency = [_signal(match, "recency") for match in by_age]
        assert recency[2] == pytest.approx(0.0, abs=1e-6)
        assert recency[:2] == pytest.approx([1.0, 1.0], abs=1e-3)  # a time in the future counts as now
        by_priority = store.search_hybrid(_unit(0), "same", 3, weights=Weights(priority=1.0), explain=True)
        assert [match.uid for match in by_priority] == ["renewed", "old", "new"]
        assert [_signal(match, "priority") for match in by_priority] == pytest.approx([1.0, 0.9, 0.0])

    @pytest.mark.parametrize("weights", [{"vector": 1.0}, 1.0, "all"])
    def test_hybrid_search_refuses_weights_of_another_type(self, store: VectorStore, weights: Any) -> None:
        """Hybrid search raises InvalidInputError if `weights` is not a `Weights` object."""
        with pytest.raises(InvalidInputError) as caught:
            store.search_hybrid(_unit(0), "word", weights=weights)
        assert caught.value.field == "weights"

    def test_hybrid_search_returns_top_k_when_no_word_matches(self, store: VectorStore) -> None:
        """Hybrid search ranks all records by their vectors when none has a word of the query."""
        _fill(store, [f"text {i}" for i in range(20)])
        assert len(store.search_hybrid(_unit(0), "zzz", 20)) == 20
        assert len(store.search_hybrid(_unit(0), "the of and", 7)) == 7

    def test_keyword_search_finds_a_turn_through_its_neighbour(self, store: VectorStore) -> None:
        """Keyword search also finds the record that follows a matching one in the same conversation."""
        rng = np.random.default_rng(0)
        turns = ["Bob: Where did you buy the piano?", "Ann: In a shop in Lyon.", "Bob: Lovely.", "Ann: Thanks."]
        filler = [f"Eve: Remark number {i} on something else." for i in range(40)]
        uids = store.add_batch(rng.normal(size=(4, DIM)), [{"text": text} for text in turns], sessions=["monday"] * 4)
        store.add_batch(rng.normal(size=(40, DIM)), [{"text": text} for text in filler], sessions=["tuesday"] * 40)
        found = [match.uid for match in store.search_keywords("piano", 5)]
        assert found == [uids[0], uids[1]]
        later = store.add(rng.normal(size=DIM), {"text": "Cid: I wonder."}, session="monday")
        assert later not in {match.uid for match in store.search_keywords("piano", 5)}
        store.add(rng.normal(size=DIM), {"text": "Ann: In Paris, I mean."}, uids[1], session="monday")
        assert [match.uid for match in store.search_keywords("piano", 5)] == [uids[0], uids[1]]
        store.delete([uids[1]])
        assert [match.uid for match in store.search_keywords("piano", 5)] == [uids[0], uids[2]]

    def test_hybrid_search_finds_records_without_text_by_vector(self, store: VectorStore) -> None:
        """Hybrid search finds a record without text by its vector; keyword search never finds it."""
        store.add(_unit(0), {"kind": "bare"}, "bare")
        store.add(_unit(1), {"text": "words here"}, "text")
        assert [match.uid for match in store.search_hybrid(_unit(0), "words", 2)] == ["bare", "text"]
        assert [match.uid for match in store.search_keywords("words")] == ["text"]

    @pytest.mark.parametrize("text", ["", " ", "a\0b", "\ud800", None, "x" * 70_000])
    def test_search_refuses_an_invalid_query_text(self, store: VectorStore, text: Any) -> None:
        """Keyword and hybrid search refuse a query text that is empty, too long or malformed."""
        with pytest.raises(InvalidInputError):
            store.search_keywords(text)
        with pytest.raises(InvalidInputError):
            store.search_hybrid(_unit(0), text)
