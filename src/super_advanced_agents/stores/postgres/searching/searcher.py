"""Searches by vector, by words and by both.

Small namespaces and selective filters are searched exactly, through a B-tree; a namespace of many records gets a graph
(HNSW), which serves searches of most of its records.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from super_advanced_agents._runtime.postgres import Connection, Database, Packed
from super_advanced_agents.config import Limits
from super_advanced_agents.stores.filters import Filter
from super_advanced_agents.stores.fusion import candidate_count
from super_advanced_agents.stores.postgres.codecs import VectorCodec, needs_original
from super_advanced_agents.stores.postgres.filters import Clause, condition, named_placeholders
from super_advanced_agents.stores.postgres.reading import LIVE
from super_advanced_agents.stores.postgres.rows import MATCH_COLUMNS, as_match
from super_advanced_agents.stores.postgres.scopes import SCOPE_COLUMNS, Scope, Scopes
from super_advanced_agents.stores.postgres.searching.matches import Found, MatchReader, Ranked
from super_advanced_agents.stores.postgres.searching.ranker import Ranker, fused
from super_advanced_agents.stores.postgres.searching.terms import TermWeights
from super_advanced_agents.stores.requests import HybridSearchRequest, KeywordSearchRequest, QueryRequest, SearchRequest
from super_advanced_agents.stores.validation import model_mismatch, unit_rows
from super_advanced_agents.types import Match, Matrix, Vector, Weights

_EXACT_ROWS = 10_000
"""Filters that select at most this many rows are searched exactly, in 10 to 20 ms."""
_SMALL_ROWS = 5_000
"""Namespaces of up to this size are looked up and searched in one round trip."""
_REMEMBERED_S = 30.0
"""Seconds for which the number of rows that a filter selects is taken as it was counted."""
_MAX_REMEMBERED = 4_096
_MIN_SEARCHED = 100
"""The least width of a search in a graph (`ef_search`), which also grows with `top_k`."""

_GRAPH_SETTINGS = (
    "SELECT set_config('hnsw.iterative_scan', 'strict_order', true), set_config('hnsw.ef_search', %s, true)"
)

SCORES = {"cosine": "(1 - ({column} <=> {query}))", "dot": "(-({column} <#> {query}))"}
"""The SQL of a row's similarity to the query, by metric."""
_DISTANCES = {"cosine": "<=>", "dot": "<#>"}


class _Nearest(NamedTuple):
    packed: Packed
    first: Packed
    queries: int
    k: int
    columns: str
    prepare: bool | None


@dataclass(frozen=True, slots=True)
class Targets:
    """Hold the scopes that a search covers, and its filter.

    Attributes:
        tenant: the name of the tenant.
        scopes: the scopes.
        tree: the filter; None for none.
        clause: its condition.
    """

    tenant: str
    scopes: Sequence[Scope]
    tree: Filter | None
    clause: Clause

    @property
    def numbers(self) -> list[int]:
        """The numbers of the scopes."""
        return [scope.number for scope in self.scopes]


