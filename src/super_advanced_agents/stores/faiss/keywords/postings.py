"""The keyword index on disk: postings, document frequencies and BM25 search, by tantivy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import cast

import orjson
import tantivy
from tantivy import Occur, Query, TextAnalyzerBuilder, Tokenizer

from super_advanced_agents.stores.faiss.keywords.entry import Entry
from super_advanced_agents.stores.text.bm25 import FIELDS
from super_advanced_agents.telemetry import get_logger

_log = get_logger("store")
_HEAP_BYTES = 32 * 1024 * 1024


class PostingsIndex:
    """Index and search texts with tantivy, in a folder or in memory.

    An index that is in the folder already is opened.

    One thread writes, another may search meanwhile. Every method raises `ValueError` or `OSError` when a disk is full
    or fails.

    Args:
        folder: the folder of the index, which nothing else writes to; in memory when None.
        average_lengths: the mean number of tokens in each field, as saved with the index.

    Attributes:
        count: the number of entries.
        average_lengths: the mean number of tokens in each field.
    """

    def __init__(self, folder: Path | None, average_lengths: Mapping[str, float] | None = None) -> None:
        builder = tantivy.SchemaBuilder()
        builder.add_unsigned_field("row", indexed=True, fast=True)
        builder.add_unsigned_field("scope", indexed=True)
        for field in FIELDS:
            builder.add_text_field(field, tokenizer_name="words", index_option="freq")
        self._schema = builder.build()
        # On disk a commit takes 5 to 8 ms; in tantivy's directory in memory 29 to 87 ms.
        self._index = tantivy.Index(self._schema, None if folder is None else str(folder), reuse=True)
        self._index.register_tokenizer("words", TextAnalyzerBuilder(Tokenizer.whitespace()).build())
        self._searcher = self._index.searcher()
        self.count: int = self._searcher.num_docs
        self._writer: tantivy.IndexWriter | None = None
        self._sample: Entry | None = None
        self.average_lengths = dict.fromkeys(FIELDS, 1.0) if average_lengths is None else dict(average_lengths)

    def add(self, entries: Iterable[Entry]) -> None:
        """Add the texts of rows to the index; the next `commit` stores them."""
        writer = self._open_writer()
        for entry in entries:
            writer.add_document(tantivy.Document.from_dict(entry._asdict(), self._schema))
            self._sample = entry

    def remove(self, rows: Sequence[int]) -> None:
        """Mark the texts of these rows as deleted; the next `commit` removes them."""
        if rows:  # by query: deleting by term ignores unsigned fields, without an error
            self._open_writer().delete_documents_by_query(Query.term_set_query(self._schema, "row", list(rows)))

    def commit(self) -> None:
        """Store the added and removed texts in the index; searches see them after `refresh`.

        Any thread may call it, and searches go on meanwhile.
        """
        self._open_writer().commit()

    def refresh(self) -> None:
        """Reopen the index for reading, so that searches see the last commit."""
        self._index.reload()
        self._searcher = self._index.searcher()
        self.count = self._searcher.num_docs
        if self._sample is not None:
            self._update_average_lengths(self._sample)

    def doc_frequency(self, field: str, term: str) -> int:
        """Count the indexed rows that contain a term in a field (`text` or `window`)."""
        return self._searcher.doc_freq(field, term)

    def hits(
        self, boosts: Mapping[tuple[str, str], float], limit: int, *, scope: int | None, rows: Sequence[int] | None
    ) -> list[tuple[float, int]]:
        """Find the rows with the best BM25 scores among those that contain any of the terms.

        Args:
            boosts: (field, term) -> the factor of its BM25 score.
            limit: the maximum number of rows.
            scope: search this scope (the number of one tenant's namespace) only; all when None.
            rows: search these rows only, which must be few; all when None.

        Returns:
            (score, row), best first.
        """
        any_term = [
            (Occur.Should, Query.boost_query(Query.term_query(self._schema, field, term, "freq"), boost))
            for (field, term), boost in boosts.items()
        ]
        clauses = [(Occur.Must, Query.boolean_query(any_term))]
        if rows is not None:
            clauses.append((Occur.Must, Query.const_score_query(Query.term_set_query(self._schema, "row", rows), 0.0)))
        elif scope is not None:
            clauses.append((Occur.Must, Query.const_score_query(Query.term_query(self._schema, "scope", scope), 0.0)))
        query = clauses[0][1] if len(clauses) == 1 else Query.boolean_query(clauses)
        hits = self._searcher.search(query, limit, count=False).hits
        found_rows = self._searcher.fast_field_values("row", [address for _, address in hits])
        return list(zip([score for score, _ in hits], cast("list[int]", found_rows), strict=True))

    def wait_for_merges(self) -> None:
        """Wait until tantivy's background merges end.

        The files of the index do not change again until the next write.
        """
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.wait_merging_threads()

    def close(self) -> None:
        """Wait until tantivy's background merges end, and stop its writer."""
        try:
            self.wait_for_merges()
        except ValueError:
            _log.debug("store.words_merge_failed")  # the index is closed or discarded anyway

    def _open_writer(self) -> tantivy.IndexWriter:
        if self._writer is None:
            self._writer = self._index.writer(heap_size=_HEAP_BYTES, num_threads=1)
        return self._writer

    def _update_average_lengths(self, sample: Entry) -> None:
        # A score explanation is the only API that exposes a field's mean length.
        for field in FIELDS:
            terms = getattr(sample, field).split()
            if not terms:
                continue
            term = Query.term_query(self._schema, field, terms[0], "freq")
            sample_row = Query.term_set_query(self._schema, "row", [sample.row])
            for _, address in self._searcher.search(Query.and_must_match(term, sample_row), 1, count=False).hits:
                explanation = orjson.loads(term.explain(self._searcher, address).to_json())
                self.average_lengths[field] = _find_avgdl(explanation) or self.average_lengths[field]
        self._sample = None


def _find_avgdl(explanation: Mapping[str, object]) -> float:
    # `avgdl` is tantivy's name of a field's mean length.
    if str(explanation.get("description", "")).startswith("avgdl"):
        return float(str(explanation["value"]))
    details = explanation.get("details")
    return max(map(_find_avgdl, details), default=0.0) if isinstance(details, list) else 0.0
