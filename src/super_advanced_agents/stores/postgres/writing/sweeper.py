"""Deletion of expired records while no write deletes them.

One process at a time sweeps a schema, under an advisory lock of a transaction, so that pgbouncer may pool transactions.
"""

from __future__ import annotations

import asyncio
import random
from functools import partial

from super_advanced_agents._runtime.postgres import Connection, Database
from super_advanced_agents.errors import SuperAdvancedAgentsError
from super_advanced_agents.stores.postgres.scopes import NOW
from super_advanced_agents.stores.postgres.writing.deleter import Deleter, Swept
from super_advanced_agents.stores.postgres.writing.write_ids import WriteIds
from super_advanced_agents.telemetry import get_logger

_log = get_logger("store")

INTERVAL_S = 60.0
"""Seconds from one sweep to the next; each process waits up to half of it longer or shorter."""
_SCOPES = 1_000
"""The most scopes that one statement looks into."""


class ExpirySweeper:
    """Delete expired records, and the ids of writes that are too old to be repeated.

    All methods run in the event loop of the database's connections.

    Args:
        database: the database.
        deleter: deletes the records.
        write_ids: the writes that may be repeated.
    """

    def __init__(self, database: Database, deleter: Deleter, write_ids: WriteIds) -> None:
        self._database, self._deleter, self._write_ids = database, deleter, write_ids
        # A limit in the lateral query makes the planner look into each scope's index.
        self._due = database.sql(
            f"""SELECT s.id, x.scope FROM (SELECT id FROM {{schema}}.scopes WHERE expires AND id > %s
                ORDER BY id LIMIT %s) s
            LEFT JOIN LATERAL (SELECT r.scope FROM {{schema}}.records r
                WHERE r.scope = s.id AND r.expires_at <= {NOW} LIMIT 1) x ON TRUE ORDER BY s.id"""  # noqa: S608
        )
        self._lock = f"SELECT pg_try_advisory_xact_lock(hashtextextended('saa expiry {database.address.schema}', 0))"

    async def run(self) -> None:
        """Sweep at intervals until the task is cancelled."""
        while True:
            await asyncio.sleep(INTERVAL_S * random.uniform(0.5, 1.5))  # noqa: S311  # not a secret
            try:
                deleted = await self.sweep()
            except SuperAdvancedAgentsError as exc:  # the database is away, or a standby: the next interval tries again
                _log.debug("store.sweep_failed", extra={"reason": exc.message[:200]})
            else:
                if deleted:
                    _log.info("store.swept", extra={"records": deleted})

    async def sweep(self) -> int:
        """Delete all expired records, in transactions of some hundred; return their number.

        Nothing is deleted while another process sweeps.
        """
        deleted, after = 0, 0
        while True:
            scopes = await self._database.read(partial(self._scopes, after))
            for number, is_due in scopes:
                while is_due and (swept := await self._delete_some(number)):
                    deleted += swept
            if len(scopes) < _SCOPES:
                break
            after = scopes[-1][0]
        if await self._database.read(self._write_ids.has_old):
            await self._database.write(self._trim)
        return deleted

    async def _scopes(self, after: int, connection: Connection) -> list[tuple[int, bool]]:
        cursor = await connection.execute(self._due, (after, _SCOPES))
        return [(number, found is not None) for number, found in await cursor.fetchall()]

    async def _delete_some(self, number: int) -> int:
        return (await self._database.write(partial(self._sweep, number), committed=Swept.count)).rows

    async def _sweep(self, number: int, connection: Connection) -> Swept:
        return await self._deleter.sweep(connection, number) if await self._is_first(connection) else Swept()

    async def _trim(self, connection: Connection) -> None:
        if await self._is_first(connection):
            await self._write_ids.trim(connection)

    async def _is_first(self, connection: Connection) -> bool:
        row = await (await connection.execute(self._lock)).fetchone()
        return row is not None and bool(row[0])
