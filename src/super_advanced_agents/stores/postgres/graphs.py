"""Graphs (HNSW indexes of pgvector) of large namespaces, built behind the writes.

Each graph is a partial index over one scope, so that a search of one namespace walks through no other's records, and
small namespaces, of which there are many, pay for none.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

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
"""The most seconds of a build; an older claim is of a process that was killed."""


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
            f"CREATE INDEX CONCURRENTLY {{name}} ON {{schema}}.records USING hnsw (vector {operators}) "
            "WHERE scope = {scope}"
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
            cursor = await connection.execute(self._lacking, (self._min_rows, _BUILD_S))
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
            return (await connection.execute(self._claim, (number, _BUILD_S))).rowcount

        async def create(connection: Connection) -> None:
            # CONCURRENTLY lets writes go on, and cannot be part of a transaction.
            await connection.execute(self._drop.replace("{name}", name))
            await connection.execute(self._create.replace("{name}", name).replace("{scope}", str(number)))

        async def mark(connection: Connection, state: str | None) -> None:
            await connection.execute(self._mark, (state, number))

        if not await self._database.read(claim):
            return False
        try:
            await self._database.read(create, seconds=_BUILD_S)
        except BaseException:
            await self._database.read(lambda connection: mark(connection, None))
            raise
        await self._database.read(lambda connection: mark(connection, "ready"))
        _log.info("store.graph_built", extra={"scope": number})
        return True

    async def stop(self) -> None:
        """Cancel a build, which the next opening begins anew."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=10)
