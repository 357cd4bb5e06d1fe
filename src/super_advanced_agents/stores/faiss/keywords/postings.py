"""Words on disk: the BM25 index of a library, and what it knows of how common words are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import cast

import orjson
import tantivy
from tantivy import Occur, Query

from super_advanced_agents.stores.faiss.keywords.analyzer import ANALYZER, FIELDS, Entry, tokenize
from super_advanced_agents.telemetry import get_logger

_log = get_logger("store")
_HEAP_BYTES = 32 * 1024 * 1024


class PostingsIndex:
    """One index of the library, opened where there is one, else made; one thread writes, another searches.

    Attributes:
        count: how many entries it holds.
        averages: the mean number of words in each field.

    Args:
        home: the folder it lives in, which nobody else writes; in memory when None.
        averages: the mean number of words in each field, as known when it was kept.

    Every operation raises `ValueError` or `OSError` when a disk is full or fails.
    """

    def __init__(self, home: Path | None, average_lengths: Mapping[str, float] | None = None) -> None:
        builder = tantivy.SchemaBuilder()
        builder.add_unsigned_field("row", indexed=True, fast=True)
        builder.add_unsigned_field("scope", indexed=True)
        for field in FIELDS:
            builder.add_text_field(field, tokenizer_name="words", index_option="freq")
        self._schema = builder.build()
        # On disk a commit takes 5 to 8 ms; the library's own directory in memory takes 29 to 87 ms.
        self._index = tantivy.Index(self._schema, None if home is None else str(home), reuse=True)
        self._index.register_tokenizer("words", ANALYZER)
        self._searcher = self._index.searcher()
        self.count: int = self._searcher.num_docs
        self._writer: tantivy.IndexWriter | None = None
        self._sample: Entry | None = None
        self.average_lengths = dict.fromkeys(FIELDS, 1.0) if average_lengths is None else dict(average_lengths)

    def add(self, entries: Iterable[Entry]) -> None:
        """Add entries; they count after `commit`."""
        writer = self._writing()
        for entry in entries:
            writer.add_document(tantivy.Document.from_dict(entry._asdict(), self._schema))
            self._sample = entry

    def remove(self, rows: Sequence[int]) -> None:
        """Remove what is there of these rows; it counts after `commit`."""
        if rows:  # by query: deleting by term misses unsigned fields without a word
            self._writing().delete_documents_by_query(Query.term_set_query(self._schema, "row", list(rows)))

    def commit(self) -> None:
        """Write down what was added and removed; from any thread, searches go on beside it."""
        self._writing().commit()

    def refresh(self) -> None:
        """Let searches see what was committed."""
        self._index.reload()
        self._searcher = self._index.searcher()
        self.count = self._searcher.num_docs
        if self._sample is not None:
            self._measure(self._sample)

    def doc_frequency(self, field: str, word: str) -> int:
        """How many entries have this word."""
        return self._searcher.doc_freq(field, word)

    def hits(
        self, boosts: Mapping[tuple[str, str], float], limit: int, *, scope: int | None, rows: Sequence[int] | None
    ) -> list[tuple[float, int]]:
        """The best entries that have one of some words.

        Args:
            boosts: (field, word) -> what its BM25 is multiplied by.
            limit: how many, at most.
            scope: only of this scope; of all when None.
            rows: only these rows, as few as they are; any when None.

        Returns:
            (score, row), best first.
        """
        either = [
            (Occur.Should, Query.boost_query(Query.term_query(self._schema, field, word, "freq"), boost))
            for (field, word), boost in boosts.items()
        ]
        clauses = [(Occur.Must, Query.boolean_query(either))]
        if rows is not None:
            clauses.append((Occur.Must, Query.const_score_query(Query.term_set_query(self._schema, "row", rows), 0.0)))
        elif scope is not None:
            clauses.append((Occur.Must, Query.const_score_query(Query.term_query(self._schema, "scope", scope), 0.0)))
        query = clauses[0][1] if len(clauses) == 1 else Query.boolean_query(clauses)
        hits = self._searcher.search(query, limit, count=False).hits
        found = self._searcher.fast_field_values("row", [address for _, address in hits])
        return list(zip([score for score, _ in hits], cast("list[int]", found), strict=True))

    def wait_for_merges(self) -> None:
        """Wait until what the library does behind our back is done; the files do not change again until a write."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.wait_merging_threads()

    def close(self) -> None:
        """Let go of it."""
        try:
            self.wait_for_merges()
        except ValueError:
            _log.debug("store.words_merge_failed")  # nothing of it is kept

    def _writing(self) -> tantivy.IndexWriter:
        if self._writer is None:
            self._writer = self._index.writer(heap_size=_HEAP_BYTES, num_threads=1)
        return self._writer

    def _measure(self, sample: Entry) -> None:
        """Read the mean lengths from how the library explains the score of an entry."""
        for field in FIELDS:
            of_entry = tokenize(getattr(sample, field))
            if not of_entry:
                continue
            term = Query.term_query(self._schema, field, of_entry[0], "freq")
            only = Query.term_set_query(self._schema, "row", [sample.row])
            for _, address in self._searcher.search(Query.and_must_match(term, only), 1, count=False).hits:
                told = orjson.loads(term.explain(self._searcher, address).to_json())
                self.average_lengths[field] = _average_length(told) or self.average_lengths[field]
        self._sample = None


def _average_length(told: Mapping[str, object]) -> float:
    """The number that is called `avgdl` in an explanation; 0 if none is."""
    if str(told.get("description", "")).startswith("avgdl"):
        return float(str(told["value"]))
    parts = told.get("details")
    return max(map(_average_length, parts), default=0.0) if isinstance(parts, list) else 0.0