class Searcher:
    """Answer searches. All methods run in the event loop of the database's connections.

    Args:
        database: the database.
        scopes: its scopes.
        codec: the codec of its vectors.
        limits: the limits of an answer.
        metric: `"cosine"` or `"dot"`.
    """

    def __init__(self, database: Database, scopes: Scopes, codec: VectorCodec, limits: Limits, metric: str) -> None:
        self._scopes, self._codec, self._unit = scopes, codec, metric == "cosine"
        self._matches = MatchReader(database, limits)
        self._counted: dict[tuple[int, Filter], tuple[int, float]] = {}
        self._ranker = Ranker(database, SCORES[metric], codec.storage)
        self._terms = TermWeights(database)
        sql, query = database.sql, "q.vector"
        score = SCORES[metric].format(column="r.vector", query=query)
        distance = f"r.vector {_DISTANCES[metric]} {query}"
        of_queries = f"unnest(%s::{codec.storage}[]) WITH ORDINALITY AS q(vector, number) CROSS JOIN LATERAL"
        rows = f"FROM {{schema}}.records r WHERE {{scopes}} AND {LIVE} AND ({{condition}})"
        # Adding zero keeps the planner from a graph; so few rows are compared one by one.
        exact = f"(SELECT {{columns}}, {score} AS score {rows} ORDER BY ({distance}) + 0, r.seq LIMIT %s)"
        graph = f"(SELECT {{columns}}, {score} AS score {rows} ORDER BY {distance} LIMIT %s)"
        self._exact = sql(f"SELECT q.number, x.* FROM {of_queries} {exact} x ORDER BY q.number")  # noqa: S608
        # One query alone may be compared by parallel workers, as a lateral join is not.
        self._exact_one = sql(
            f"SELECT 1, {exact[8:-1]}".replace("q.vector", f"%(query)s::{codec.storage}").replace(
                "LIMIT %s", "LIMIT %(k)s"
            )
        )
        small = exact.replace("{scopes}", "s.rows <= %s AND r.scope = s.id").replace("{condition}", "TRUE")
        self._small = sql(
            f"SELECT {SCOPE_COLUMNS}, x.* FROM (SELECT %s::{codec.storage} AS vector) q "  # noqa: S608
            "CROSS JOIN {schema}.scopes s JOIN {schema}.tenants t ON t.id = s.tenant LEFT JOIN LATERAL "
            f"{small.replace('{columns}', f'r.seq, {MATCH_COLUMNS}')} x ON TRUE WHERE t.name = %s AND s.namespace = %s"
        )
        self._graph = sql(f"SELECT q.number, x.* FROM {of_queries} {graph} x ORDER BY q.number")  # noqa: S608
        self._count = sql(f"SELECT count(*) FROM (SELECT 1 {rows} LIMIT %s) x")  # noqa: S608
        self._other_model = sql(
            f"SELECT r.model FROM {{schema}}.records r WHERE r.scope = %s AND r.model IS NOT NULL AND r.model <> %s "  # noqa: S608
            f"AND {LIVE} LIMIT 1"
        )

    async def targets(self, connection: Connection, request: QueryRequest[Any]) -> Targets:
        """Return the scopes that a search covers.

        Raises:
            ModelMismatchError: the namespace holds vectors of another model than the query's.
        """
        clause = condition(request.tree)
        if request.namespace is None:
            scopes: Sequence[Scope] = [
                scope for scope in await self._scopes.all_of(connection, request.tenant) if scope.rows
            ]
        else:
            scope = await self._scopes.find(connection, request.tenant, request.namespace)
            scopes = [] if scope is None else [scope]
            if scope is not None and request.model_id is not None and scope.model not in (None, request.model_id):
                cursor = await connection.execute(self._other_model, (scope.number, request.model_id))
                row = await cursor.fetchone()
                if row is not None:
                    raise model_mismatch(request.namespace, row[0], request.model_id)
        return Targets(request.tenant, scopes, request.tree, clause)

    # -- by vector ----------------------------------------------------------------------------------------------------

    async def search(self, connection: Connection, request: SearchRequest, allowance: int | None) -> list[list[Match]]:
        """Return the `top_k` most similar rows for each query, best first."""
        queries = self._comparable(request.query_vectors)
        counted = self._matches.may_be_too_large(len(queries) * request.top_k, allowance)
        found = None
        if len(queries) == 1 and request.tree is None and not counted:
            found = await self._in_small_scope(connection, request, queries[0])
        targets = await self.targets(connection, request)
        if not targets.scopes or not len(queries):
            return [[] for _ in queries]
        if found is None:
            columns = "r.seq" if counted else f"r.seq, {MATCH_COLUMNS}"
            found = await self._nearest(connection, targets, queries, request.top_k, columns)
        least = request.min_similarity
        if least is not None:
            found = [[each for each in ranking if each.score >= least] for ranking in found]
        if counted:
            found = await self._matches.with_rows(
                connection, targets.numbers, found, top_k=request.top_k, allowance=allowance
            )
        scores = request.return_scores
        return [
            [as_match(row, score if scores else 0.0, score) for _, score, row in ranking if row is not None]
            for ranking in found
        ]

    async def _in_small_scope(
        self, connection: Connection, request: SearchRequest, query: Vector
    ) -> list[list[Found]] | None:
        # Looks up a scope and searches it in one round trip; None if it is known already, or large. Most are small, and
        # a server of many tenants knows few of them.
        if request.namespace is None or self._scopes.known(request.tenant, request.namespace) is not None:
            return None
        cursor = connection.cursor(binary=True)
        parameters = (self._codec.packed(query), _SMALL_ROWS, request.top_k, request.tenant, request.namespace)
        await cursor.execute(self._small, parameters)
        rows = await cursor.fetchall()
        if not rows:
            return None
        width = len(Scope._fields)
        scope = self._scopes.remember(request.tenant, request.namespace, Scope(*rows[0][:width]))
        if scope.rows > _SMALL_ROWS:
            return None
        return self._rankings([(1, *row[width:]) for row in rows if row[width] is not None], 1)

    async def _nearest(
        self, connection: Connection, targets: Targets, queries: Matrix, k: int, columns: str
    ) -> list[list[Found]]:
        first = self._codec.packed(queries[0])
        nearest = _Nearest(self._codec.packed_rows(queries), first, len(queries), k, columns, targets.clause.prepare)
        by_graph = [scope for scope in targets.scopes if await self._is_broad(connection, scope, targets)]
        exact = [scope.number for scope in targets.scopes if scope not in by_graph]
        found: list[list[Found]] = [[] for _ in queries]
        for scope in by_graph:
            rankings = await self._by_graph(connection, scope, targets.clause, nearest)
            if rankings is None:
                exact.append(scope.number)
            else:
                found = [[*one, *other] for one, other in zip(found, rankings, strict=True)]
        if exact:
            # The index of filters is of all scopes, and a prepared statement may use it whatever a filter selects.
            [scope, *others] = targets.scopes
            if targets.tree is not None and not others and await self._scopes.has_most_rows(connection, scope):
                nearest = nearest._replace(prepare=None)
            rankings = await self._exactly(connection, exact, targets.clause, nearest)
            found = [[*one, *other] for one, other in zip(found, rankings, strict=True)]
        if len(by_graph) + bool(exact) > 1:
            found = [sorted(ranking, key=lambda each: (-each.score, each.seq))[:k] for ranking in found]
        return found

    async def _exactly(
        self, connection: Connection, numbers: list[int], clause: Clause, nearest: _Nearest
    ) -> list[list[Found]]:
        # One number rather than a list of one, which the planner takes for many rows.
        scopes = f"r.scope = {numbers[0]}" if len(numbers) == 1 else "r.scope = ANY(%s::integer[])"
        bound = () if len(numbers) == 1 else (numbers,)
        cursor = connection.cursor(binary=True)
        if nearest.queries == 1:
            named, parameters = named_placeholders(Clause(f"{scopes} AND ({clause.sql})", (*bound, *clause.parameters)))
            statement = self._filled(self._exact_one, "TRUE", Clause(named), nearest.columns)
            bound_values = {**parameters, "query": nearest.first, "k": nearest.k}
            await cursor.execute(statement, bound_values, prepare=nearest.prepare)
        else:
            statement = self._filled(self._exact, scopes, clause, nearest.columns)
            values = (nearest.packed, *bound, *clause.parameters, nearest.k)
            await cursor.execute(statement, values, prepare=nearest.prepare)
        return self._rankings(await cursor.fetchall(), nearest.queries)

    async def _by_graph(
        self, connection: Connection, scope: Scope, clause: Clause, nearest: _Nearest
    ) -> list[list[Found]] | None:
        # None when a query found fewer than k rows, although there are more.
        width = min(max(_MIN_SEARCHED, 2 * nearest.k), 1_000)
        statement = self._filled(self._graph, f"r.scope = {scope.number}", clause, nearest.columns)
        cursor = connection.cursor(binary=True)
        async with connection.pipeline(), connection.transaction():  # so that all is sent, and answered, at once
            await connection.execute(_GRAPH_SETTINGS, (str(width),))
            await cursor.execute(statement, (nearest.packed, *clause.parameters, nearest.k), prepare=False)
        rows = await cursor.fetchall()
        rankings = self._rankings(rows, nearest.queries)
        return rankings if all(len(ranking) == nearest.k for ranking in rankings) else None

    async def _is_broad(self, connection: Connection, scope: Scope, targets: Targets) -> bool:
        # True if a graph serves the search: there must be enough rows, also among those that the filter selects.
        if scope.graph != "ready":
            return False
        if targets.tree is None:
            return True
        key = scope.number, targets.tree
        counted, at = self._counted.get(key, (0, float("-inf")))
        if time.monotonic() - at > _REMEMBERED_S:
            statement = self._filled(self._count, f"r.scope = {scope.number}", targets.clause, "")
            parameters = (*targets.clause.parameters, _EXACT_ROWS + 1)
            cursor = await connection.execute(statement, parameters, prepare=False)
            row = await cursor.fetchone()
            assert row is not None
            counted = int(row[0])
            if len(self._counted) >= _MAX_REMEMBERED:
                self._counted.pop(next(iter(self._counted)))
            self._counted[key] = counted, time.monotonic()
        return counted > _EXACT_ROWS

    def _filled(self, statement: str, scopes: str, clause: Clause, columns: str) -> str:
        return statement.replace("{columns}", columns).replace("{scopes}", scopes).replace("{condition}", clause.sql)

    def _rankings(self, rows: Sequence[tuple[Any, ...]], n: int) -> list[list[Found]]:
        found: list[list[Found]] = [[] for _ in range(n)]
        for number, seq, *columns, score in rows:
            found[number - 1].append(Found(seq, self._bounded(score), tuple(columns) or None))
        return found

    def _bounded(self, score: float) -> float:
        rounded = float(np.float32(score))
        return max(-1.0, min(1.0, rounded)) if self._unit else rounded

    def _comparable(self, queries: Matrix) -> Matrix:
        # Queries whose squares would overflow in pgvector are compared by their direction.
        if not self._unit or not len(queries):
            return queries
        unsafe = needs_original(queries)
        if not unsafe.any():
            return queries
        scaled = queries.copy()
        scaled[unsafe] = unit_rows(queries[unsafe], field="query_vectors")
        return scaled

    # -- by words, and by both ----------------------------------------------------------------------------------------

    async def search_hybrid(
        self, connection: Connection, request: HybridSearchRequest, allowance: int | None
    ) -> list[Match]:
        """Rank rows by vector similarity and BM25 together, and return the best `top_k`."""
        targets = await self.targets(connection, request)
        if not targets.scopes:
            return []
        weights = request.weights or Weights()
        depth = candidate_count(weights, request.top_k)
        queries = self._comparable(request.query_vector[np.newaxis])
        clause = None if request.tree is None else targets.clause
        [nearest] = await self._nearest(connection, targets, queries, depth, "r.seq")
        terms = await self._terms.of_query(connection, request.query_text, tenant=targets.tenant)
        seqs = [each.seq for each in nearest]
        if terms is None and not seqs:
            return []
        with_neighbours = bool(weights.nearby) and any(scope.sessions for scope in targets.scopes)
        rows, words = await self._ranker.candidates(
            connection,
            terms,
            seqs,
            depth,
            numbers=targets.numbers,
            clause=clause,
            query=self._codec.packed(queries[0]),
            with_neighbours=with_neighbours,
        )
        if not rows:
            return []
        least = request.min_similarity
        top_k = request.top_k if least is None else len(rows)
        candidates, best = fused(rows, words, weights, top_k, with_neighbours=with_neighbours, explain=request.explain)
        similarities = [self._bounded(each) for each in candidates.similarities[best.order].tolist()]
        kept = [i for i, each in enumerate(similarities) if least is None or each >= least][: request.top_k]
        ranking = [
            Found(int(candidates.ids[best.order[i]]), max(-1.0, min(1.0, float(best.scores[i]))), None) for i in kept
        ]
        explanations = None if best.explanations is None else [best.explanations[i] for i in kept]
        ranked = Ranked(ranking, [similarities[i] for i in kept], explanations)
        return await self._matches.matches(
            connection, targets.numbers, ranked, top_k=request.top_k, allowance=allowance
        )

    async def search_keywords(
        self, connection: Connection, request: KeywordSearchRequest, allowance: int | None
    ) -> list[Match]:
        """Return the `top_k` rows that best match the words of a query by BM25, best first."""
        targets = await self.targets(connection, request)
        if not targets.scopes:
            return []
        depth = candidate_count(Weights(), request.top_k)
        clause = None if request.tree is None else targets.clause
        terms = await self._terms.of_query(connection, request.query_text, tenant=targets.tenant)
        if terms is None:
            return []
        query = None
        if request.query_vector is not None:
            query = self._codec.packed(self._comparable(request.query_vector[np.newaxis])[0])
        rows, words = await self._ranker.candidates(
            connection, terms, [], depth, numbers=targets.numbers, clause=clause, query=query, with_neighbours=False
        )
        ranking = [
            Found(seq, float(score), None)
            for seq, score in zip(words.seqs.tolist(), words.scores.tolist(), strict=True)
        ]
        similarities: list[float | None] = [None] * len(ranking)
        if query is not None:
            of_seq = {row.seq: self._bounded(row.similarity) for row in rows if row.similarity is not None}
            if request.min_similarity is not None:
                ranking = [each for each in ranking if of_seq[each.seq] >= request.min_similarity]
            similarities = [of_seq[each.seq] for each in ranking]
        ranking, similarities = ranking[: request.top_k], similarities[: request.top_k]
        ranked = Ranked(ranking, similarities, None)
        return await self._matches.matches(
            connection, targets.numbers, ranked, top_k=request.top_k, allowance=allowance
        )
