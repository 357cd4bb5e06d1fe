"""Keyword search by BM25, with the statistics of one tenant.

Milvus finds the rows that have a term, by the hashes of their terms, and counts them; the scores are computed here.
The server's own BM25 (from 2.5 on) counts a term in the texts of all tenants, so that one would see in its scores what
others store, and knows neither the window nor the analyzer.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from super_advanced_agents._runtime.concurrency.budget import check_budget
from super_advanced_agents.stores.milvus.expressions import any_of, every, has_any, quote
from super_advanced_agents.stores.milvus.facts import term_hash
from super_advanced_agents.stores.milvus.rows import MAX_ROWS, Columns
from super_advanced_agents.stores.milvus.table import Table
from super_advanced_agents.stores.text.analyzer import query_terms
from super_advanced_agents.stores.text.bm25 import (
    FIELDS,
    K1,
    Boosts,
    indexed_words,
    length_code,
    lengths_of,
    saturated,
    word_boosts,
)

_SCORED = ["pk", "seq", *(f"{name}_{part}" for name in FIELDS for part in ("length", "terms", "counts"))]
_MAX_TENANTS = 256
_MAX_TERMS = 4_096
_FRESH_S = 2.0
"""The seconds for which the statistics of a tenant are used again."""
_FEW_TERMS = 50_000
"""The terms of a tenant's texts and windows up to which all are counted here, in 10 ms."""
_MANY_TEXTS = 2_000
"""With fewer texts, a write of this process ends the statistics at once.

With more, a write shifts no score visibly.
"""


class Hit(NamedTuple):
    """Hold the primary key of a row and its BM25 score."""

    score: float
    seq: int
    pk: str


@dataclass(slots=True)
class _Statistics:
    # Statistics of one tenant's unexpired texts, at one version of its writes.
    version: int
    until: float
    count: int
    average_lengths: dict[str, float]
    languages: list[str]
    counted: dict[str, _Counted] | None = None  # by field; None where the server is asked for each term
    frequencies: dict[tuple[str, str], int] = field(default_factory=dict)


class _Counted(NamedTuple):
    # The document frequency of each term: the sorted hashes of the terms, and the numbers of texts.
    hashes: NDArray[np.int64]
    numbers: NDArray[np.int64]

    def of(self, number: int) -> int:
        at = int(np.searchsorted(self.hashes, number))
        return int(self.numbers[at]) if at < len(self.hashes) and self.hashes[at] == number else 0


