"""BM25 over the tables of the keyword index, and the signals of hybrid search."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from super_advanced_agents._runtime.postgres import Connection, Database, Packed
from super_advanced_agents.stores.fusion import (
    Candidates,
    Fused,
    SessionNeighbours,
    StaticSignals,
    fuse,
    needs_static_signals,
)
from super_advanced_agents.stores.postgres.codecs import packed_integers
from super_advanced_agents.stores.postgres.filters import Clause, named_placeholders
from super_advanced_agents.stores.postgres.reading import LIVE
from super_advanced_agents.stores.text.analyzer import query_terms
from super_advanced_agents.stores.text.bm25 import K1, B, indexed_words, word_boosts
from super_advanced_agents.types import Weights

_COUNTED_POSTINGS = 50_000
"""The most postings of one term that are counted; a term with more counts as that frequent."""
_EXTRA_HITS = 16


class Hits(NamedTuple):
    """Hold row numbers and their scores, best first."""

    seqs: NDArray[np.int64]
    scores: NDArray[np.float32]


NO_HITS = Hits(np.empty(0, np.int64), np.empty(0, np.float32))


class Ranker:
    """Find rows by words, and weigh the candidates of hybrid search.

    Args:
        database: the database.
        score: the SQL of a row's similarity to the query, with `{column}` and the placeholder `{query}`.
        storage: the type of the query's vector.
    """

    def __init__(self, database: Database, score: str, storage: str) -> None:
        sql = database.sql
        self._statistics = sql(
            """SELECT t.id, t.languages, x.texts, x.text_terms, x.window_terms FROM {schema}.tenants t
            CROSS JOIN LATERAL (SELECT sum(texts)::float8 AS texts, sum(text_terms)::float8 AS text_terms,
                sum(window_terms)::float8 AS window_terms FROM {schema}.scopes WHERE tenant = t.id) x
            WHERE t.name = %s"""
        )
        self._frequencies = sql(
            """SELECT u.term, count(*), count(*) FILTER (WHERE p.text_count > 0) FROM unnest(%s::text[]) AS u(term)
            CROSS JOIN LATERAL (SELECT p.text_count FROM {schema}.postings p
                WHERE p.tenant = %s AND p.term = u.term LIMIT %s) p GROUP BY u.term"""
        )

        def part(field: str, average: str) -> str:
            norm = f"{K1} * ({1 - B} + {B} * p.{field}_length / {average}::float8)"
            return f"u.{field}_boost * {K1 + 1} * p.{field}_count / (p.{field}_count + {norm})"

        self._hits = sql(
            f"""SELECT p.seq, sum({part("text", "%(text_average)s")} + {part("window", "%(window_average)s")})
                AS score
            FROM unnest(%(terms)s::text[], %(text_boosts)s::float8[], %(window_boosts)s::float8[])
                AS u(term, text_boost, window_boost)
            JOIN {{schema}}.postings p
                ON p.tenant = %(tenant)s AND p.term = u.term AND p.scope = ANY(%(scopes)s::integer[])
            {{filter}} GROUP BY p.seq ORDER BY score DESC, p.seq LIMIT %(limit)s"""  # noqa: S608
        )
        self._filtered = sql("WHERE p.seq IN (SELECT r.seq FROM {schema}.records r WHERE {condition})")
        self._live = sql(
            f"SELECT r.seq FROM {{schema}}.records r WHERE r.scope = ANY(%s::integer[]) AND r.seq = ANY(%s::bigint[]) "  # noqa: S608
            f"AND {LIVE}"
        )
        near = """LEFT JOIN LATERAL (SELECT {similarity} AS similarity FROM {schema}.records x
            WHERE x.scope = r.scope AND x.session = r.session AND (x.place, x.seq) {sign} (r.place, r.seq)
            ORDER BY x.place {order}, x.seq {order} LIMIT 1) {name} ON TRUE"""
        query = f"%(query)s::{storage}"
        of_near = near.replace("{similarity}", score.format(column="x.vector", query=query))
        joins = " ".join(
            of_near.replace("{sign}", sign).replace("{order}", order).replace("{name}", name)
            for sign, order, name in (("<", "DESC", "b"), (">", "ASC", "a"))
        )
        own = score.format(column="r.vector", query=query)
        columns = f"SELECT r.seq, {own}, r.updated_at, r.priority"
        of_seqs = (
            f"WHERE r.scope = ANY(%(scopes)s::integer[]) AND r.seq = ANY(%(seqs)s::bigint[]) AND {LIVE} ORDER BY r.seq"
        )
        self._signals = sql(f"{columns}, b.similarity, a.similarity FROM {{schema}}.records r {joins} {of_seqs}")
        self._own_signals = sql(f"{columns}, NULL, NULL FROM {{schema}}.records r {of_seqs}")

    async def by_words(
        self,
        connection: Connection,
        text: str,
        k: int,
        *,
        tenant: str,
        numbers: Sequence[int],
        clause: Clause | None,
    ) -> Hits:
        """Return the k unexpired rows with the best BM25 scores.

        All of them share a term with the text.

        Args:
            connection: that of the search.
            text: the query.
            k: the most rows.
            tenant: the name of the tenant, whose texts count in the terms' weights.
            numbers: the scopes to search.
            clause: the condition that rows must meet; None for all.
        """
        statistics = await (await connection.execute(self._statistics, (tenant,))).fetchone()
        if statistics is None or not statistics[2]:
            return NO_HITS
        number, languages, count, text_terms, window_terms = statistics
        words = query_terms(text, languages)
        terms = list({term for word in words for term in word})
        cursor = await connection.execute(self._frequencies, (terms, number, _COUNTED_POSTINGS))
        frequencies = {term: {"window": found, "text": of_text} for term, found, of_text in await cursor.fetchall()}

        def frequency(field: str, term: str) -> int:
            found = frequencies.get(term)
            return 0 if found is None else found[field]

        boosts = word_boosts(indexed_words(words, frequency), frequency, int(count))
        known = sorted({term for _, term in boosts})
        if not known:
            return NO_HITS
        parameters = {
            "terms": known,
            "text_boosts": [boosts["text", term] for term in known],
            "window_boosts": [boosts["window", term] for term in known],
            "text_average": max(text_terms / count, 1e-9),
            "window_average": max(window_terms / count, 1e-9),
            "tenant": number,
            "scopes": list(numbers),
        }
        return await self._best(connection, parameters, clause, k)

    async def _best(self, connection: Connection, parameters: dict[str, object], clause: Clause | None, k: int) -> Hits:
        if clause is not None:
            named, bound = named_placeholders(clause)
            condition = f"r.scope = ANY(%(scopes)s::integer[]) AND {LIVE} AND ({named})"
            statement = self._hits.replace("{filter}", self._filtered.replace("{condition}", condition))
            cursor = await connection.execute(statement, {**parameters, **bound, "limit": k}, prepare=False)
            return _hits(await cursor.fetchall())
        limit = k + _EXTRA_HITS
        statement = self._hits.replace("{filter}", "")
        while True:  # only the best are looked up, to see whether they have expired
            cursor = await connection.execute(statement, {**parameters, "limit": limit})
            rows = await cursor.fetchall()
            seqs = packed_integers([seq for seq, _ in rows])
            cursor = await connection.execute(self._live, (parameters["scopes"], seqs))
            live = {seq for (seq,) in await cursor.fetchall()}
            kept = [row for row in rows if row[0] in live]
            if len(kept) >= k or len(rows) < limit:
                return _hits(kept[:k])
            limit *= 4

    async def signals(
        self,
        connection: Connection,
        query: Packed,
        numbers: Sequence[int],
        seqs: Sequence[int],
        *,
        with_neighbours: bool,
    ) -> list[tuple[int, float, float, float | None, float | None, float | None]]:
        """Return the signals of rows of the numbered scopes; expired and deleted ones are missing.

        Returns:
            For each row its number, its similarity, the time of its last write, its priority, and the similarities of
            the records before and after it in its session.
        """
        statement = self._signals if with_neighbours else self._own_signals
        cursor = connection.cursor(binary=True)
        await cursor.execute(statement, {"query": query, "scopes": list(numbers), "seqs": packed_integers(seqs)})
        return await cursor.fetchall()


def fused(
    rows: Sequence[tuple[int, float, float, float | None, float | None, float | None]],
    by_words: Hits,
    weights: Weights,
    top_k: int,
    *,
    with_neighbours: bool,
    explain: bool,
) -> tuple[Candidates, Fused]:
    """Weigh the candidates of a hybrid search; return them with the best `top_k`."""
    columns = np.array([[np.nan if each is None else each for each in row] for row in rows], dtype=np.float64)
    columns = columns.reshape(-1, 6)
    seqs = np.array([row[0] for row in rows], dtype=np.int64)
    similarities = columns[:, 1].astype(np.float32)
    keyword_scores = np.zeros(len(seqs), dtype=np.float32)
    if len(seqs) and len(by_words.seqs):
        places = np.minimum(np.searchsorted(seqs, by_words.seqs), len(seqs) - 1)
        found = seqs[places] == by_words.seqs
        keyword_scores[places[found]] = by_words.scores[found]
    before, after = columns[:, 4], columns[:, 5]
    neighbours = SessionNeighbours(
        before=np.nan_to_num(before).astype(np.float32),
        after=np.nan_to_num(after).astype(np.float32),
        count=np.add(~np.isnan(before), ~np.isnan(after), dtype=np.float32),
    )
    static = StaticSignals(updated_at=columns[:, 2], priorities=columns[:, 3])
    candidates = Candidates(
        ids=seqs,
        similarities=similarities,
        keyword_scores=keyword_scores,
        neighbours=neighbours if with_neighbours and weights.nearby else None,
        static_signals=static if needs_static_signals(weights) else None,
    )
    return candidates, fuse(candidates, weights, top_k, now=time.time(), explain=explain)


def _hits(rows: Sequence[tuple[int, float]]) -> Hits:
    return Hits(
        np.array([seq for seq, _ in rows], dtype=np.int64), np.array([score for _, score in rows], dtype=np.float32)
    )
