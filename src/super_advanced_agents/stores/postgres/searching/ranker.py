"""The candidates of hybrid search: rows found by words, and the signals of all found."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

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
from super_advanced_agents.stores.postgres.searching.terms import WeightedTerms
from super_advanced_agents.stores.text.bm25 import K1, B
from super_advanced_agents.types import Weights

_EXTRA_HITS = 16


class Hits(NamedTuple):
    """Hold row numbers and their scores, best first."""

    seqs: NDArray[np.int64]
    scores: NDArray[np.float32]


class Signals(NamedTuple):
    """Hold what a candidate is weighed by.

    Attributes:
        seq: the number of its row.
        similarity: its similarity to the query; None without a query vector.
        updated_at: the time of its last write.
        priority: its priority.
        before: the similarity of the record before it in its session.
        after: that of the record after it.
    """

    seq: int
    similarity: float | None
    updated_at: float
    priority: float | None
    before: float | None
    after: float | None


class Ranker:
    """Find rows by words, and read the signals of candidates.

    Args:
        database: the database.
        score: the SQL of a row's similarity to the query, with `{column}` and the placeholder `{query}`.
        storage: the type of the query's vector.
    """

    def __init__(self, database: Database, score: str, storage: str) -> None:
        sql = database.sql

        def part(field: str) -> str:
            norm = f"{K1} * ({1 - B} + {B} * p.{field}_length / %({field}_average)s::float8)"
            return f"u.{field}_boost * {K1 + 1} * p.{field}_count / (p.{field}_count + {norm})"

        # An offset keeps the planner from reading all terms of a tenant, as it does before it has statistics.
        hits = f"""SELECT p.seq, sum({part("text")} + {part("window")}) AS score
            FROM unnest(%(terms)s::text[], %(text_boosts)s::float8[], %(window_boosts)s::float8[])
                AS u(term, text_boost, window_boost)
            CROSS JOIN LATERAL (SELECT * FROM {{schema}}.postings WHERE tenant = %(tenant)s AND term = u.term
                AND scope = ANY(%(scopes)s::integer[]) OFFSET 0) p
            {{filter}} GROUP BY p.seq ORDER BY score DESC, p.seq LIMIT {{limit}}"""  # noqa: S608
        # A limit that the planner knows keeps it from joining whole tables.
        self._candidates = sql(
            f"""WITH hits AS MATERIALIZED ({hits})
            SELECT c.seq, c.score, {{similarity}}, r.updated_at, r.priority, {{neighbours}}
            FROM (SELECT seq, score FROM hits UNION ALL SELECT u.seq, NULL FROM unnest(%(nearest)s::bigint[]) AS u(seq)
                WHERE u.seq NOT IN (SELECT seq FROM hits)) c
            LEFT JOIN {{schema}}.records r ON r.scope = ANY(%(scopes)s::integer[]) AND r.seq = c.seq AND {LIVE}
            {{joins}} ORDER BY c.seq"""  # noqa: S608
        )
        self._filter = sql(
            f"WHERE p.seq IN (SELECT r.seq FROM {{schema}}.records r WHERE r.scope = ANY(%(scopes)s::integer[]) "  # noqa: S608
            f"AND {LIVE} AND ({{condition}}))"
        )
        query = f"%(query)s::{storage}"
        self._similarity = score.format(column="r.vector", query=query)
        near = f"""LEFT JOIN LATERAL (SELECT {score.format(column="x.vector", query=query)} AS similarity
            FROM {{schema}}.records x
            WHERE x.scope = r.scope AND x.session = r.session AND (x.place, x.seq) {{sign}} (r.place, r.seq)
            ORDER BY x.place {{order}}, x.seq {{order}} LIMIT 1) {{name}} ON TRUE"""  # noqa: S608
        self._near = sql(
            " ".join(
                near.replace("{sign}", sign).replace("{order}", order).replace("{name}", name)
                for sign, order, name in (("<", "DESC", "b"), (">", "ASC", "a"))
            )
        )

    async def candidates(
        self,
        connection: Connection,
        terms: WeightedTerms | None,
        nearest: Sequence[int],
        k: int,
        *,
        numbers: Sequence[int],
        clause: Clause | None,
        query: Packed | None,
        with_neighbours: bool,
    ) -> tuple[list[Signals], Hits]:
        """Find the k unexpired rows with the best BM25 scores, and read the candidates' signals.

        The candidates are these rows and the nearest ones.

        Args:
            connection: that of the search.
            terms: the terms, of which each row found has one; None to find none.
            nearest: the numbers of the rows nearest to the query.
            k: the most rows to find.
            numbers: the scopes to search.
            clause: the condition that rows must meet; None for all.
            query: the vector of the query; None for no similarities.
            with_neighbours: whether the similarities of neighbours are wanted.

        Returns:
            The signals of rows that are there and have not expired, by their numbers; and the rows found.
        """
        statement, bound = self._statement(clause, with_query=query is not None, with_neighbours=with_neighbours)
        terms = terms or WeightedTerms(0, [], [], [], 1.0, 1.0)
        parameters = {
            **terms._asdict(),
            **bound,
            "scopes": list(numbers),
            "nearest": packed_integers(nearest),
            "query": query,
        }
        limit = k if clause is not None else k + _EXTRA_HITS  # a filter leaves out what has expired
        while True:
            cursor = connection.cursor(binary=True)
            filled = statement.replace("{limit}", str(limit))
            await cursor.execute(filled, parameters, prepare=None if clause is None else False)
            rows = await cursor.fetchall()
            hits = sorted((row for row in rows if row[1] is not None), key=lambda row: (-row[1], row[0]))
            live = [row for row in hits if row[3] is not None][:k]
            if len(live) == k or len(hits) < limit:
                break
            limit *= 4
        wanted = {*nearest, *(row[0] for row in live)}
        signals = [Signals(row[0], *row[2:]) for row in rows if row[3] is not None and row[0] in wanted]
        return signals, _hits(live)

    def _statement(
        self, clause: Clause | None, *, with_query: bool, with_neighbours: bool
    ) -> tuple[str, dict[str, object]]:
        statement = (
            self._candidates.replace("{similarity}", self._similarity if with_query else "NULL::float8")
            .replace("{neighbours}", "b.similarity, a.similarity" if with_neighbours else "NULL::float8, NULL::float8")
            .replace("{joins}", self._near if with_neighbours else "")
        )
        if clause is None:
            return statement.replace("{filter}", ""), {}
        named, bound = named_placeholders(clause)
        return statement.replace("{filter}", self._filter.replace("{condition}", named)), dict(bound)


def fused(
    rows: Sequence[Signals],
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


def _hits(rows: Sequence[Sequence[Any]]) -> Hits:
    return Hits(
        np.array([row[0] for row in rows], dtype=np.int64), np.array([row[1] for row in rows], dtype=np.float32)
    )
