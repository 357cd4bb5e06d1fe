"""Tests of keyword indexes apart by tenant: scores, snapshots, and what is closed when there are many."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from super_advanced_agents.stores import FAISSVectorStore
from super_advanced_agents.stores.base import VectorStore
from super_advanced_agents.stores.faiss.keywords import tenants as keyword_tenants
from super_advanced_agents.stores.faiss.keywords.buffer import KeywordBuffer
from super_advanced_agents.stores.faiss.keywords.index import FLUSH_ROWS, Keywords
from super_advanced_agents.stores.faiss.keywords.postings import PostingsIndex
from super_advanced_agents.stores.faiss.keywords.snapshot import KeywordSnapshot
from super_advanced_agents.stores.wrappers.tenant_view import tenant_view

DIM = 8
WORDS = [f"{first}{second}" for first in "bcdfgk" for second in ("oto", "ania", "eru", "ick", "unam")]
QUERIES = ["boto cania", "deru", "funam gick koto", "boto boto rare"]


def _fill(view: VectorStore, n: int, seed: int, *, rare: float = 0.1, **more: Any) -> list[str]:
    rng = random.Random(seed)
    texts = [
        " ".join(rng.choices(WORDS, k=rng.randint(1, 12))) + (" rare" if rng.random() < rare else "") for _ in range(n)
    ]
    vectors = np.random.default_rng(seed).standard_normal((n, DIM))
    uids = [f"{seed}-{i:05d}" for i in range(n)]
    for start in range(0, n, 1_000):
        page = slice(start, start + 1_000)
        view.add_batch(vectors[page], [{"text": text} for text in texts[page]], uids[page], namespace="n", **more)
    return uids


def _answers(view: VectorStore) -> list[Any]:
    query = np.ones(DIM)
    found: list[Any] = [[(m.uid, m.score) for m in view.search_keywords(text, 20, namespace="n")] for text in QUERIES]
    for text in QUERIES:
        matches = view.search_hybrid(query, text, 20, namespace="n", explain=True)
        found.append([(m.uid, m.score, m.explanation) for m in matches])  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize("own", [40, 2 * FLUSH_ROWS], ids=["in the buffer", "on disk"])
def test_keyword_scores_are_equal_with_and_without_the_texts_of_another_tenant(tmp_path: Path, own: int) -> None:
    """The other tenant has more texts, longer ones, and makes the caller's rare word the commonest of all."""
    with FAISSVectorStore(DIM, tmp_path / "alone") as alone, FAISSVectorStore(DIM, tmp_path / "shared") as shared:
        expected = tenant_view(alone, "a")
        a, b = tenant_view(shared, "a"), tenant_view(shared, "b")
        _fill(b, 700, 1, rare=1.0)
        for view in (expected, a):
            _fill(view, own, 2)
        assert _answers(a) == _answers(expected)
        deleted = _fill(b, 700, 3, rare=1.0)
        b.search_keywords("rare", namespace="n")
        assert _answers(a) == _answers(expected)
        b.delete(deleted, namespace="n")
        for view in (expected, a):
            _fill(view, 20, 4)
        assert _answers(a) == _answers(expected)


def test_keyword_snapshots_of_tenants_are_restored_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each tenant's index is saved in a folder of its own, and nothing is indexed again."""
    with FAISSVectorStore(DIM, tmp_path) as store:
        views = [tenant_view(store, name) for name in ("default", "a", "A")]
        for seed, view in enumerate(views):
            _fill(view, FLUSH_ROWS + 100, seed)
        expected = [_answers(view) for view in views]
    digests = {hashlib.sha256(name.encode()).hexdigest()[:32] for name in ("a", "A")}
    assert {path.name for path in (tmp_path / "tenants").iterdir()} == digests
    assert (tmp_path / "words" / "manifest.json").exists()

    def no_adding(*_arguments: object) -> None:
        raise AssertionError("indexed again")

    monkeypatch.setattr(PostingsIndex, "add", no_adding)
    with FAISSVectorStore(DIM, tmp_path) as store:
        assert [_answers(tenant_view(store, name)) for name in ("default", "a", "A")] == expected


def test_keyword_snapshot_of_the_format_with_all_tenants_is_built_again(tmp_path: Path) -> None:
    """Its statistics counted the texts of every tenant."""
    with FAISSVectorStore(DIM, tmp_path) as store:
        _fill(tenant_view(store, "default"), FLUSH_ROWS + 100, 0)
        expected = _answers(tenant_view(store, "default"))
    manifest = tmp_path / "words" / "manifest.json"
    body = orjson.loads(manifest.read_bytes())["body"]
    body["format"][0] = 2
    manifest.write_bytes(orjson.dumps({"sha256": hashlib.sha256(orjson.dumps(body)).hexdigest(), "body": body}))
    (tmp_path / "words" / "rows.npy").write_bytes(b"of another shape")
    with FAISSVectorStore(DIM, tmp_path) as store:
        assert _answers(tenant_view(store, "default")) == expected


