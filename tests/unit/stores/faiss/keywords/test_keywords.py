"""Tests of keyword search in the buffer and on disk: equal scores, and exactly the live texts."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.stores.faiss.keywords.texts import DIM, MANY, QUERIES, answers_of, fill, sentence, unit

from super_advanced_agents.stores import FAISSVectorStore
from super_advanced_agents.stores.faiss.keywords.buffer import KeywordBuffer
from super_advanced_agents.stores.faiss.keywords.entry import Entry
from super_advanced_agents.stores.faiss.keywords.index import FLUSH_ROWS
from super_advanced_agents.stores.faiss.keywords.postings import PostingsIndex
from super_advanced_agents.stores.text.analyzer import analyze, query_terms
from super_advanced_agents.stores.text.bm25 import FIELDS, idf


def _copied(store: FAISSVectorStore, copy: FAISSVectorStore) -> FAISSVectorStore:
    """Put all records of a store into another one."""
    after = None
    while page := store.scan(after=after, limit=1_000):
        copy.put(page)
        after = page[-1].uid
    return copy


def test_keyword_buffer_returns_the_scores_of_the_index_on_disk(tmp_path):
    """An entry has the same BM25 score in the buffer and in the index on disk."""
    rng = random.Random(0)
    texts = [sentence(rng) * rng.choice((1, 1, 1, 9)) for _ in range(300)]
    entries = [
        Entry.of(row, 1, analyze(text).terms, "", analyze(text[:40]).terms) for row, text in enumerate(texts, start=1)
    ]
    index = PostingsIndex(tmp_path)
    index.add(entries)
    index.commit()
    index.refresh()
    buffer = KeywordBuffer()
    for entry in entries:
        buffer.put(entry.row, entry)
    terms = [term for [term] in query_terms("boto cania deru, fick", [])]
    boosts = {(field, word): weight for field, weight in FIELDS.items() for word in terms}
    expected_boosts = {
        key: weight * idf(len(entries), buffer.doc_frequency(*key))
        for key, weight in boosts.items()
        if buffer.doc_frequency(*key)
    }
    assert {key: index.doc_frequency(*key) for key in boosts} == {key: buffer.doc_frequency(*key) for key in boosts}
    average_lengths = {field: buffer.total_lengths[field] / buffer.count for field in FIELDS}
    assert index.average_lengths == pytest.approx(average_lengths, rel=1e-3)
    on_disk = {row: score for score, row in index.hits(boosts, 300, scope=1, rows=None)}
    in_buffer = {row: score for score, row in buffer.scores(expected_boosts, index.average_lengths, buffer.rows)}
    assert len(on_disk) > 20
    assert in_buffer == pytest.approx(on_disk, rel=1e-4)
    index.close()


def test_small_store_creates_no_keyword_index_on_disk(tmp_path):
    """A few texts are searched in the buffer."""
    with FAISSVectorStore(DIM, tmp_path) as store:
        fill(store, ["a red apple", "a green pear"])
        assert [match.metadata["text"] for match in store.search_keywords("apples")] == ["a red apple"]
        assert not list(tmp_path.glob("words*"))


@pytest.mark.parametrize("durable", [True, False])
def test_keyword_scores_are_equal_when_texts_were_indexed_in_parts_or_at_once(tmp_path, activity, durable):
    """Records are added, replaced and deleted between the searches."""
    rng = random.Random(1)
    with FAISSVectorStore(DIM, tmp_path / "a" if durable else None) as store:
        uids = fill(store, [sentence(rng) for _ in range(MANY)], sessions=["s"] * 300 + [None] * (MANY - 300))
        store.search_keywords("boto")
        for step in range(8):
            fill(store, [sentence(rng) for _ in range(40)], sessions=["s"] * 20 + [None] * 20)
            store.add(unit(0), {"text": sentence(rng)}, uids[step], session="s")
            store.delete([uids[100 + step]])
            answers = answers_of(store, QUERIES)
        assert activity.indexed
        assert 0 < activity.buffer_rows[-1] <= FLUSH_ROWS
        with FAISSVectorStore(DIM) as copy:
            again = answers_of(_copied(store, copy), QUERIES)
    for before, after in zip(answers, again, strict=True):
        # A word's rarity counts what was deleted until it is merged away, in the one and in the other.
        assert [score for _, score in before] == pytest.approx([score for _, score in after], rel=0.02, abs=0.01)
        assert len({uid for uid, _ in before} & {uid for uid, _ in after}) >= len(before) - 1


@given(st.data())
def test_keyword_search_finds_exactly_the_live_texts_after_any_writes(data):
    """Every live text is found by its own word, whether it is in the buffer or on disk."""
    there: dict[str, str] = {}
    number = 0
    with FAISSVectorStore(DIM) as store:
        for _ in range(data.draw(st.integers(1, 6))):
            action = data.draw(st.sampled_from(["add", "add many", "replace", "delete"]))
            if action == "add many" or not there:
                texts = [f"w{i}w" for i in range(number, number + data.draw(st.sampled_from([3, FLUSH_ROWS + 1])))]
                number += len(texts)
                there |= dict(zip(fill(store, texts), texts, strict=True))
            elif action == "add":
                there[store.add(unit(0), {"text": f"w{number}w"})] = f"w{number}w"
                number += 1
            else:
                uid = data.draw(st.sampled_from(list(there)[-5:]))
                gone = there.pop(uid)
                if action == "replace":
                    there[uid] = f"w{number}w"
                    store.add(unit(0), {"text": there[uid]}, uid)
                    number += 1
                else:
                    store.delete([uid])
                assert store.search_keywords(gone) == []
            for uid in list(there)[-3:]:
                assert [match.uid for match in store.search_keywords(there[uid])] == [uid]