class KeywordSearcher:
    """Rank a tenant's rows by BM25. Thread-safe; its methods block, so only worker threads call them.

    Args:
        table: the rows.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._lock = threading.Lock()
        self._statistics: OrderedDict[str, _Statistics] = OrderedDict()

    def search(
        self,
        tenant: str,
        text: str,
        k: int,
        *,
        candidates: str,
        columns: Sequence[str],
        verify: Callable[[Columns], bool],
    ) -> list[Hit]:
        """Return the k candidate rows with the best BM25 scores, best first.

        Args:
            tenant: the tenant, whose texts the terms are counted in.
            text: the query.
            k: the most rows.
            candidates: the expression of the rows to search.
            columns: the columns that `verify` needs.
            verify: tells whether a row that Milvus returned is one to search.
        """
        statistics = self._fresh(tenant)
        if not statistics.count:
            return []

        def frequency(name: str, term: str) -> int:
            return self._frequency(tenant, statistics, name, term)

        words = indexed_words(query_terms(text, statistics.languages), frequency)
        boosts = word_boosts(words, frequency, statistics.count)
        terms = list(dict.fromkeys(term for word in words for term in word))
        bounds = {term: sum(boosts[name, term] for name in FIELDS) * (K1 + 1) for term in terms}
        terms.sort(key=lambda term: -bounds[term])
        hits: list[Hit] = []
        done = 0
        while done < len(terms):
            check_budget()
            # Rows without any of the terms so far cannot reach the k-th score by the rest of the terms.
            if len(hits) >= k and sum(bounds[term] for term in terms[done:]) < hits[k - 1].score:
                break
            taken = done + 1
            while taken < len(terms) and sum(frequency("window", each) for each in terms[done:taken]) < k:
                taken += 1
            expression = self._with_terms(candidates, terms[done:taken], but_not=terms[:done])
            rows = self._table.rows(tenant, expression, [*_SCORED, *columns])
            hits += _scored(filter(verify, rows), boosts, statistics.average_lengths)
            hits.sort(key=lambda hit: (-hit.score, hit.seq))
            done = taken
        return hits[:k]

    def _with_terms(self, candidates: str, terms: Sequence[str], *, but_not: Sequence[str]) -> str:
        wanted = has_any("window_terms", [term_hash(term) for term in terms])
        if not but_not:
            return every(candidates, any_of(wanted, "complete == false"))
        unwanted = has_any("window_terms", [term_hash(term) for term in but_not])
        return every(candidates, wanted, f"not ({unwanted})", "complete == true")

    # -- statistics -----------------------------------------------------------------------------------------------

    def _fresh(self, tenant: str) -> _Statistics:
        version, now = self._table.connection.last_write(tenant), time.monotonic()
        with self._lock:
            known = self._statistics.get(tenant)
            if known is not None and now < known.until and (known.version == version or known.count >= _MANY_TEXTS):
                return known
        live = self._table.live(tenant)
        with_text = every(live, "text_length >= 0")
        sample = self._table.some(tenant, with_text, ["text_length", "window_length", "language"], MAX_ROWS)
        is_whole = len(sample) < MAX_ROWS
        count = len(sample) if is_whole else self._table.count(tenant, with_text)
        languages = (
            sorted({row["language"] for row in sample} - {""})
            if is_whole
            else self._languages(tenant, live, [] if known is None else known.languages)
        )
        averages = {
            name: max(1e-9, sum(row[f"{name}_length"] for row in sample) / max(1, len(sample))) for name in FIELDS
        }
        is_small = is_whole and sum(row[f"{name}_length"] for row in sample for name in FIELDS) <= _FEW_TERMS
        counted = self._counted(tenant, with_text) if is_small else None
        statistics = _Statistics(version, now + _FRESH_S, count, averages, languages, counted)
        with self._lock:
            self._statistics[tenant] = statistics
            self._statistics.move_to_end(tenant)
            if len(self._statistics) > _MAX_TENANTS:
                self._statistics.popitem(last=False)
        return statistics

    def _counted(self, tenant: str, with_text: str) -> dict[str, _Counted]:
        # One query for all terms: a search would ask for each of its own, and again after each write.
        rows = list(self._table.rows(tenant, with_text, [f"{name}_terms" for name in FIELDS]))
        counted = {}
        for name in FIELDS:
            terms = [number for row in rows for number in row[f"{name}_terms"]]
            counted[name] = _Counted(*np.unique(np.array(terms, np.int64), return_counts=True))
        return counted

    def _languages(self, tenant: str, live: str, known: Sequence[str]) -> list[str]:
        languages = list(known)
        while True:
            listed = ",".join(map(quote, ["", *languages]))
            rows = self._table.some(tenant, every(live, f"not (language in [{listed}])"), ["language"], 1_000)
            if not rows:
                return languages
            languages += dict.fromkeys(row["language"] for row in rows)

    def _frequency(self, tenant: str, statistics: _Statistics, name: str, term: str) -> int:
        if statistics.counted is not None:
            return statistics.counted[name].of(term_hash(term))
        known = statistics.frequencies.get((name, term))
        if known is None:
            holds = has_any(f"{name}_terms", [term_hash(term)])
            known = self._table.count(tenant, every(self._table.live(tenant), holds))
            if len(statistics.frequencies) < _MAX_TERMS:
                statistics.frequencies[name, term] = known
        return known


def _scored(rows: Iterable[Columns], boosts: Boosts, average_lengths: dict[str, float]) -> list[Hit]:
    hashes = {(name, term_hash(term)): boost for (name, term), boost in boosts.items()}
    hits = []
    for row in rows:
        score = 0.0
        for name in FIELDS:
            counts = dict(zip(row[f"{name}_terms"], row[f"{name}_counts"], strict=True))
            found = [
                (boost, counts[number]) for (of, number), boost in hashes.items() if of == name and number in counts
            ]
            if found:
                codes = np.full(len(found), length_code(row[f"{name}_length"]), np.uint8)
                weights = saturated(
                    np.array([count for _, count in found], np.float64), lengths_of(codes), average_lengths[name]
                )
                score += float(weights @ np.array([boost for boost, _ in found]))
        if score > 0:
            hits.append(Hit(float(np.float32(score)), int(row["seq"]), row["pk"]))
    return hits
