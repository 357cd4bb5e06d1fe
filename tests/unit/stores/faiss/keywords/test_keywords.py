"""Tests of keyword search: in the buffer, on disk, from a snapshot after reopening, and after damage."""

# ruff: noqa: RUF001  # words of many scripts

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from super_advanced_agents.stores import FAISSVectorStore
from super_advanced_agents.stores.faiss.keywords.buffer import KeywordBuffer
from super_advanced_agents.stores.faiss.keywords.entry import Entry
from super_advanced_agents.stores.faiss.keywords.index import FLUSH_ROWS
from super_advanced_agents.stores.faiss.keywords.postings import PostingsIndex
from super_advanced_agents.stores.text.analyzer import analyze, query_terms
from super_advanced_agents.stores.text.bm25 import FIELDS, idf

DIM = 8
MANY = 2 * FLUSH_ROWS
VOCABULARY = [f"{first}{second}" for first in "bcdfgklmnprst" for second in ("oto", "ania", "eru", "ick", "unam")]


def _unit(axis: int) -> list[float]:
    return [1.0 if i == axis % DIM else 0.0 for i in range(DIM)]


def _sentence(rng: random.Random) -> str:
    return " ".join(rng.choices(VOCABULARY, k=rng.randint(1, 12)))


def _fill(store, texts, **more):
    uids = []
    for start in range(0, len(texts), 1_000):
        page = texts[start : start + 1_000]
        uids += store.add_batch(
            [_unit(i) for i in range(len(page))],
            [{"text": text} for text in page],
            **{
                name: value[start : start + 1_000] if isinstance(value, list) else value for name, value in more.items()
            },
        )
    return uids


def _answers(store, queries):
    return [[(match.uid, round(match.score, 3)) for match in store.search_keywords(each, 10)] for each in queries]


class Activity:
    """The work of keyword indexes since `reset`, counted at their public methods.

    Attributes:
        indexed: how often entries were written to an index on disk.
        buffered: how many rows were put into a buffer.
        buffer_rows: the size of the buffer at each search that found a term in it.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget what was recorded."""
        self.indexed, self.buffered, self.buffer_rows = 0, 0, []


@pytest.fixture
def activity(monkeypatch) -> Activity:
    """Record what keyword indexes do."""
    recorded, add, put, scores = Activity(), PostingsIndex.add, KeywordBuffer.put, KeywordBuffer.scores

    def recording_add(index, entries):
        recorded.indexed += 1
        add(index, entries)

    def recording_put(buffer, row, entry):
        recorded.buffered += 1
        put(buffer, row, entry)

    def recording_scores(buffer, *arguments):
        recorded.buffer_rows.append(len(buffer.rows))
        return scores(buffer, *arguments)

    monkeypatch.setattr(PostingsIndex, "add", recording_add)
    monkeypatch.setattr(KeywordBuffer, "put", recording_put)
    monkeypatch.setattr(KeywordBuffer, "scores", recording_scores)
    return recorded


def _copied(store: FAISSVectorStore, copy: FAISSVectorStore) -> FAISSVectorStore:
    """Put all records of a store into another one."""
    after = None
    while page := store.scan(after=after, limit=1_000):
        copy.put(page)
        after = page[-1].uid
    return copy


def _rebuilt(folder: Path, queries):
    """Return the results of a copy of the store that has only its rows."""
    copy = folder.with_name(f"{folder.name}-copy")
    shutil.copytree(folder, copy)
    shutil.rmtree(copy / "words", ignore_errors=True)
    with FAISSVectorStore(DIM, copy) as store:
        answers = _answers(store, queries)
    shutil.rmtree(copy)
    return answers


QUERIES = [" ".join(random.Random(i).choices(VOCABULARY, k=3)) for i in range(20)]


# -- buffer and disk --------------------------------------------------------------------------------------------------


def test_keyword_buffer_returns_the_scores_of_the_index_on_disk(tmp_path):
    """An entry has the same BM25 score in the buffer and in the index on disk."""
    rng = random.Random(0)
    texts = [_sentence(rng) * rng.choice((1, 1, 1, 9)) for _ in range(300)]
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
        _fill(store, ["a red apple", "a green pear"])
        assert [match.metadata["text"] for match in store.search_keywords("apples")] == ["a red apple"]
        assert not list(tmp_path.glob("words*"))


