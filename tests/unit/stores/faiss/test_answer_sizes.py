"""Test that answers are bounded in bytes: searches and reads are refused, and pages end early."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

from super_advanced_agents import FAISSVectorStore
from super_advanced_agents._runtime.concurrency.budget import answers_limited
from super_advanced_agents.config import Limits
from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.stores.faiss.rows.reader import RowReader
from super_advanced_agents.stores.records.answer_sizes import AnswerNeedsReservationError, Page
from super_advanced_agents.types import Metadata

DIM = 8
KIB = 1024
SMALL = Limits(answer_bytes=100 * KIB, page_bytes=20 * KIB, text_bytes=4 * KIB)


@pytest.fixture
def store(opened: Callable[..., FAISSVectorStore]) -> FAISSVectorStore:
    """A store of 100 records with texts of 1 KiB, of which an answer may have fewer than 80."""
    store = opened(limits=SMALL)
    vectors = np.random.default_rng(0).normal(size=(100, store.dim)).astype(np.float32)
    metadatas: list[Metadata | None] = [{"text": f"word {i} ".ljust(KIB, "x"), "i": i} for i in range(100)]
    store.add_batch(vectors, metadatas, [f"{i:03d}" for i in range(100)])
    return store


def _queries(store: FAISSVectorStore, count: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.ones((count, store.dim), np.float32)


SEARCHES: dict[str, Callable[[FAISSVectorStore, int], object]] = {
    "vector": lambda store, top_k: store.search(_queries(store, 1)[0], top_k),
    "batch": lambda store, top_k: store.search_batch(_queries(store, 2), top_k // 2),
    "hybrid": lambda store, top_k: store.search_hybrid(_queries(store, 1)[0], "word", top_k),
    "explained": lambda store, top_k: store.search_hybrid(_queries(store, 1)[0], "word", top_k, explain=True),
    "keywords": lambda store, top_k: store.search_keywords("word", top_k),
}


@pytest.mark.parametrize("name", SEARCHES)
def test_search_is_refused_when_its_answer_would_be_too_large(store: FAISSVectorStore, name: str) -> None:
    """The error names the limit and what to ask less of; a smaller search is answered."""
    with pytest.raises(InvalidInputError, match=r"102400 bytes \(answer_bytes\).*fewer matches") as refused:
        SEARCHES[name](store, 100)
    assert refused.value.field == "top_k"
    assert SEARCHES[name](store, 40)


def test_refused_search_is_told_what_fits(store: FAISSVectorStore) -> None:
    """The numbers in the hint are those of a call that is answered, and near the limit."""
    queries = np.random.default_rng(1).normal(size=(8, store.dim)).astype(np.float32)
    with pytest.raises(InvalidInputError) as refused:
        store.search_batch(queries, 40)
    hint = re.fullmatch(
        r"ask for fewer matches: top_k=(\d+) should fit; or send fewer queries in one call: (\d+) should",
        refused.value.hint,
    )
    assert hint is not None
    top_k, count = map(int, hint.groups())
    assert (top_k, count) == (8, 1)
    assert len(store.search_batch(queries, top_k)[-1]) == top_k
    assert len(store.search_batch(queries[:count], 40)) == count


def test_large_search_beside_others_is_refused_alone(store: FAISSVectorStore) -> None:
    """A query counts its matches as often as it shows them, and the rows of another query do not count."""
    query = _queries(store, 1)[0]
    with pytest.raises(InvalidInputError):
        store.search_batch([query] * 100, 1)
    assert len(store.search_batch([query] * 50, 1)) == 50


def test_search_reads_no_more_rows_than_an_answer_may_have(
    opened: Callable[..., FAISSVectorStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows are counted while they are read, so that a small request never loads a large part of the store."""
    store = opened(limits=Limits(answer_bytes=256 * KIB))
    vectors = np.random.default_rng(0).normal(size=(1_000, store.dim)).astype(np.float32)
    store.add_batch(vectors, [{"text": "x" * KIB}] * 1_000)
    read = []
    hits = RowReader.hits
    monkeypatch.setattr(RowReader, "hits", lambda rows, seqs: read.extend(seqs) or hits(rows, seqs))
    with pytest.raises(InvalidInputError):
        store.search(_queries(store, 1)[0], 1_000)
    assert len(read) <= 256


def test_get_is_refused_when_its_records_would_be_too_large(store: FAISSVectorStore) -> None:
    """A uid counts as often as it is asked for."""
    with pytest.raises(InvalidInputError, match="fewer uids") as refused:
        store.get([f"{i:03d}" for i in range(100)])
    assert refused.value.field == "uids"
    with pytest.raises(InvalidInputError):
        store.get(["007"] * 100)
    assert len(store.get(["007"] * 50)) == 50


def test_page_ends_early_when_it_has_its_bytes_and_the_next_one_goes_on(store: FAISSVectorStore) -> None:
    """The pages together hold every record once, in order; an empty page is the end."""
    pages: list[Page] = []
    after = None
    while page := store.scan(after=after, limit=100):
        assert isinstance(page, Page)
        pages.append(page)
        after = page[-1].uid
    assert [record.uid for page in pages for record in page] == [f"{i:03d}" for i in range(100)]
    assert all(page.cut and len(page) < 20 for page in pages[:-1])
    assert not pages[-1].cut


def test_page_keeps_equal_uids_of_several_namespaces_together(opened: Callable[..., FAISSVectorStore]) -> None:
    """A page is cut before a uid or after it; a uid with more bytes than an answer may have is refused."""
    store = opened(limits=SMALL)
    for i in range(40):
        store.add_batch(_queries(store, 1), [{"text": "x" * KIB}], ["same"], namespace=f"n{i}")
    store.add_batch(_queries(store, 1), [{"text": "x" * KIB}], ["t"])
    page = store.scan(limit=10)
    assert [record.uid for record in page] == ["same"] * 40
    assert [record.uid for record in store.scan(after="same", limit=10)] == ["t"]
    for i in range(40, 130):
        store.add_batch(_queries(store, 1), [{"text": "x" * KIB}], ["same"], namespace=f"n{i}")
    with pytest.raises(InvalidInputError, match="one namespace"):
        store.scan(limit=10)


READS: dict[str, Callable[[FAISSVectorStore, int], object]] = {
    **SEARCHES,
    "get": lambda store, count: store.get([f"{i:03d}" for i in range(count)]),
    "scan": lambda store, count: store.scan(limit=count),
}


@pytest.mark.parametrize("name", READS)
def test_answer_beyond_the_budget_of_its_call_is_read_no_further(store: FAISSVectorStore, name: str) -> None:
    """The caller is told, takes room for it, and reads it then; a shorter one is read at once."""
    with answers_limited(10 * KIB):
        with pytest.raises(AnswerNeedsReservationError):
            READS[name](store, 16)
        assert READS[name](store, 4)
    assert READS[name](store, 16)


def test_nested_lists_of_metadata_count_as_they_do_in_memory(opened: Callable[..., FAISSVectorStore]) -> None:
    """Each has two characters and sixty bytes, so that a page of them would take twenty times its size."""
    store = opened(limits=SMALL)
    metadata: Metadata = {"a": [[]] * 100}
    store.add_batch(_queries(store, 10), [metadata] * 10, [f"{i}" for i in range(10)])
    page = store.scan(limit=10)
    assert isinstance(page, Page)
    assert page.cut
    assert len(page) == 3
    assert [record.metadata for record in page] == [metadata] * 3
    with pytest.raises(InvalidInputError, match="fewer uids"):
        store.get([f"{i}" for i in range(10)] * 2)
