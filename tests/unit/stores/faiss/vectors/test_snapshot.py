"""Tests of snapshots of sealed graphs: search results are those of the rows, also after any damage."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.unit.stores.conftest import DIM, assert_same, brute_force, sealed, vectors

from super_advanced_agents import FAISSVectorStore
from super_advanced_agents.stores.faiss.rows.reader import RowReader

Opened = Callable[..., FAISSVectorStore]
GRAPHS = {"index": "hnsw", "buffer_rows": 32}


def _filled(opened: Opened, path: Path, seed: int = 0) -> None:
    """Make and close a store with several segments and some deleted and replaced rows."""
    with opened(path, **GRAPHS) as store:
        for i in range(8):
            store.add_batch(vectors(50, seed + i), [{"i": i}] * 50, [f"{i}-{n:02d}" for n in range(50)])
            sealed(store)
        store.delete(where={"i": 3})
        store.add_batch(vectors(20, seed + 90), None, [f"1-{n:02d}" for n in range(20)])
        assert sealed(store) > 1


def _check(store: FAISSVectorStore) -> None:
    for query in vectors(5, 1234):
        assert_same(store.search(query, 10), brute_force(store, query, 10))
    found = store.search(vectors(1, 4321)[0], 1_000)
    assert len(found) == store.count()


def _files(folder: Path, pattern: str) -> list[Path]:
    return sorted((folder / "index").glob(pattern))


def test_reopened_store_loads_its_graphs_from_the_snapshot(opened: Opened, tmp_path: Path) -> None:
    """Segments are read from disk, and the rows after them from the table."""
    _filled(opened, tmp_path / "store")
    before = {path: path.stat().st_mtime_ns for path in _files(tmp_path / "store", "segment-*")}
    store = opened(**GRAPHS)
    assert store.stats()["segments"] == len(before) / 2
    assert store.count() == 350
    _check(store)
    store.close()
    assert {path: path.stat().st_mtime_ns for path in _files(tmp_path / "store", "segment-*")} == before


def test_reopened_graph_has_the_vectors_of_deleted_rows_too(opened: Opened, tmp_path: Path) -> None:
    """A search passes through them, and a merged graph is built over them: they come from the graph's 8-bit codes."""
    _filled(opened, tmp_path / "store")
    store = opened(**GRAPHS)
    store.count()
    index = store._index
    for segment in index.sealed:
        norms = np.linalg.norm(segment.vectors_at(None), axis=1)
        np.testing.assert_allclose(norms, 1, atol=0.02)
    rows = np.concatenate([segment.rows for segment in index.sealed])
    assert set(rows.tolist()) - set(index.view.live)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing", "empty", "a folder"])
