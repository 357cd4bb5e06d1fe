"""The BM25 weights of a query's terms, from the counts in the tables of the keyword index."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import NamedTuple

from super_advanced_agents._runtime.postgres import Connection, Database
from super_advanced_agents.stores.text.analyzer import query_terms
from super_advanced_agents.stores.text.bm25 import indexed_words, word_boosts

_COUNTED_POSTINGS = 50_000
"""The most postings of one term that are counted; a term with more counts as that frequent."""
_FREQUENT = 1_000
"""The postings from which a term's share of the texts is remembered.

Counting them takes as long as ranking them.
"""
_REMEMBERED_S = 30.0
"""Seconds for which that share is taken as it was counted."""
_MAX_REMEMBERED = 16_384
_MAX_TENANTS = 4_096


class WeightedTerms(NamedTuple):
    """Hold the terms of a query that a tenant's texts have, with their weights.

    Attributes:
        tenant: the number of the tenant.
        terms: the terms.
        text_boosts: the weight of each in a text.
        window_boosts: the weight of each in a window.
        text_average: the mean number of terms of all texts.
        window_average: the mean number of terms of all windows.
    """

    tenant: int
    terms: list[str]
    text_boosts: list[float]
    window_boosts: list[float]
    text_average: float
    window_average: float


class _Frequency(NamedTuple):
    window: int
    text: int


class _Share(NamedTuple):
    frequency: _Frequency
    texts: float
    counted_at: float


class TermWeights:
    """Weigh the terms of queries. All methods run in the event loop of the database's connections.

    A rare term is counted for each query, so that the first text with it is found at once. A frequent one is weighed by
    its share of the texts, which is remembered for half a minute.

    Args:
        database: the database.
    """

    def __init__(self, database: Database) -> None:
        self._languages: dict[str, tuple[str, ...]] = {}  # by tenant
        self._shares: dict[tuple[str, str], _Share] = {}  # by tenant and term
        self._statistics = database.sql(
            """SELECT t.id, t.languages, x.texts, x.text_terms, x.window_terms, f.term, f.postings, f.of_text
            FROM {schema}.tenants t
            CROSS JOIN LATERAL (SELECT sum(texts)::float8 AS texts, sum(text_terms)::float8 AS text_terms,
                sum(window_terms)::float8 AS window_terms FROM {schema}.scopes WHERE tenant = t.id) x
            LEFT JOIN LATERAL (SELECT u.term, count(*) AS postings, count(*) FILTER (WHERE p.text_count > 0) AS of_text
                FROM unnest(%s::text[]) AS u(term) CROSS JOIN LATERAL (SELECT p.text_count FROM {schema}.postings p
                    WHERE p.tenant = t.id AND p.term = u.term LIMIT %s) p GROUP BY u.term) f ON TRUE
            WHERE t.name = %s"""
        )

    async def of_query(self, connection: Connection, text: str, *, tenant: str) -> WeightedTerms | None:
        """Return the terms of a query that texts of a tenant have; None if there are none.

        Args:
            connection: that of the search.
            text: the query.
            tenant: the name of the tenant, whose texts count in the weights.
        """
        words = query_terms(text, self._languages.get(tenant, ()))
        while True:
            remembered = self._remembered(tenant, {term for word in words for term in word})
            asked = [term for term, share in remembered.items() if share is None]
            cursor = await connection.execute(self._statistics, (asked, _COUNTED_POSTINGS, tenant))
            rows = await cursor.fetchall()
            if not rows or not rows[0][2]:
                return None
            number, languages, count, text_terms, window_terms = rows[0][:5]
            self._remember_languages(tenant, tuple(languages))
            known, words = words, query_terms(text, languages)
            if words == known:
                break
        frequencies = {term: _Frequency(postings, of_text) for *_, term, postings, of_text in rows if term is not None}
        self._remember(tenant, frequencies, count)
        for term, share in remembered.items():
            if share is not None:
                frequencies[term] = _Frequency(*(round(each * count / share.texts) for each in share.frequency))

        def frequency(field: str, term: str) -> int:
            found = frequencies.get(term)
            return 0 if found is None else getattr(found, field)

        boosts = word_boosts(indexed_words(words, frequency), frequency, int(count))
        terms = sorted({term for _, term in boosts})
        if not terms:
            return None
        return WeightedTerms(
            tenant=number,
            terms=terms,
            text_boosts=[boosts["text", term] for term in terms],
            window_boosts=[boosts["window", term] for term in terms],
            text_average=max(text_terms / count, 1e-9),
            window_average=max(window_terms / count, 1e-9),
        )

    def _remembered(self, tenant: str, terms: Iterable[str]) -> dict[str, _Share | None]:
        oldest = time.monotonic() - _REMEMBERED_S
        found: dict[str, _Share | None] = {}
        for term in terms:
            share = self._shares.get((tenant, term))
            found[term] = share if share is not None and share.counted_at > oldest else None
        return found

    def _remember(self, tenant: str, frequencies: dict[str, _Frequency], texts: float) -> None:
        now = time.monotonic()
        for term, frequency in frequencies.items():
            if frequency.window >= _FREQUENT:
                if len(self._shares) >= _MAX_REMEMBERED:
                    self._shares.pop(next(iter(self._shares)))
                self._shares[tenant, term] = _Share(frequency, texts, now)

    def _remember_languages(self, tenant: str, languages: tuple[str, ...]) -> None:
        if len(self._languages) >= _MAX_TENANTS and tenant not in self._languages:
            self._languages.pop(next(iter(self._languages)))
        self._languages[tenant] = languages
