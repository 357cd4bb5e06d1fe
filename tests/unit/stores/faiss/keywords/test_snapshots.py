"""Tests of keyword snapshots: after reopening, writes, damage, a kill, and on a full disk."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.stores.faiss.keywords.texts import DIM, MANY, QUERIES, answers_of, fill, sentence, unit

from super_advanced_agents.stores import FAISSVectorStore
from super_advanced_agents.stores.faiss.keywords.postings import PostingsIndex


def _rebuilt(folder: Path, queries):
    """Return the results of a copy of the store that has only its rows."""
    copy = folder.with_name(f"{folder.name}-copy")
    shutil.copytree(folder, copy)
    shutil.rmtree(copy / "words", ignore_errors=True)
    with FAISSVectorStore(DIM, copy) as store:
        answers = answers_of(store, queries)
    shutil.rmtree(copy)
    return answers


@pytest.fixture
def folder(tmp_path):
    """The folder of a store that was searched and closed, so that it has a keyword snapshot."""
    rng = random.Random(2)
    with FAISSVectorStore(DIM, tmp_path / "store") as store:
        fill(store, [sentence(rng) for _ in range(MANY)], sessions=["s"] * 300 + [None] * (MANY - 300))
        store.search_keywords("boto")
    assert (tmp_path / "store" / "words").is_dir()
    return tmp_path / "store"


def test_reopened_store_searches_the_keyword_snapshot_without_indexing(folder, activity):
    """The second reopening writes nothing either."""
    expected = _rebuilt(folder, QUERIES)
    assert activity.indexed
    activity.reset()
    for _ in range(2):
        with FAISSVectorStore(DIM, folder) as store:
            assert answers_of(store, QUERIES) == expected
            assert (activity.indexed, activity.buffered) == (0, 0)
        assert not list(folder.glob("words-*"))


def test_keyword_snapshot_follows_writes_of_an_opening_without_searches(folder, activity):
    """Turns were deleted, replaced in place, and appended to a session."""
    with FAISSVectorStore(DIM, folder) as store:
        turns = [record.uid for record in store.scan(limit=1_000) if record.session == "s"]
        store.delete(turns[10:12])
        store.add(unit(0), {"text": "boto boto zebra"}, turns[20], session="s")
        store.add(unit(0), {"text": "a turn at the end: zebra"}, "last", session="s")
    expected = _rebuilt(folder, [*QUERIES, "zebra"])
    activity.reset()
    with FAISSVectorStore(DIM, folder) as store:
        found = answers_of(store, [*QUERIES, "zebra"])
        zebras = {uid for uid, _ in found[-1]}
        assert zebras == {turns[19], turns[20], turns[21], "last", turns[-1]}
        assert not {uid for each in found for uid, _ in each} & set(turns[10:12])
        assert not activity.indexed
    for before, after in zip(found, expected, strict=True):
        assert [score for _, score in before] == pytest.approx([score for _, score in after], rel=0.02, abs=0.01)


def test_keyword_snapshot_is_dropped_when_its_rows_have_other_texts(folder, tmp_path):
    """A restored database may have the same row numbers with other texts."""
    old = tmp_path / "old"
    shutil.copytree(folder, old)
    with FAISSVectorStore(DIM, folder) as store:
        fill(store, [f"today{i}" for i in range(MANY)])
        assert len(store.search_keywords("today7")) == 1
    with FAISSVectorStore(DIM, old) as store:
        fill(store, [f"tomorrow{i}" for i in range(2 * MANY)])
    shutil.rmtree(old / "words")
    shutil.copytree(folder / "words", old / "words")
    with FAISSVectorStore(DIM, old) as store:
        assert store.search_keywords("today7") == []
        assert len(store.search_keywords("tomorrow7")) == 1


def test_keyword_snapshot_of_another_store_is_dropped(folder, tmp_path):
    """A snapshot carries the identity of the store that it was made from."""
    with FAISSVectorStore(DIM, tmp_path / "other") as other:
        fill(other, [f"other{i}" for i in range(2 * MANY)])
        other.search_keywords("other1")
    expected = _rebuilt(folder, QUERIES)
    shutil.rmtree(folder / "words")
    shutil.copytree(tmp_path / "other" / "words", folder / "words")
    with FAISSVectorStore(DIM, folder) as store:
        assert store.search_keywords("other1") == []
        assert answers_of(store, QUERIES) == expected


def test_keyword_search_is_correct_when_a_snapshot_file_is_damaged(folder, campaign):
    """Each file is truncated, flipped, emptied, removed or swapped with another."""
    expected = _rebuilt(folder, QUERIES)
    intact = folder.with_name("intact")
    shutil.copytree(folder / "words", intact)
    rng = random.Random(3)
    files = sorted(path.name for path in intact.iterdir())
    assert {"meta.json", "manifest.json", "rows.npy"} < set(files)
    damages = [(name, how) for name in files for how in ("cut", "flipped", "empty", "missing", "swapped")]
    for name, how in damages if campaign > 1 else rng.sample(damages, 12):
        shutil.rmtree(folder / "words")
        shutil.copytree(intact, folder / "words")
        _damage(folder / "words" / name, how, rng)
        with FAISSVectorStore(DIM, folder) as store:
            assert answers_of(store, QUERIES) == expected, (name, how)


def _damage(path: Path, how: str, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    match how:
        case "cut":
            path.write_bytes(content[: rng.randrange(len(content) or 1)])
        case "flipped" if content:
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
            path.write_bytes(content)
        case "empty":
            path.write_bytes(b"")
        case "missing":
            path.unlink()
        case "swapped":
            path.write_bytes(rng.choice([each for each in path.parent.iterdir() if each != path]).read_bytes())


def test_keyword_snapshot_is_dropped_when_its_manifest_is_other_json(folder):
    """The manifest can be parsed and makes no sense."""
    expected = _rebuilt(folder, QUERIES[:3])
    for content in (None, 1, [], {}, {"sha256": "x", "body": {}}, {"sha256": 1, "body": []}):
        (folder / "words" / "manifest.json").write_text(json.dumps(content))
        with FAISSVectorStore(DIM, folder) as store:
            assert answers_of(store, QUERIES[:3]) == expected


def test_keyword_search_finds_every_text_after_a_kill(folder):
    """The older snapshot is loaded, later rows are read from the table, and the leftover folder is deleted."""
    script = f"""