@pytest.mark.parametrize("max_bytes", [1, 50_000, 600_000], ids=["none stays open", "one buffer", "two on disk"])
def test_keyword_indexes_of_many_tenants_are_closed_and_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, max_bytes: int
) -> None:
    """Of tenants that search in turns each gets the same answers; the indexes beyond the limit are saved."""
    monkeypatch.setattr(keyword_tenants, "MAX_BYTES", max_bytes)
    monkeypatch.setattr(keyword_tenants, "MAX_EXCESS", 0)  # so that a search waits until they are closed
    with FAISSVectorStore(DIM, tmp_path) as store:
        views = [tenant_view(store, f"t{i}") for i in range(4)]
        for seed, view in enumerate(views):
            _fill(view, 600, seed, sessions=[str(i % 5) for i in range(600)])
        expected = [_answers(view) for view in views]
        assert len(list((tmp_path / "tenants").glob("*/words"))) >= 2
        for seed, view in enumerate(views):
            _fill(view, 1, 10 + seed, sessions=["1"])
        assert [_answers(view) for view in views] != expected
        again = [_answers(view) for view in views]
        assert [_answers(view) for view in views] == again
    with FAISSVectorStore(DIM, tmp_path) as store:
        for i, answers in enumerate(again):
            found = _answers(tenant_view(store, f"t{i}"))
            assert [[match[0] for match in each] for each in found] == [
                [match[0] for match in each] for each in answers
            ]


def test_two_hundred_tenants_that_search_in_turns_keep_their_indexes_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is open is bounded by its bytes: so no search reads texts again because of other tenants' searches."""
    put = KeywordBuffer.put
    read: list[int] = []

    def recording_put(buffer: KeywordBuffer, row: int, entry: Any) -> None:
        read.append(row)
        put(buffer, row, entry)

    monkeypatch.setattr(KeywordBuffer, "put", recording_put)
    with FAISSVectorStore(DIM, tmp_path) as store:
        views = [tenant_view(store, f"t{i}") for i in range(200)]
        for seed, view in enumerate(views):
            _fill(view, 40, seed)
            view.search_keywords("boto", namespace="n")
        assert len(read) == 200 * 40
        for view in views:
            assert view.search_keywords("boto cania", namespace="n")
        assert len(read) == 200 * 40


def test_large_indexes_of_a_tenant_are_closed_before_small_ones_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only an index beyond an equal part is closed, also if the small ones were searched before it."""
    closed: list[int] = []
    close = Keywords.close_if_idle

    def recording_close(keywords: Keywords) -> None:
        closed.append(keywords.size_bytes)
        close(keywords)

    monkeypatch.setattr(Keywords, "close_if_idle", recording_close)
    monkeypatch.setattr(keyword_tenants, "MAX_BYTES", 300_000)
    monkeypatch.setattr(keyword_tenants, "MAX_EXCESS", 0)
    with FAISSVectorStore(DIM, tmp_path) as store:
        for i in range(6):
            _fill(tenant_view(store, f"small{i}"), 10, i)
            tenant_view(store, f"small{i}").search_keywords("boto", namespace="n")
        large = tenant_view(store, "large")
        _fill(large, 2 * FLUSH_ROWS, 9)
        large.search_keywords("boto", namespace="n")
    assert len(closed) == 1
    assert closed[0] > 6 * 10_000


@pytest.mark.parametrize("failure", ["another thread searches it", "its save fails", "it is not stopped"])
def test_keyword_index_that_failed_to_close_finds_turns_by_neighbours_changed_since(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: str
) -> None:
    """A search beside the closing, a full disk or an error of the engine leave no index that misses changes."""
    if failure == "another thread searches it":
        monkeypatch.setattr(Keywords, "close_if_idle", lambda _: None)
    elif failure == "its save fails":

        def no_save(*_arguments: object) -> None:
            raise OSError("planted")

        monkeypatch.setattr(KeywordSnapshot, "save", no_save)
    else:

        def no_stop(_index: PostingsIndex) -> None:
            raise RuntimeError("planted")

        monkeypatch.setattr(PostingsIndex, "close", no_stop)
    monkeypatch.setattr(keyword_tenants, "MAX_BYTES", 1)
    monkeypatch.setattr(keyword_tenants, "MAX_EXCESS", 0)
    with FAISSVectorStore(DIM, tmp_path) as store:
        a, b = tenant_view(store, "a"), tenant_view(store, "b")
        turns = _fill(a, FLUSH_ROWS + 100, 1, sessions=[str(i) for i in range(FLUSH_ROWS + 100)])
        for view in (a, b):
            _fill(view, 10, 2)
            view.search_keywords("boto", namespace="n")
        a.add_batch(np.ones((1, DIM)), [{"text": "zebra"}], namespace="n", sessions=["7"])
        b.search_keywords("boto", namespace="n")  # which took the changes of all tenants
        assert turns[7] in {match.uid for match in a.search_keywords("zebra", namespace="n")}
        monkeypatch.undo()


def test_keyword_search_of_the_whole_store_joins_the_rankings_of_its_tenants(tmp_path: Path) -> None:
    """A record has the score that it has for its own tenant; the best of all come first."""
    with FAISSVectorStore(DIM, tmp_path) as store:
        views = [tenant_view(store, name) for name in ("a", "b")]
        for seed, view in enumerate(views):
            _fill(view, 50, seed)
        parts = [m for view in views for m in view.search_keywords("boto rare", 20, namespace="n")]
        best = sorted(parts, key=lambda match: -match.score)[:20]
        found = store.search_keywords("boto rare", 20)
        assert [match.score for match in found] == [match.score for match in best]
        assert len(store.search_hybrid(np.ones(DIM), "boto rare", 20)) == 20