@pytest.mark.parametrize("durable", [True, False])
def test_keyword_scores_are_equal_when_texts_were_indexed_in_parts_or_at_once(tmp_path, activity, durable):
    """Records are added, replaced and deleted between the searches."""
    rng = random.Random(1)
    with FAISSVectorStore(DIM, tmp_path / "a" if durable else None) as store:
        uids = _fill(store, [_sentence(rng) for _ in range(MANY)], sessions=["s"] * 300 + [None] * (MANY - 300))
        store.search_keywords("boto")
        for step in range(8):
            _fill(store, [_sentence(rng) for _ in range(40)], sessions=["s"] * 20 + [None] * 20)
            store.add(_unit(0), {"text": _sentence(rng)}, uids[step], session="s")
            store.delete([uids[100 + step]])
            answers = _answers(store, QUERIES)
        assert activity.indexed
        assert 0 < activity.buffer_rows[-1] <= FLUSH_ROWS
        with FAISSVectorStore(DIM) as copy:
            again = _answers(_copied(store, copy), QUERIES)
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
                there |= dict(zip(_fill(store, texts), texts, strict=True))
            elif action == "add":
                there[store.add(_unit(0), {"text": f"w{number}w"})] = f"w{number}w"
                number += 1
            else:
                uid = data.draw(st.sampled_from(list(there)[-5:]))
                gone = there.pop(uid)
                if action == "replace":
                    there[uid] = f"w{number}w"
                    store.add(_unit(0), {"text": there[uid]}, uid)
                    number += 1
                else:
                    store.delete([uid])
                assert store.search_keywords(gone) == []
            for uid in list(there)[-3:]:
                assert [match.uid for match in store.search_keywords(there[uid])] == [uid]


# -- snapshots --------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """The folder of a store that was searched and closed, so that it has a keyword snapshot."""
    rng = random.Random(2)
    with FAISSVectorStore(DIM, tmp_path / "store") as store:
        _fill(store, [_sentence(rng) for _ in range(MANY)], sessions=["s"] * 300 + [None] * (MANY - 300))
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
            assert _answers(store, QUERIES) == expected
            assert (activity.indexed, activity.buffered) == (0, 0)
        assert not list(folder.glob("words-*"))


def test_keyword_snapshot_follows_writes_of_an_opening_without_searches(folder, activity):
    """Turns were deleted, replaced in place, and appended to a session."""
    with FAISSVectorStore(DIM, folder) as store:
        turns = [record.uid for record in store.scan(limit=1_000) if record.session == "s"]
        store.delete(turns[10:12])
        store.add(_unit(0), {"text": "boto boto zebra"}, turns[20], session="s")
        store.add(_unit(0), {"text": "a turn at the end: zebra"}, "last", session="s")
    expected = _rebuilt(folder, [*QUERIES, "zebra"])
    activity.reset()
    with FAISSVectorStore(DIM, folder) as store:
        found = _answers(store, [*QUERIES, "zebra"])
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
        _fill(store, [f"today{i}" for i in range(MANY)])
        assert len(store.search_keywords("today7")) == 1
    with FAISSVectorStore(DIM, old) as store:
        _fill(store, [f"tomorrow{i}" for i in range(2 * MANY)])
    shutil.rmtree(old / "words")
    shutil.copytree(folder / "words", old / "words")
    with FAISSVectorStore(DIM, old) as store:
        assert store.search_keywords("today7") == []
        assert len(store.search_keywords("tomorrow7")) == 1


