"""The factors by which the terms of a query count, over the index on disk and the buffer."""

from __future__ import annotations

from collections.abc import Sequence

from super_advanced_agents.stores.faiss.keywords.buffer import KeywordBuffer
from super_advanced_agents.stores.faiss.keywords.postings import PostingsIndex
from super_advanced_agents.stores.text.bm25 import FIELDS, Boosts, idf, indexed_words, word_boosts


def term_boosts(
    words: Sequence[tuple[str, ...]], index: PostingsIndex | None, buffer: KeywordBuffer
) -> tuple[Boosts, Boosts]:
    """Return the boosts of a query's terms in the index on disk, and those in the buffer.

    Args:
        words: the terms of each word of the query.
        index: the index on disk; None without one.
        buffer: the buffer of recent rows.
    """

    def on_disk_frequency(field: str, term: str) -> int:
        return 0 if index is None else index.doc_frequency(field, term)

    def frequency(field: str, term: str) -> int:
        return on_disk_frequency(field, term) + buffer.doc_frequency(field, term)

    known = indexed_words(words, frequency)
    if index is not None and not buffer.rows and all(len(word) == 1 for word in known):
        return {(field, term): weight for [term] in known for field, weight in FIELDS.items()}, {}
    count = 0 if index is None else index.count
    boosts = word_boosts(known, frequency, count + buffer.count)
    # The index on disk multiplies by the idf of its own entries.
    on_disk = {key: boost / idf(count, found) for key, boost in boosts.items() if (found := on_disk_frequency(*key))}
    return on_disk, {key: boost for key, boost in boosts.items() if buffer.doc_frequency(*key)}
