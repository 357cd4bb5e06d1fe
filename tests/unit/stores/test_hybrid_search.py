"""Tests of keyword search after a store is opened again."""

from __future__ import annotations

from super_advanced_agents.stores import FAISSVectorStore

DIM = 8


def _unit(axis: int) -> list[float]:
    return [1.0 if i == axis else 0.0 for i in range(DIM)]


def test_keyword_search_finds_session_neighbours_after_reopening(tmp_path):
    """Neighbours and their order are read from the rows, and a replaced turn keeps its place."""
    with FAISSVectorStore(DIM, tmp_path) as store:
        uids = store.add_batch(
            [_unit(i) for i in range(3)], [{"text": t} for t in ("one lion", "two", "three")], sessions=["s"] * 3
        )
        store.add(_unit(1), {"text": "zwei"}, uids[1], session="s")
        before = [match.uid for match in store.search_keywords("lion")]
    with FAISSVectorStore(DIM, tmp_path) as store:
        assert [match.uid for match in store.search_keywords("lion")] == before == [uids[0], uids[1]]
        assert store.get([uids[1]])[0].session == "s"


def test_opening_deletes_the_keyword_index_that_a_killed_process_left(tmp_path):
    """No later process can use that index."""
    with FAISSVectorStore(DIM, tmp_path) as store:
        store.add(_unit(0), {"text": "hello world"})
    (tmp_path / "words-left").mkdir()
    (tmp_path / "words-left" / "meta.json").write_text("{}")
    with FAISSVectorStore(DIM, tmp_path) as store:
        assert len(store.search_keywords("hello")) == 1
        assert not (tmp_path / "words-left").exists()
