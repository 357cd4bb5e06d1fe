"""The factors by which the terms of a query count, over the index on disk and the buffer."""

from __future__ import annotations

from collections.abc import Sequence

from super_advanced_agents.stores.faiss.keywords.analyzer import FIELDS
from super_advanced_agents.stores.faiss.keywords.buffer import KeywordBuffer, idf
from super_advanced_agents.stores.faiss.keywords.postings import PostingsIndex

Boosts = dict[tuple[str, str], float]
"""(field, term) -> the factor of its BM25 score."""

_MAX_WORDS = 48


def term_boosts(
    words: Sequence[tuple[str, ...]], index: PostingsIndex | None, buffer: KeywordBuffer
) -> tuple[Boosts, Boosts]:
    """Return the boosts of a query's terms in the index on disk, and those in the buffer.

    The terms of one word, one for each language, are as rare as all of them together. Else the only text in a language
    would be the best for each name in it.

    Args:
        words: the terms of each word of the query; the rarest words count when there are many.
        index: the index on disk; None without one.
        buffer: the buffer of recent rows.
    """
    on_disk_counts = {term: _doc_frequency(index, "window", term) for word in words for term in word}
    counts = {term: count + buffer.doc_frequency("window", term) for term, count in on_disk_counts.items()}
    known = [found for word in words if (found := [term for term in word if counts[term]])]
    if len(known) > _MAX_WORDS:
        known = sorted(known, key=lambda word: sum(counts[term] for term in word))[:_MAX_WORDS]
    if index is not None and not buffer.rows and all(len(word) == 1 for word in known):
        return {(field, term): weight for [term] in known for field, weight in FIELDS.items()}, {}
    on_disk, in_buffer = {}, {}
    count = 0 if index is None else index.count
    for field, weight in FIELDS.items():
        for word in known:
            disk_frequencies = {term: _doc_frequency(index, field, term) for term in word}
            buffer_frequencies = {term: buffer.doc_frequency(field, term) for term in word}
            frequency = sum(disk_frequencies.values()) + sum(buffer_frequencies.values())
            boost = weight * idf(count + buffer.count, frequency)
            for term in word:
                if disk_frequencies[term]:  # the index on disk multiplies by the idf of its own entries
                    on_disk[field, term] = boost / idf(count, disk_frequencies[term])
                if buffer_frequencies[term]:
                    in_buffer[field, term] = boost
    return on_disk, in_buffer


def _doc_frequency(index: PostingsIndex | None, field: str, term: str) -> int:
    return 0 if index is None else index.doc_frequency(field, term)
