"""Tests of the words that keyword search finds, and of the order in which texts are found."""

# ruff: noqa: RUF001  # words of many scripts

# ruff: noqa: RUF001  # words of many scripts

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.stores.faiss.keywords.texts import DIM, VOCABULARY, fill, unit

from super_advanced_agents.stores import FAISSVectorStore
from super_advanced_agents.stores.text.analyzer import analyze


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("我昨天在商店买了一只猫", "猫"),
        ("我昨天在商店买了一只猫", "商店在哪里"),
        ("東京タワーに行きました", "東京タワー"),
        ("ペンを買った", "\uff8d\uff9f\uff9d"),  # half-width katakana
        ("고양이가 잠을 잔다", "고양이"),
        ("ฉันชอบกินข้าวผัด", "ข้าวผัด"),
        ("Москва — столица России", "МОСКВА"),
        ("Η Αθήνα είναι πρωτεύουσα", "αθήνα"),
        ("शहर में एक संग्रहालय है", "संग्रहालय"),
        ("القاهرة مدينة كبيرة", "القاهرة"),
        ("cafe\u0301 au lait", "caf\u00e9"),
        ("Ｆｕｌｌ width", "full"),
        ("We met at 10:30 in room A-113.", "room 113"),
        ("It's Caroline's dog", "caroline"),
    ],
)
@pytest.mark.parametrize("where", ["buffer", "disk"])
def test_keyword_search_finds_words_of_every_script(text, query, where, monkeypatch):
    """Scripts without spaces between words are among them."""
    if where == "disk":
        monkeypatch.setattr("super_advanced_agents.stores.faiss.keywords.index.FLUSH_ROWS", 0)
    with FAISSVectorStore(DIM) as store:
        fill(store, [text, "entirely different", "совсем другое", "全く違う文"])
        assert store.search_keywords(query)[0].metadata["text"] == text
        assert store.search_hybrid(unit(5), query, 1)[0].metadata["text"] == text


@pytest.mark.parametrize(
    "query", ["?!", "…", "\U0001f408", "\u200b", "\u202e", "'", "-", "𓀀", "e" * 5_000, "的" * 3_000]
)
def test_query_without_a_word_finds_nothing_by_keyword_and_all_by_hybrid(query):
    """Punctuation, symbols, and strings that are longer than any word are no words."""
    with FAISSVectorStore(DIM) as store:
        fill(store, ["one", "two", "three"])
        assert store.search_keywords(query) == []
        assert [match.metadata["text"] for match in store.search_hybrid(unit(1), query, 3)] == [
            "two",
            "one",
            "three",
        ]


def test_long_query_is_ranked_by_its_rarest_words():
    """Ten thousand characters of common words do not hide the one that tells."""
    with FAISSVectorStore(DIM) as store:
        common = " ".join(VOCABULARY)
        fill(store, [common] * 20 + ["quokka and other animals"])
        query = f"{common} {common} quokka {common}" * 11
        assert len(query) > 10_000
        assert store.search_keywords(query, 30)[0].metadata["text"] == "quokka and other animals"


def test_search_returns_equal_texts_in_the_order_of_adding():
    """Of equal scores the older row comes first, and `top_k` are returned, in keyword and hybrid search."""
    with FAISSVectorStore(DIM) as store:
        uids = store.add_batch([unit(0)] * 30, [{"text": "the same words"}] * 30)
        assert [match.uid for match in store.search_keywords("words", 30)] == uids
        assert [match.uid for match in store.search_hybrid(unit(0), "words", 30)] == uids
        assert [match.uid for match in store.search_hybrid(unit(0), "words", 3)] == uids[:3]


@given(st.text(min_size=1, max_size=300))
def test_keyword_search_finds_any_text_by_itself_when_it_has_a_word(text):
    """No text is query syntax, and none breaks the analyzer."""
    with FAISSVectorStore(DIM) as store:
        try:
            store.add(unit(0), {"text": text})
        except ValueError:
            return  # blank, NUL, or no Unicode text: refused before any search
        if text.isspace():
            return
        found = store.search_keywords(text)
        assert bool(found) == bool(analyze(text).terms)
        assert len(store.search_hybrid(unit(0), text)) == 1


def test_keyword_search_finds_no_record_without_text(tmp_path, activity):
    """Rows without a text have no words, in memory and in the snapshot on disk."""
    with FAISSVectorStore(DIM, tmp_path) as store:
        store.add_batch(np.ones((900, DIM)), [{"text": f"w{i}w"} if i % 2 else {} for i in range(900)])
        assert [len(store.search_keywords(f"w{i}w")) for i in range(4)] == [0, 1, 0, 1]
    assert activity.indexed
    activity.reset()
    with FAISSVectorStore(DIM, tmp_path) as store:
        assert [len(store.search_keywords(f"w{i}w")) for i in range(4)] == [0, 1, 0, 1]
        assert not activity.indexed
