"""Tests of closing many keyword indexes: what is saved for the next opening, in which order, and for how long."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from super_advanced_agents._runtime.concurrency.futures import Future, in_thread
from super_advanced_agents.stores import FAISSVectorStore
from super_advanced_agents.stores.base import VectorStore
from super_advanced_agents.stores.faiss.keywords import tenants as keyword_tenants
from super_advanced_agents.stores.faiss.keywords.index import FLUSH_ROWS, Keywords
from super_advanced_agents.stores.faiss.keywords.postings import PostingsIndex
from super_advanced_agents.stores.faiss.keywords.snapshot import KeywordSnapshot, SavedIndex
from super_advanced_agents.stores.wrappers.tenant_view import tenant_view

DIM = 8
ON_DISK = FLUSH_ROWS + 100


def _fill(view: VectorStore, n: int, *, words: int = 5) -> None:
    rng = random.Random(n)
    texts = [" ".join(f"w{rng.randrange(500)}x" for _ in range(words)) for _ in range(n)]
    for start in range(0, n, 1_000):
        page = texts[start : start + 1_000]
        uids = [f"u{start + i}" for i in range(len(page))]
        view.add_batch(np.ones((len(page), DIM)), [{"text": text} for text in page], uids, namespace="n")


def _answers(view: VectorStore) -> list[tuple[str, float]]:
    found = view.search_keywords("w7x w8x w9x", 10, namespace="n")
    return sorted((match.uid, round(match.score, 3)) for match in found)


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of rows of each snapshot that is saved."""
    rows: list[int] = []
    save = KeywordSnapshot.save

    def recording_save(snapshot: KeywordSnapshot, folder: Path, index: SavedIndex) -> None:
        rows.append(index.table.shape[1])
        save(snapshot, folder, index)

    monkeypatch.setattr(KeywordSnapshot, "save", recording_save)
    return rows


@pytest.fixture
def commits(monkeypatch: pytest.MonkeyPatch) -> list[PostingsIndex]:
    """The index on disk of each commit."""
    recorded: list[PostingsIndex] = []
    commit = PostingsIndex.commit

    def recording_commit(index: PostingsIndex) -> None:
        recorded.append(index)
        commit(index)

    monkeypatch.setattr(PostingsIndex, "commit", recording_commit)
    return recorded


def test_closing_writes_no_index_of_texts_that_are_read_again_in_less_time(
    tmp_path: Path, saved: list[int], commits: list[PostingsIndex]
) -> None:
    """Up to 512 short texts of each tenant; the next opening answers the same."""
    names = [f"t{i}" for i in range(20)]
    with FAISSVectorStore(DIM, tmp_path) as store:
        for name in names:
            _fill(tenant_view(store, name), 200)
        expected = [_answers(tenant_view(store, name)) for name in names]
    assert (saved, commits) == ([], [])
    assert not (tmp_path / "tenants").exists()
    with FAISSVectorStore(DIM, tmp_path) as store:
        assert [_answers(tenant_view(store, name)) for name in names] == expected


def test_closing_writes_an_index_of_long_texts(tmp_path: Path, saved: list[int]) -> None:
    """Reading them again would hold up the first search."""
    with FAISSVectorStore(DIM, tmp_path) as store:
        _fill(store, 200, words=1_000)
        expected = _answers(store)
    assert saved == [200]
    with FAISSVectorStore(DIM, tmp_path) as store:
        assert _answers(store) == expected


def test_closing_saves_the_index_first_that_is_slowest_to_build_again(tmp_path: Path, saved: list[int]) -> None:
    """It is the one with the most texts since its last snapshot."""
    with FAISSVectorStore(DIM, tmp_path) as store:
        for name, n in (("a", ON_DISK), ("b", 3 * ON_DISK), ("c", 2 * ON_DISK)):
            _fill(tenant_view(store, name), n)
            _answers(tenant_view(store, name))
    assert saved == [3 * ON_DISK, 2 * ON_DISK, ON_DISK]


def test_closing_saves_no_index_once_its_time_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saved: list[int]
) -> None:
    """The next opening starts from the earlier snapshots, and reads what has been added since."""
    names = ["a", "b", "c"]
    with FAISSVectorStore(DIM, tmp_path) as store:
        for name in names:
            _fill(tenant_view(store, name), ON_DISK)
            _answers(tenant_view(store, name))
    saved.clear()
    monkeypatch.setattr(keyword_tenants, "MAX_SAVE_S", 0.0)
    with FAISSVectorStore(DIM, tmp_path) as store:
        for name in names:
            _fill(tenant_view(store, name), 2 * ON_DISK)
        expected = [_answers(tenant_view(store, name)) for name in names]
    assert saved == []
    with FAISSVectorStore(DIM, tmp_path) as store:
        found = [_answers(tenant_view(store, name)) for name in names]
    assert [[uid for uid, _ in each] for each in found] == [[uid for uid, _ in each] for each in expected]


def test_closing_a_store_ends_the_closing_of_idle_indexes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for the index that is being saved, not for all that are too many."""
    closed: list[Keywords] = []
    begun, ending = threading.Event(), threading.Event()
    close = Keywords.close_if_idle

    def slow_close(keywords: Keywords) -> None:
        closed.append(keywords)
        begun.set()
        assert ending.wait(60)
        close(keywords)

    class Watched(Future[None]):
        def wait(self, *arguments: Any) -> None:
            ending.set()
            super().wait(*arguments)

    def watched(work: Callable[[], None], *, name: str) -> Future[None]:
        future, done = Watched(), in_thread(work, name=name)
        threading.Thread(target=lambda: future.set_result(done.wait())).start()
        return future

    monkeypatch.setattr(Keywords, "close_if_idle", slow_close)
    monkeypatch.setattr(keyword_tenants, "in_thread", watched)
    with FAISSVectorStore(DIM, tmp_path) as store:
        for i in range(10):
            _fill(tenant_view(store, f"t{i}"), 50)
            _answers(tenant_view(store, f"t{i}"))
        monkeypatch.setattr(keyword_tenants, "MAX_BYTES", 1)
        monkeypatch.setattr(keyword_tenants, "MAX_EXCESS", 2**40)  # so that no search waits
        _answers(tenant_view(store, "t0"))
        assert begun.wait(60)
    assert len(closed) == 1
