"""The ids and results of writes that may be repeated, stored in the writes' transactions.

Any process that shares the database knows them, so a retry that lands on another one is the same write.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import orjson

from super_advanced_agents._runtime.postgres import Connection, Database
from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.stores.postgres.scopes import NOW
from super_advanced_agents.stores.records.write_digest import write_digest
from super_advanced_agents.stores.requests import WriteRequest

T = TypeVar("T")

RETENTION_S = 86_400.0
"""The longest time for which a write is remembered; no client repeats a call for longer."""
_TRIM_PROBABILITY = 0.002


class WriteIds:
    """Remember which writes were carried out. All methods run in the event loop of the connections.

    Args:
        database: the database.
    """

    def __init__(self, database: Database) -> None:
        sql = database.sql
        self._claim = sql(
            f"INSERT INTO {{schema}}.writes (tenant, write_id, at, digest) VALUES (%s, %s, {NOW}, %s) "  # noqa: S608
            "ON CONFLICT DO NOTHING"
        )
        self._claimed = sql("SELECT digest, result FROM {schema}.writes WHERE tenant = %s AND write_id = %s")
        self._answer = sql("UPDATE {schema}.writes SET result = %s WHERE tenant = %s AND write_id = %s")
        self._has_old = sql(f"SELECT EXISTS (SELECT 1 FROM {{schema}}.writes WHERE at < {NOW} - %s)")  # noqa: S608
        self._trim = sql(
            """DELETE FROM {schema}.writes WHERE (tenant, write_id) IN (
                SELECT tenant, write_id FROM {schema}.writes
                WHERE at < extract(epoch FROM clock_timestamp()) - %s ORDER BY at LIMIT 2000)"""
        )

    async def once(
        self, connection: Connection, request: WriteRequest[T], work: Callable[[Connection], Awaitable[T]]
    ) -> T:
        """Carry out a write, unless one of the same id was carried out before.

        Raises:
            InvalidInputError: the id was used for another write.
        """
        if request.write_id is None:
            return await work(connection)
        key, digest = (request.tenant, request.write_id), write_digest(request)
        claim = await connection.execute(self._claim, (*key, digest))  # waits for one that is under way
        if claim.rowcount == 0:
            row = await (await connection.execute(self._claimed, key)).fetchone()
            assert row is not None
            if row[0] != digest:
                raise InvalidInputError(
                    "this write_id was used for another write",
                    field="write_id",
                    hint="give each write an id of its own, and only its repetitions the same",
                )
            repeated: T = orjson.loads(row[1])
            return repeated
        if random.random() < _TRIM_PROBABILITY:  # noqa: S311  # not a secret
            await self.trim(connection)
        result = await work(connection)
        await connection.execute(self._answer, (orjson.dumps(result).decode(), *key))
        return result

    async def has_old(self, connection: Connection) -> bool:
        """Return whether there are writes that are older than `RETENTION_S`."""
        row = await (await connection.execute(self._has_old, (RETENTION_S,))).fetchone()
        return row is not None and bool(row[0])

    async def trim(self, connection: Connection) -> None:
        """Forget up to 2,000 writes that are older than `RETENTION_S`."""
        await connection.execute(self._trim, (RETENTION_S,))
