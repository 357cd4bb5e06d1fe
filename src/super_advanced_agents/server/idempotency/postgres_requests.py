"""The table in PostgreSQL of writes sent with an `Idempotency-Key`, for all servers."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import orjson

from super_advanced_agents.server.idempotency.request_store import (
    RETENTION_S,
    SEED_BYTES,
    EndAttempt,
    Reply,
    RunningElsewhere,
    SaveFacts,
    SaveReply,
    StartedRequest,
    StartRequest,
    Step,
    StepResult,
)

if TYPE_CHECKING:
    from super_advanced_agents._runtime.postgres import Connection
    from super_advanced_agents.tenancy.shared_state import SharedState

_HELD = "interval '5 seconds'"
"""The time for which a request without a reply is left to the server that began it.

Then another one carries it out: the first was killed, or is slow, and equal ids of the write make both the same write.
"""
_SWEEP_INTERVAL_S = 60.0
_SWEEP_ROWS = 1_000
_COUNT_EVERY = 64
"""The starts of requests of a tenant after which its requests are counted."""


class PostgresRequestTable:
    """The requests with an `Idempotency-Key` in PostgreSQL, with the methods of `RequestTable`.

    Args:
        state: the open database; closing this object leaves it open.
        max_keys: how many requests of one tenant are stored, to within `_COUNT_EVERY`; the oldest are deleted first.
        max_bytes: the bytes of replies that are stored for one tenant, counted in the same way.

    Attributes:
        shared: True, as other servers use the same table.
    """

    shared = True

    def __init__(self, state: SharedState, *, max_keys: int, max_bytes: int) -> None:
        self._state = state
        self._max_keys = max_keys
        self._max_bytes = max_bytes
        self._started = 0
        self._swept_at = float("-inf")

    def check_files(self) -> None:
        """Do nothing: PostgreSQL checks its own files."""

    def close(self) -> None:
        """Do nothing: the connections belong to the database."""

    def execute(self, steps: Sequence[Step]) -> list[StepResult]:
        """Execute the database steps of several requests in one transaction, committed durably.

        Returns:
            One result per step; see `RequestTable.execute`. A `StartRequest` of a request that another server carries
            out now has the result `RunningElsewhere`.

        Raises:
            EngineUnavailableError: the database cannot be reached; the steps were not stored.
        """
        # In one order for all servers, so that no two transactions wait for each other in a circle.
        order = sorted(range(len(steps)), key=lambda at: _lock_key(steps[at]))
        seeds = [os.urandom(SEED_BYTES) for _ in steps]
        sweeps = time.monotonic() - self._swept_at >= _SWEEP_INTERVAL_S

        async def run(connection: Connection) -> list[StepResult]:
            results: list[StepResult] = [None] * len(steps)
            if sweeps:
                await self._sweep(connection)
            for at in order:
                results[at] = await self._execute_step(connection, steps[at], seeds[at])
            return results

        results = self._state.write(run)
        if sweeps:
            self._swept_at = time.monotonic()
        return results

    async def _execute_step(self, connection: Connection, step: Step, seed: bytes) -> StepResult:
        match step:
            case StartRequest():
                return await self._start(connection, step, seed)
            case SaveFacts():
                update = "UPDATE {schema}.server_requests SET facts = %s WHERE id = %s"
                await connection.execute(self._sql(update), (orjson.dumps(step.facts).decode(), step.id))
            case SaveReply():
                await self._save_reply(connection, step)
            case EndAttempt():
                update = "UPDATE {schema}.server_requests SET held_until = now() WHERE id = %s AND status IS NULL"
                await connection.execute(self._sql(update), (step.id,))
        return None

    async def _start(self, connection: Connection, step: StartRequest, seed: bytes) -> StepResult:
        tenant, key, now = step.key.tenant, step.key.key, time.time()
        inserted = await connection.execute(
            self._sql(
                "INSERT INTO {schema}.server_requests (tenant, key, digest, seed, facts, at, held_until) "  # noqa: S608
                f"VALUES (%s, %s, %s, %s, '{{}}', %s, clock_timestamp() + {_HELD}) "
                "ON CONFLICT (tenant, key) DO NOTHING RETURNING id"
            ),
            (tenant, key, step.digest, seed, now),
        )
        if (row := await inserted.fetchone()) is not None:
            await self._evict_oldest(connection, tenant)
            return StartedRequest(id=row[0], seed=seed, at=now)
        found = await connection.execute(
            self._sql(
                "SELECT id, digest, seed, facts, at, status, headers, body, held_until > clock_timestamp() "
                "FROM {schema}.server_requests WHERE tenant = %s AND key = %s FOR UPDATE"
            ),
            (tenant, key),
        )
        stored = await found.fetchone()
        if stored is None or stored[4] <= now - RETENTION_S:  # evicted meanwhile, or expired
            await connection.execute(
                self._sql("DELETE FROM {schema}.server_requests WHERE tenant = %s AND key = %s"), (tenant, key)
            )
            return await self._start(connection, step, seed)
        return await self._again(connection, step, stored)

    async def _again(self, connection: Connection, step: StartRequest, stored: Sequence[Any]) -> StepResult:
        number, digest, seed, facts, at, status, headers, body, held = stored
        if bytes(digest) != step.digest:
            return None
        if status is not None:
            pairs = tuple((name, value) for name, value in orjson.loads(headers))
            return Reply(status=status, headers=pairs, body=bytes(body), replayed=True)
        if held:
            return RunningElsewhere()
        await connection.execute(
            self._sql(
                f"UPDATE {{schema}}.server_requests SET held_until = clock_timestamp() + {_HELD} WHERE id = %s"  # noqa: S608
            ),
            (number,),
        )
        return StartedRequest(id=number, seed=bytes(seed), at=at, facts=orjson.loads(facts))

    async def _save_reply(self, connection: Connection, step: SaveReply) -> None:
        reply = step.reply
        await connection.execute(
            self._sql(
                "UPDATE {schema}.server_requests SET status = %s, headers = %s, body = %s "
                "WHERE id = %s AND status IS NULL"
            ),
            (reply.status, orjson.dumps(reply.headers).decode(), reply.body, step.id),
        )

    async def _evict_oldest(self, connection: Connection, tenant: str) -> None:
        # Counting reads all of a tenant's rows, so that it is done now and then.
        self._started += 1
        if self._started % _COUNT_EVERY:
            return
        await connection.execute(
            self._sql(
                "DELETE FROM {schema}.server_requests WHERE id IN (SELECT id FROM (SELECT id, "
                "row_number() OVER newest AS place, sum(coalesce(octet_length(body), 0)) OVER newest AS bytes "
                "FROM {schema}.server_requests WHERE tenant = %s WINDOW newest AS (ORDER BY id DESC)) AS requests "
                "WHERE place > 1 AND (place > %s OR bytes > %s))"
            ),
            (tenant, self._max_keys, self._max_bytes),
        )

    async def _sweep(self, connection: Connection) -> None:
        await connection.execute(
            self._sql(
                "DELETE FROM {schema}.server_requests WHERE id IN "  # noqa: S608  # of constants
                f"(SELECT id FROM {{schema}}.server_requests WHERE at <= %s ORDER BY at LIMIT {_SWEEP_ROWS} "
                "FOR UPDATE SKIP LOCKED)"
            ),
            (time.time() - RETENTION_S,),
        )

    def _sql(self, statement: str) -> str:
        return self._state.sql(statement)


def _lock_key(step: Step) -> tuple[int, str, str, int]:
    # Rows that exist are locked by their ids first, then those of keys.
    if isinstance(step, StartRequest):
        return 1, step.key.tenant, step.key.key, 0
    return 0, "", "", step.id
