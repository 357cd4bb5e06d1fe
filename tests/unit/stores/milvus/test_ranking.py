"""Tests that scores and order are those of the embedded store."""

from __future__ import annotations

import numpy as np
import pytest
from tests.unit.stores.milvus.conftest import DIM

from super_advanced_agents.stores import FAISSVectorStore, MilvusVectorStore, VectorStore
from super_advanced_agents.stores.milvus import keywords
from super_advanced_agents.types import Weights

WORDS = [
    *("cat", "dog", "piano", "Lyon", "house", "river", "tea", "train", "book", "walked", "walking"),
    *("Haus", "Häuser", "gato", "música", "кошка", "東京"),
]


def _fill(store: VectorStore) -> None:
    rng = np.random.default_rng(3)
    texts = [" ".join(rng.choice(WORDS, size=rng.integers(1, 30))) for _ in range(160)]
    store.add_batch(
        rng.normal(size=(160, DIM)),
        [{"text": text, "even": i % 2 == 0} if i % 10 else {"even": i % 2 == 0} for i, text in enumerate(texts)],
        [f"u{i:03}" for i in range(160)],
        sessions=[f"s{i // 20}" if i < 100 else None for i in range(160)],
        priorities=[float(i % 3) / 2 for i in range(160)],
    )
    store.update("u017", {"text": "a piano and a cat"})
    store.delete(["u018", "u040", "u059", "u130"])
    store.add(rng.normal(size=DIM), {"text": "Lyon by train"}, "u041", session="s2")
    store.add(rng.normal(size=DIM), {"text": "tea in the house"}, session="s0")


@pytest.fixture
def both(store: MilvusVectorStore):
    """The same records in a store over Milvus and in an embedded one."""
    with FAISSVectorStore(DIM, index="flat") as embedded:
        _fill(embedded)
        records = embedded.scan(limit=1_000)
        store.put(sorted(records, key=lambda record: record.updated_at))
        yield store, embedded


def _assert_same(found, expected):
    assert [match.score for match in found] == pytest.approx([match.score for match in expected], abs=2e-5)
    differing = [i for i, (one, other) in enumerate(zip(found, expected, strict=True)) if one.uid != other.uid]
    for i in differing:  # equal scores only: the order of writing differs between the two
        assert any(abs(found[i].score - other.score) < 2e-5 for other in expected if other.uid == found[i].uid)


@pytest.mark.parametrize(
    "text", ["cat", "piano in Lyon", "walks to the house by the river", "Häuser", "東京 кошка", "zzz"]
)
def test_scores_are_those_of_the_embedded_store(both, text):
    """By vector, by keywords, and by both with every weight, with a filter and without."""
    store, embedded = both
    query = np.random.default_rng(len(text)).normal(size=DIM)
    for where in (None, {"even": True}):
        _assert_same(store.search(query, 20, where=where), embedded.search(query, 20, where=where))
        _assert_same(store.search_keywords(text, 50, where=where), embedded.search_keywords(text, 50, where=where))
        for weights in (None, Weights(nearby=0), Weights(priority=0.5), Weights(vector=0)):
            options = {"where": where, "weights": weights}
            _assert_same(
                store.search_hybrid(query, text, 10, **options), embedded.search_hybrid(query, text, 10, **options)
            )


def test_scores_of_a_large_tenant_are_those_of_the_embedded_store(both, monkeypatch):
    """The server counts the texts with a term then, one term after the other."""
    monkeypatch.setattr(keywords, "_FEW_TERMS", -1)
    store, embedded = both
    for text in ("piano in Lyon", "Häuser", "東京 кошка"):
        _assert_same(store.search_keywords(text, 50), embedded.search_keywords(text, 50))


def test_windows_follow_changes_of_neighbours(store: MilvusVectorStore):
    """Turns that were added, replaced and deleted one by one have the windows of turns written at once."""
    with FAISSVectorStore(DIM, index="flat") as embedded:
        for one in (store, embedded):
            _fill(one)
        for word in WORDS:
            found = {match.uid: match.score for match in store.search_keywords(word, 200)}
            expected = {match.uid: match.score for match in embedded.search_keywords(word, 200)}
            generated = [uid for uid in found.keys() ^ expected.keys() if not uid.startswith("u")]
            assert len(generated) in (0, 2)  # the turn whose uid each store made
            for uid in expected.keys() - set(generated):
                assert found[uid] == pytest.approx(expected[uid], abs=2e-5)


def test_windows_follow_a_turn_that_is_replaced_by_a_record_without_a_session(store: MilvusVectorStore):
    """Also where the client had just seen that the tenant has no sessions."""
    with FAISSVectorStore(DIM, index="flat") as embedded:
        for one in (store, embedded):
            one.add(np.ones(DIM), {"text": "a cat and tea"}, "u2")
            [record] = one.get(["u2"])
            one.put([record])  # no sessions yet
            texts = [{"text": f"{word} in the house"} for word in WORDS[:3]]
            one.add_batch(np.ones((3, DIM)), texts, ["u1", "u2", "u3"], sessions=["s"] * 3)
            one.put([record])
        for word in WORDS[:8]:
            found = {match.uid: match.score for match in store.search_keywords(word, 10)}
            expected = {match.uid: match.score for match in embedded.search_keywords(word, 10)}
            assert found == pytest.approx(expected, abs=2e-5)


def test_rarest_words_find_the_best_of_very_many_texts(store: MilvusVectorStore):
    """Words that are in every text are not read once they cannot change the first k."""
    vectors = np.random.default_rng(0).normal(size=(900, DIM))
    store.add_batch(vectors, [{"text": f"common word {'rare' if i % 30 == 7 else 'other'} {i}"} for i in range(900)])
    read: list[int] = []
    rows = store._table.rows

    def counted(*arguments, **options):
        found = list(rows(*arguments, **options))
        read.append(len(found))
        return iter(found)

    store._table.rows = counted  # type: ignore[method-assign]
    found = store.search_keywords("rare common word", 3)
    assert {match.metadata["text"].split()[2] for match in found} == {"rare"}
    assert read == [900, 30]  # to count the terms of a small tenant, and to score
