"""Transactions that delete records: by uid, by filter, and those that have expired."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from super_advanced_agents._runtime.postgres import Connection, Database
from super_advanced_agents.stores.postgres.filters import Clause, condition
from super_advanced_agents.stores.postgres.scopes import Delta, Scope, Scopes
from super_advanced_agents.stores.postgres.writing.keywords import KeywordWriter, Turn
from super_advanced_agents.stores.requests import DeleteRequest
from super_advanced_agents.telemetry import counter

_PAGE = 2_000
"""The most rows that one statement deletes, and that are in memory at once."""
_SWEPT_ROWS = 500
_EXPIRED = counter("store_records_expired")


class Removed(NamedTuple):
    """Hold the columns of a deleted row that its index entries and its replacement need."""

    uid: str
    seq: int
    created_at: float
    expires_at: float | None
    session: str | None
    place: int


@dataclass(slots=True)
class Swept:
    """Hold how many expired records one attempt at a transaction deletes."""

    rows: int = 0

    def count(self) -> None:
        """Add them to the counter of the process, once the transaction is committed."""
        _EXPIRED.add(self.rows)


REMOVED_COLUMNS = ", ".join(Removed._fields)
"""The columns that a statement for `removed_rows` returns."""


async def removed_rows(
    connection: Connection, statement: str, parameters: tuple[Any, ...], *, prepare: bool | None = None
) -> list[Removed]:
    """Execute a statement that deletes rows; return them."""
    cursor = await connection.execute(statement, parameters, prepare=prepare)
    return [Removed(*row) for row in await cursor.fetchall()]


class Deleter:
    """Delete records. All methods run in the event loop of the database's connections.

    Args:
        database: the database.
        scopes: its scopes.
        keywords: keeps the keyword index in step.
    """

    def __init__(self, database: Database, scopes: Scopes, keywords: KeywordWriter) -> None:
        self._scopes, self._keywords = scopes, keywords
        of_scope = (
            "DELETE FROM {schema}.records WHERE scope = %s AND uid IN (SELECT r.uid FROM {schema}.records r WHERE"
        )
        self._page = database.sql(
            f"{of_scope} r.scope = %s AND r.uid > %s::text AND ({{condition}}) ORDER BY r.uid LIMIT {_PAGE}) "
            f"RETURNING {REMOVED_COLUMNS}"
        )
        self._expired = database.sql(
            f"{of_scope} r.scope = %s AND r.expires_at <= %s LIMIT {_SWEPT_ROWS}) RETURNING {REMOVED_COLUMNS}"
        )

    async def delete(self, connection: Connection, request: DeleteRequest) -> int:
        """Delete records by uid or filter; return the number of those that had not expired."""
        if request.namespace is None:
            numbers = [scope.number for scope in await self._scopes.all_of(connection, request.tenant)]
        else:
            found = await self._scopes.find(connection, request.tenant, request.namespace)
            numbers = [] if found is None else [found.number]
        clause = condition(request.tree)
        if request.uids is not None:
            clause = Clause(f"r.uid = ANY(%s::text[]) AND ({clause.sql})", (list(request.uids), *clause.parameters))
        statement, deleted = self._page.replace("{condition}", clause.sql), 0
        for number in numbers:
            scope, now = await self._scopes.lock_number(connection, number)
            delta, last = Delta(), ""
            while True:
                parameters = (number, number, last, *clause.parameters)
                removed = await removed_rows(connection, statement, parameters, prepare=clause.prepare)
                await self._forget(connection, scope, removed, delta)
                deleted += sum(row.expires_at is None or row.expires_at > now for row in removed)
                if len(removed) < _PAGE:
                    break
                last = max(row.uid for row in removed)
            await self._finish(connection, scope, delta)
        return deleted

    async def sweep(self, connection: Connection, number: int) -> Swept:
        """Delete some of the expired records of a scope."""
        scope, now = await self._scopes.lock_number(connection, number)
        delta = Delta()
        swept = Swept(await self.remove_expired(connection, scope, delta, now))
        await self._finish(connection, scope, delta)
        return swept

    async def remove_expired(self, connection: Connection, scope: Scope, delta: Delta, now: float) -> int:
        """Delete some expired records of a locked scope in a transaction; return their number."""
        removed = await removed_rows(connection, self._expired, (scope.number, scope.number, now))
        await self._forget(connection, scope, removed, delta)
        return len(removed)

    async def _finish(self, connection: Connection, scope: Scope, delta: Delta) -> None:
        if delta.rows:
            await self._scopes.finish(connection, scope, delta)

    async def _forget(self, connection: Connection, scope: Scope, removed: Sequence[Removed], delta: Delta) -> None:
        if not removed:
            return
        delta.rows -= len(removed)
        turns = [Turn(row.session, row.place, row.seq) for row in removed if row.session is not None]
        gone = [row.seq for row in removed]
        await self._keywords.follow(connection, scope, delta, removed=gone, added={}, turns=turns)
