"""Graphs (HNSW indexes of pgvector) of large namespaces, built behind the writes.

Each graph is a partial index over one scope, so that a search of one namespace walks through no other's records, and
small namespaces, of which there are many, pay for none.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress

from super_advanced_agents._runtime.postgres import Connection, Database
from super_advanced_agents.errors import SuperAdvancedAgentsError
from super_advanced_agents.stores.postgres.codecs import PgStorage
from super_advanced_agents.stores.postgres.scopes import NOW
from super_advanced_agents.telemetry import get_logger

_log = get_logger("store")

MAX_DIM: Mapping[PgStorage, int] = {"vector": 2_000, "halfvec": 4_000}
"""The longest vectors that pgvector indexes."""

_QUIET_S = 3.0
"""Seconds without a write before a graph is built, which is faster than filling it."""
_LONGEST_WAIT_S = 120.0
_BUILD_S = 6 * 3_600.0
"""The most seconds of a build."""
_CLAIM_S = 120.0
"""Seconds without a renewal after which another process may take over a graph's building."""
_RENEWED_S = 30.0
"""Seconds between renewals of a claim."""


class GraphBuilder:
    """Build the graphs of scopes that have grown large, one at a time, in the background.

    All methods run in the event loop of the database's connections, but for `close`.

    Args:
        database: the database.
        storage: the type of its vectors.
        metric: `"cosine"` or `"dot"`.
        min_rows: the records from which a scope has a graph; None for never.
    """

    def __init__(self, database: Database, storage: PgStorage, metric: str, min_rows: int | None) -> None:
        self._database, self._min_rows = database, min_rows
        operators = f"{storage}_{'cosine' if metric == 'cosine' else 'ip'}_ops"
        self._create = database.sql(
            f"CREATE INDEX CONCURRENTLY {{name}} ON {{table}} USING hnsw (vector {operators}) WHERE scope = {{scope}}"
        )
        # The table itself, or the partition that has the scope's rows.
        self._table = database.sql("SELECT tableoid::regclass::text FROM {schema}.records WHERE scope = %s LIMIT 1")
        self._is_valid = """SELECT 1 FROM pg_catalog.pg_index x JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
            JOIN pg_catalog.pg_namespace n ON n.oid = i.relnamespace
            WHERE n.nspname = %s AND i.relname = %s AND x.indisvalid"""
        self._renew = database.sql(
            f"UPDATE {{schema}}.scopes SET graph_at = {NOW} WHERE id = %s AND graph = 'building'"  # noqa: S608
        )
        self._drop = database.sql("DROP INDEX CONCURRENTLY IF EXISTS {schema}.{name}")
        self._claim = database.sql(
            f"UPDATE {{schema}}.scopes SET graph = 'building', graph_at = {NOW} WHERE id = %s AND "  # noqa: S608
            f"(graph IS NULL OR graph = 'building' AND graph_at < {NOW} - %s)"
        )
        self._lacking = database.sql(
            f"SELECT id, rows FROM {{schema}}.scopes WHERE rows >= %s AND "  # noqa: S608
            f"(graph IS NULL OR graph = 'building' AND graph_at < {NOW} - %s)"
        )
        self._mark = database.sql("UPDATE {schema}.scopes SET graph = %s WHERE id = %s")
        self._growing: dict[int, tuple[float, float]] = {}  # scope -> its first and last write since it became large
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def note_write(self, number: int, rows: int, graph: str | None) -> None:
        """Plan the graph of a scope if a write has made it large."""
        if self._min_rows is None or rows < self._min_rows or graph == "ready" or self._closed:
            return
        now = time.monotonic()
        self._growing[number] = self._growing.get(number, (now, now))[0], now
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def plan(self, connection: Connection) -> None:
        """Plan the graphs that large scopes lack, as after a build that was interrupted."""
        if self._min_rows is not None:
            cursor = await connection.execute(self._lacking, (self._min_rows, _CLAIM_S))
            for number, rows in await cursor.fetchall():
                self.note_write(number, rows, None)

    async def _run(self) -> None:
        while self._growing:
            now = time.monotonic()
            due = [n for n, (first, last) in self._growing.items()
                   if now - last >= _QUIET_S or now - first >= _LONGEST_WAIT_S]  # fmt: skip
            if not due:
                await asyncio.sleep(0.5)
                continue
            del self._growing[due[0]]
            try:
                await self.build(due[0])
            except SuperAdvancedAgentsError as exc:  # searches stay exact; the next write plans it again
                _log.warning("store.graph_failed", extra={"reason": exc.message[:200]})

    async def build(self, number: int) -> bool:
        """Build the graph of a scope; return False if it is there, or another process builds it."""
        name = f"records_graph_{number}"

        async def claim(connection: Connection) -> int:
            return (await connection.execute(self._claim, (number, _CLAIM_S))).rowcount

        async def create(connection: Connection) -> str | None:
            schema = self._database.address.schema
            if await (await connection.execute(self._is_valid, (schema, name))).fetchone() is not None:
                return "ready"  # of a process that was killed just after it
            row = await (await connection.execute(self._table, (number,))).fetchone()
            if row is None:
                return None  # its records are gone
            # CONCURRENTLY lets writes go on, and cannot be part of a transaction.
            await connection.execute(self._drop.replace("{name}", name))
            statement = self._create.replace("{name}", name).replace("{scope}", str(number))
            await connection.execute(statement.replace("{table}", row[0]))
            return "ready"

        async def mark(connection: Connection, state: str | None) -> None:
            await connection.execute(self._mark, (state, number))

        if not await self._database.read(claim):
            return False
        renewing = asyncio.get_running_loop().create_task(self._renew_claim(number))
        try:
            state = await self._database.read(create, seconds=_BUILD_S)
        except BaseException:
            await self._database.read(lambda connection: mark(connection, None))
            raise
        finally:
            renewing.cancel()
        await self._database.read(lambda connection: mark(connection, state))
        _log.info("store.graph_built", extra={"scope": number})
        return state is not None

    async def _renew_claim(self, number: int) -> None:
        async def renew(connection: Connection) -> None:
            await connection.execute(self._renew, (number,))

        while True:
            await asyncio.sleep(_RENEWED_S)
            with suppress(SuperAdvancedAgentsError):
                await self._database.read(renew)

    async def stop(self) -> None:
        """Cancel a build, which the next opening begins anew."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=10)