def test_keyword_snapshot_of_another_store_is_dropped(folder, tmp_path):
    """A snapshot carries the identity of the store that it was made from."""
    with FAISSVectorStore(DIM, tmp_path / "other") as other:
        _fill(other, [f"other{i}" for i in range(2 * MANY)])
        other.search_keywords("other1")
    expected = _rebuilt(folder, QUERIES)
    shutil.rmtree(folder / "words")
    shutil.copytree(tmp_path / "other" / "words", folder / "words")
    with FAISSVectorStore(DIM, folder) as store:
        assert store.search_keywords("other1") == []
        assert _answers(store, QUERIES) == expected


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
            assert _answers(store, QUERIES) == expected, (name, how)


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
            assert _answers(store, QUERIES[:3]) == expected


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
        for before, after in zip(_answers(store, QUERIES), expected, strict=True):
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
            assert _answers(store, QUERIES[:3]) == expected


def test_keyword_index_moves_into_memory_when_the_disk_is_full(tmp_path, monkeypatch):
    """A disk that is full or gone makes a search slower and changes no result."""
    with FAISSVectorStore(DIM, tmp_path / "store") as store:
        _fill(store, [f"w{i}w" for i in range(MANY)])
        assert len(store.search_keywords("w1w")) == 1

        commit = PostingsIndex.commit

        def commit_without_disk(index):
            if list((tmp_path / "store").glob("words*")):  # else it was moved into memory already
                raise ValueError("An IO error occurred: 'No space left on device (os error 28)'")
            commit(index)

        monkeypatch.setattr(PostingsIndex, "commit", commit_without_disk)
        _fill(store, [f"v{i}v" for i in range(MANY)])
        assert len(store.search_keywords("v1v")) == 1
        assert len(store.search_keywords("w1w")) == 1
        _fill(store, [f"u{i}u" for i in range(MANY)])
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
            assert _answers(store, QUERIES[:3]) == expected
            assert not activity.indexed


# -- terms ---------------------------------------------------------------------------------------------------


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
        _fill(store, [text, "entirely different", "совсем другое", "全く違う文"])
        assert store.search_keywords(query)[0].metadata["text"] == text
        assert store.search_hybrid(_unit(5), query, 1)[0].metadata["text"] == text


@pytest.mark.parametrize(
    "query", ["?!", "…", "\U0001f408", "\u200b", "\u202e", "'", "-", "𓀀", "e" * 5_000, "的" * 3_000]
)
def test_query_without_a_word_finds_nothing_by_keyword_and_all_by_hybrid(query):
    """Punctuation, symbols, and strings that are longer than any word are no words."""
    with FAISSVectorStore(DIM) as store:
        _fill(store, ["one", "two", "three"])
        assert store.search_keywords(query) == []
        assert [match.metadata["text"] for match in store.search_hybrid(_unit(1), query, 3)] == [
            "two",
            "one",
            "three",
        ]


def test_long_query_is_ranked_by_its_rarest_words():
    """Ten thousand characters of common words do not hide the one that tells."""
    with FAISSVectorStore(DIM) as store:
        common = " ".join(VOCABULARY)
        _fill(store, [common] * 20 + ["quokka and other animals"])
        query = f"{common} {common} quokka {common}" * 11
        assert len(query) > 10_000
        assert store.search_keywords(query, 30)[0].metadata["text"] == "quokka and other animals"


def test_search_returns_equal_texts_in_the_order_of_adding():
    """Of equal scores the older row comes first, and `top_k` are returned, in keyword and hybrid search."""
    with FAISSVectorStore(DIM) as store:
        uids = store.add_batch([_unit(0)] * 30, [{"text": "the same words"}] * 30)
        assert [match.uid for match in store.search_keywords("words", 30)] == uids
        assert [match.uid for match in store.search_hybrid(_unit(0), "words", 30)] == uids
        assert [match.uid for match in store.search_hybrid(_unit(0), "words", 3)] == uids[:3]


@given(st.text(min_size=1, max_size=300))
def test_keyword_search_finds_any_text_by_itself_when_it_has_a_word(text):
    """No text is query syntax, and none breaks the analyzer."""
    with FAISSVectorStore(DIM) as store:
        try:
            store.add(_unit(0), {"text": text})
        except ValueError:
            return  # blank, NUL, or no Unicode text: refused before any search
        if text.isspace():
            return
        found = store.search_keywords(text)
        assert bool(found) == bool(analyze(text).terms)
        assert len(store.search_hybrid(_unit(0), text)) == 1


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
