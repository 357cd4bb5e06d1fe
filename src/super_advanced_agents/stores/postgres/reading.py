"""Reads other than searches: records by uid, counts, pages, namespaces and statistics."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from super_advanced_agents._runtime.postgres import Connection, Database
from super_advanced_agents.config import Limits
from super_advanced_agents.stores.postgres.codecs import VectorCodec
from super_advanced_agents.stores.postgres.filters import condition
from super_advanced_agents.stores.postgres.rows import RECORD_BYTES, RECORD_COLUMNS, as_record
from super_advanced_agents.stores.postgres.scopes import NOW, Scopes
from super_advanced_agents.stores.records.answer_sizes import AnswerNeedsReservationError, Page, answer_too_large
from super_advanced_agents.stores.requests import CountRequest, GetRequest, ScanRequest
from super_advanced_agents.types import JSONValue, Record

LIVE = f"(r.expires_at IS NULL OR r.expires_at > {NOW.replace('clock_timestamp', 'statement_timestamp')})"
"""The condition that a row has not expired."""


@asynccontextmanager
async def snapshot(connection: Connection) -> AsyncIterator[None]:
    """Enter a read-only transaction whose statements all see the same rows."""
    await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    try:
        yield
    except BaseException:
        if not connection.closed:
            await connection.execute("ROLLBACK")
        raise
    await connection.execute("COMMIT")


class Reader:
    """Read records, counts and statistics. All methods run in the event loop of the database's connections.

    Args:
        database: the database.
        scopes: its scopes.
        codec: the codec of its vectors.
        limits: the limits of an answer.
        dim: the length of its vectors.
    """

    def __init__(self, database: Database, scopes: Scopes, codec: VectorCodec, limits: Limits, dim: int) -> None:
        self._scopes, self._codec, self._limits, self._dim = scopes, codec, limits, dim
        sql = database.sql
        records = "{schema}.records r JOIN {schema}.scopes s ON s.id = r.scope"
        in_scopes = f"r.scope = ANY(%s::integer[]) AND {LIVE}"
        self._get = sql(
            f"SELECT s.namespace, {RECORD_COLUMNS} FROM {records} WHERE {in_scopes} AND r.uid = ANY(%s::text[]) "  # noqa: S608
            "ORDER BY r.uid, s.namespace"
        )
        self._get_sizes = sql(
            f"SELECT r.uid, {RECORD_BYTES} FROM {{schema}}.records r WHERE {in_scopes} AND r.uid = ANY(%s::text[])"  # noqa: S608
        )
        self._count = sql(f"SELECT count(*) FROM {{schema}}.records r WHERE {in_scopes} AND (")  # noqa: S608
        self._page = sql(
            f"""SELECT x.seq, x.uid, x.bytes FROM unnest(%s::integer[]) AS u(scope) CROSS JOIN LATERAL (
                SELECT r.seq, r.uid, {RECORD_BYTES} AS bytes FROM {{schema}}.records r
                WHERE r.scope = u.scope AND r.uid > %s::text AND {LIVE} AND ({{condition}}) ORDER BY r.uid LIMIT %s
            ) x ORDER BY x.uid FETCH FIRST %s ROWS WITH TIES"""  # noqa: S608
        )
        self._records = sql(
            f"SELECT s.namespace, {RECORD_COLUMNS} FROM {records} WHERE r.scope = ANY(%s::integer[]) "  # noqa: S608
            "AND r.seq = ANY(%s::bigint[]) "
            "ORDER BY r.uid, s.namespace"
        )
        self._namespaces = sql(
            f"""SELECT s.namespace FROM {{schema}}.scopes s JOIN {{schema}}.tenants t ON t.id = s.tenant
            WHERE t.name = %s AND EXISTS (SELECT 1 FROM {{schema}}.records r WHERE r.scope = s.id AND {LIVE})
            ORDER BY s.namespace LIMIT %s"""  # noqa: S608
        )
        # The sum, as a write may commit after one to another namespace that took a higher number.
        self._version = sql(
            f"""SELECT sum(s.version), max((SELECT max(r.expires_at) FROM {{schema}}.records r
                WHERE r.scope = s.id AND r.expires_at <= {NOW}))
            FROM {{schema}}.scopes s JOIN {{schema}}.tenants t ON t.id = s.tenant
            WHERE t.name = %s AND (%s::text IS NULL OR s.namespace = %s)"""  # noqa: S608
        )
        self._tenants = sql(
            f"""SELECT t.name FROM {{schema}}.tenants t WHERE EXISTS (SELECT 1 FROM {{schema}}.scopes s
            JOIN {{schema}}.records r ON r.scope = s.id WHERE s.tenant = t.id AND {LIVE}) ORDER BY t.name"""  # noqa: S608
        )
        self._models = sql(
            "SELECT model, count(*) FROM {schema}.scopes WHERE model IS NOT NULL AND rows > 0 GROUP BY model"
        )
        self._stats = sql(
            f"""SELECT coalesce(sum(rows), 0)::bigint AS rows, count(*) FILTER (WHERE rows > 0) AS namespaces,
                count(*) FILTER (WHERE graph = 'ready') AS graphs,
                coalesce(sum(x.expired), 0)::bigint AS expired,
                (SELECT count(*) FROM {{schema}}.tenants) AS tenants,
                (SELECT sum(pg_total_relation_size(c.oid))::bigint FROM pg_catalog.pg_class c
                    WHERE c.relkind = 'r' AND c.relnamespace = '{{schema}}'::regnamespace) AS size_bytes,
                (SELECT updated_at FROM {{schema}}.records ORDER BY seq LIMIT 1) AS oldest_write_at,
                (SELECT updated_at FROM {{schema}}.records ORDER BY seq DESC LIMIT 1) AS newest_write_at
            FROM {{schema}}.scopes s LEFT JOIN LATERAL (SELECT count(*) AS expired FROM {{schema}}.records r
                WHERE s.expires AND r.scope = s.id AND r.expires_at <= {NOW}) x ON TRUE"""  # noqa: S608
        )

    async def numbers(self, connection: Connection, tenant: str, namespace: str | None) -> list[int]:
        """Return the numbers of the scopes of a call: of one namespace, or of all of a tenant."""
        if namespace is None:
            return [scope.number for scope in await self._scopes.all_of(connection, tenant)]
        scope = await self._scopes.find(connection, tenant, namespace)
        return [] if scope is None else [scope.number]

    async def get(self, connection: Connection, request: GetRequest, allowance: int | None) -> list[Record]:
        """Return the records with these uids, in the given order; unknown ones are skipped.

        Raises:
            InvalidInputError: they are larger than an answer may be.
        """
        numbers = await self.numbers(connection, request.tenant, request.namespace)
        if not numbers or not request.uids:
            return []
        times = Counter(request.uids)
        await self._check_sizes(connection, numbers, times, request.number_bytes, allowance)
        cursor = connection.cursor(binary=True)
        await cursor.execute(self._get, (numbers, list(times)))
        by_uid: dict[str, list[Record]] = {}
        for namespace, *row in await cursor.fetchall():
            by_uid.setdefault(row[0], []).append(as_record(row, namespace, self._codec))
        return [record for uid in request.uids for record in by_uid.get(uid, ())]

    async def _check_sizes(
        self, connection: Connection, numbers: list[int], times: Counter[str], number_bytes: int, allowance: int | None
    ) -> None:
        most = self._limits.answer_bytes if allowance is None else min(allowance, self._limits.answer_bytes)
        largest = self._limits.text_bytes + self._limits.metadata_bytes + 8_192 + self._dim * number_bytes
        if times.total() * len(numbers) * largest <= most:
            return
        cursor = await connection.execute(self._get_sizes, (numbers, list(times)))
        size = sum(times[uid] * (row + self._dim * number_bytes) for uid, row in await cursor.fetchall())
        if size > self._limits.answer_bytes:
            raise answer_too_large(self._limits, "uids", "ask for fewer uids in one call")
        if size > most:
            raise AnswerNeedsReservationError

    async def count(self, connection: Connection, request: CountRequest, allowance: int | None = None) -> int:
        """Count the unexpired records that match a filter."""
        del allowance  # a number is small
        numbers = await self.numbers(connection, request.tenant, request.namespace)
        clause = condition(request.tree)
        cursor = await connection.execute(
            f"{self._count}{clause.sql})", (numbers, *clause.parameters), prepare=clause.prepare
        )
        row = await cursor.fetchone()
        assert row is not None
        return int(row[0])

    async def scan(self, connection: Connection, request: ScanRequest, allowance: int | None) -> Page:
        """Return one page of the records that match a filter, ordered by uid.

        The page ends early when it has `page_bytes`. Records of several namespaces that have the same uid are never
        split between pages.

        Raises:
            InvalidInputError: the records of one uid are larger than an answer may be.
        """
        numbers = await self.numbers(connection, request.tenant, request.namespace)
        clause = condition(request.tree)
        statement = self._page.replace("{condition}", clause.sql)
        parameters = (numbers, request.after or "", *clause.parameters, request.limit, request.limit)
        page = Page()
        async with snapshot(connection):
            cursor = await connection.execute(statement, parameters, prepare=clause.prepare)
            seqs = self._fitting(await cursor.fetchall(), request.number_bytes, allowance, page)
            if seqs:
                page.extend(await self._records_of(connection, numbers, seqs))
        return page

    def _fitting(
        self, rows: Sequence[tuple[int, str, int]], number_bytes: int, allowance: int | None, page: Page
    ) -> list[int]:
        size, last, seqs = 0, None, []
        for seq, uid, row_bytes in rows:
            if size >= self._limits.page_bytes and uid != last:
                page.cut = True
                break
            size, last = size + row_bytes + self._dim * number_bytes, uid
            seqs.append(seq)
            if allowance is not None and size > allowance and len(seqs) > 1:
                raise AnswerNeedsReservationError
        if size > self._limits.page_bytes + self._limits.answer_bytes:  # of one uid in very many namespaces
            raise answer_too_large(self._limits, "namespace", "name one namespace")
        return seqs

    async def _records_of(self, connection: Connection, numbers: list[int], seqs: Sequence[int]) -> list[Record]:
        cursor = connection.cursor(binary=True)
        await cursor.execute(self._records, (numbers, list(seqs)))
        return [as_record(row, namespace, self._codec) for namespace, *row in await cursor.fetchall()]

    async def namespaces(self, connection: Connection, tenant: str, limit: int) -> list[str]:
        """Return the first namespaces by name in which a tenant has unexpired records."""
        cursor = await connection.execute(self._namespaces, (tenant, limit))
        return [name for (name,) in await cursor.fetchall()]

    async def version(self, connection: Connection, tenant: str, namespace: str | None) -> int:
        """Return a number that changes with each write to a namespace and each expiry in it."""
        cursor = await connection.execute(self._version, (tenant, namespace, namespace))
        row = await cursor.fetchone()
        assert row is not None
        return hash(tuple(row))

    async def tenants(self, connection: Connection) -> list[str]:
        """Return the names of the tenants that have unexpired records, sorted.

        The name of the default tenant is empty.
        """
        cursor = await connection.execute(self._tenants)
        return [name for (name,) in await cursor.fetchall()]

    async def stats(self, connection: Connection) -> dict[str, JSONValue]:
        """Return the sizes of the store, without a look at each record.

        The oldest and newest write are those of the records that were stored first and last.
        """
        cursor = await connection.execute(self._stats)
        row: Any = await cursor.fetchone()
        assert cursor.description is not None
        stats: dict[str, JSONValue] = {
            column.name: value for column, value in zip(cursor.description, row, strict=True)
        }
        models = await (await connection.execute(self._models)).fetchall()
        stats["records"] = int(row[0]) - int(row[3])
        return {**stats, "models": dict(models)}