@pytest.mark.parametrize("pattern", ["segment-*.faiss", "segment-*.npy", "manifest-*.json", "*"])
def test_graphs_are_rebuilt_when_snapshot_files_are_damaged(
    opened: Opened, tmp_path: Path, pattern: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    """One file or all of them are damaged, and the log reports it."""
    _filled(opened, tmp_path / "store")
    chosen = _files(tmp_path / "store", pattern)
    for path in chosen if pattern == "*" else chosen[-1:]:
        content = path.read_bytes()
        path.unlink()
        if damage == "truncated":
            path.write_bytes(content[: len(content) // 2])
        elif damage == "flipped":
            middle = len(content) // 2
            path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        elif damage == "empty":
            path.touch()
        elif damage == "a folder":
            path.mkdir()
    store = opened(**GRAPHS)
    _check(store)
    if damage != "missing" or pattern.startswith("segment"):
        assert "store.snapshot_ignored" in caplog.text
    sealed(store)
    _check(store)
    store.close()
    again = opened(**GRAPHS)
    _check(again)


def test_older_snapshot_is_loaded_when_the_newest_is_damaged(opened: Opened, tmp_path: Path) -> None:
    """Two manifests exist; the rows after the older one are read from the table."""
    _filled(opened, tmp_path / "store")
    manifests = _files(tmp_path / "store", "manifest-*.json")
    assert len(manifests) == 2
    manifests[-1].write_text("{}")
    store = opened(**GRAPHS)
    assert store.count() == 350
    _check(store)


def test_snapshot_of_another_store_is_dropped(opened: Opened, tmp_path: Path) -> None:
    """It fits in every number."""
    _filled(opened, tmp_path / "store")
    _filled(opened, tmp_path / "other", seed=500)
    shutil.rmtree(tmp_path / "store" / "index")
    shutil.copytree(tmp_path / "other" / "index", tmp_path / "store" / "index")
    _check(opened(**GRAPHS))


@pytest.mark.parametrize("later", ["more rows", "fewer rows", "other rows", "deleted, then sealed"])
def test_snapshot_is_dropped_when_an_older_database_was_restored(opened: Opened, tmp_path: Path, later: str) -> None:
    """The graphs are of later rows than the database, and are not believed."""
    _filled(opened, tmp_path / "store")
    backup = tmp_path / "backup.sqlite3"
    database = tmp_path / "store" / "memory.sqlite3"
    shutil.copy(database, backup)
    with opened(**GRAPHS) as store:
        if later == "deleted, then sealed":
            store.delete(where={"i": {"$gte": 7}})
        store.add_batch(vectors(200, 70))
        if later == "fewer rows":
            store.delete(where={"i": {"$in": [0, 1, 2]}})
        sealed(store)
    shutil.copy(backup, database)
    if later == "other rows":
        with opened(index="flat", buffer_rows=32) as store:  # pays no attention to graphs
            store.add_batch(vectors(300, 80))
    store = opened(**GRAPHS)
    _check(store)
    store.add_batch(vectors(300, 99))
    _check(store)
    sealed(store)
    _check(store)


def test_buffer_without_live_rows_is_sealed_and_later_writes_are_found(opened: Opened) -> None:
    """An empty segment works in memory and on disk."""
    store = opened(**GRAPHS)
    uids = store.add_batch(vectors(31))
    store.delete(uids)
    store.add_batch(vectors(1, 5), [{"last": True}])
    store.delete(where={"last": True})
    sealed(store)
    assert store.search(np.ones(DIM)) == []
    store.add_batch(vectors(40, 3))
    sealed(store)
    _check(store)
    store.close()
    _check(opened(**GRAPHS))


def test_search_on_graphs_returns_top_k_when_the_filter_matches_enough(opened: Opened) -> None:
    """Filters match from one record to all of them, and the best matching ones are found."""
    store = opened(index="hnsw", buffer_rows=256)
    n = 2_000
    table = vectors(n, 7)
    for start in range(0, n, 500):
        store.add_batch(table[start : start + 500], [{"n": i} for i in range(start, start + 500)])
    assert sealed(store) >= 1
    unit = table / np.linalg.norm(table, axis=1, keepdims=True)
    shares = []
    for bound in (1, 7, 40, 190, 230, 600, 1_200, n):
        for query in vectors(4, bound):
            found = store.search(query, 20, where={"n": {"$lt": bound}})
            assert len(found) == min(20, bound)
            best = set(np.argsort(-(unit[:bound] @ query))[:20].tolist())
            shares.append(len(best & {match.metadata["n"] for match in found}) / len(best))
            scores = [match.score for match in found]
            assert scores == sorted(scores, reverse=True)
            for match in found:
                assert match.score == pytest.approx(
                    float(unit[match.metadata["n"]] @ query / np.linalg.norm(query)), abs=1e-5
                )
    assert np.mean(shares) > 0.97


def test_search_finds_every_row_beside_a_thousand_equal_vectors(opened: Opened) -> None:
    """`top_k` are returned, and a filter finds the few others."""
    store = opened(index="hnsw", buffer_rows=128)
    store.add_batch(np.tile(vectors(1), (1_000, 1)))
    store.add_batch(vectors(24, 3), [{"odd": True}] * 24)
    assert sealed(store) > 0
    assert len(store.search(vectors(1)[0], 1_000)) == 1_000
    for query in vectors(24, 3):
        assert len(store.search(query, 24, where={"odd": True})) == 24


def test_close_while_a_graph_is_built_loses_no_row(opened: Opened) -> None:
    """The half-built segment is dropped; its rows stay in the table."""
    store = opened(index="hnsw", buffer_rows=4_096)
    for i in range(9):
        store.add_batch(vectors(1_000, i))
    store.close()
    again = opened(index="hnsw", buffer_rows=4_096)
    assert again.count() == 9_000
    query = vectors(1, 77)[0]
    assert_same(again.search(query, 5), brute_force(again, query, 5))


def test_failed_first_load_is_repeated_without_duplicates(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No row is loaded twice, so none is found twice."""
    _filled(opened, tmp_path / "store")
    store = opened(**GRAPHS)
    vectors_since = RowReader.vectors_since
    broken = iter([True])

    def break_once(rows: RowReader, seq: int) -> Iterator[tuple[int, bytes]]:
        for number, row in enumerate(vectors_since(rows, seq)):
            if number == 3 and next(broken, False):
                raise OSError("planted")
            yield row

    monkeypatch.setattr(RowReader, "vectors_since", break_once)
    with pytest.raises(OSError, match="planted"):
        store.count()
    assert store.count() == 350
    _check(store)