import os, signal
from super_advanced_agents.stores import FAISSVectorStore
store = FAISSVectorStore({DIM}, {str(folder)!r})
for start in range(0, {MANY}, 256):
    store.add_batch([[1.0] * {DIM}] * 256, [{{"text": f"later{{i}} boto"}} for i in range(start, start + 256)])
    assert len(store.search_keywords(f"later{{start}}")) == 1
os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", script], timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert list(folder.glob("words-*"))
    expected = _rebuilt(folder, QUERIES)
    with FAISSVectorStore(DIM, folder) as store:
        assert len(store.search_keywords("later77")) == 1
        for before, after in zip(answers_of(store, QUERIES), expected, strict=True):
            assert [score for _, score in before] == pytest.approx([score for _, score in after], rel=0.02, abs=0.01)
    assert not list(folder.glob("words-*"))


def test_keyword_index_is_rebuilt_when_its_snapshot_could_not_be_saved(folder):
    """Files stand where the folders of the snapshot should be."""
    expected = _rebuilt(folder, QUERIES[:3])
    shutil.rmtree(folder / "words")
    (folder / "words.new").write_text("in the way")
    (folder / "words").write_text("in the way, too")
    for _ in range(2):
        with FAISSVectorStore(DIM, folder) as store:
            assert answers_of(store, QUERIES[:3]) == expected


def test_keyword_index_moves_into_memory_when_the_disk_is_full(tmp_path, monkeypatch):
    """A disk that is full or gone makes a search slower and changes no result."""
    with FAISSVectorStore(DIM, tmp_path / "store") as store:
        fill(store, [f"w{i}w" for i in range(MANY)])
        assert len(store.search_keywords("w1w")) == 1

        commit = PostingsIndex.commit

        def commit_without_disk(index):
            if list((tmp_path / "store").glob("words*")):  # else it was moved into memory already
                raise ValueError("An IO error occurred: 'No space left on device (os error 28)'")
            commit(index)

        monkeypatch.setattr(PostingsIndex, "commit", commit_without_disk)
        fill(store, [f"v{i}v" for i in range(MANY)])
        assert len(store.search_keywords("v1v")) == 1
        assert len(store.search_keywords("w1w")) == 1
        fill(store, [f"u{i}u" for i in range(MANY)])
        assert len(store.search_keywords("u1u")) == 1
        assert not list((tmp_path / "store").glob("words*"))


def test_keyword_snapshot_is_copied_when_the_file_system_has_no_links(folder, monkeypatch, activity):
    """Copying is slower and gives the same results."""
    expected = _rebuilt(folder, QUERIES[:3])

    def no_links(*_arguments, **_options):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    activity.reset()
    for _ in range(2):
        with FAISSVectorStore(DIM, folder) as store:
            assert answers_of(store, QUERIES[:3]) == expected
            assert not activity.indexed
