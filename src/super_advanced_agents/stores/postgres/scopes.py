"""Scopes (one tenant's namespace each), in their table and as this process knows them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import NamedTuple

from super_advanced_agents._runtime.postgres import Connection, Database

_FRESH_S = 1.0
"""Seconds for which the counts and the model of a scope are taken as they were read."""
_TOTAL_S = 60.0
_MAX_KNOWN = 50_000

NOW = "extract(epoch FROM clock_timestamp())::float8"
"""The time of the database, by which records of all processes expire."""

SCOPE_COLUMNS = "s.id, s.tenant, s.model, s.digests, s.sessions, s.expires, s.graph, s.rows"
"""The columns of a row of the table `scopes`, named `s`, from which a `Scope` is made."""


class Scope(NamedTuple):
    """Hold the numbers of a tenant and a namespace, and the state of the namespace.

    Attributes:
        number: the number of the scope.
        tenant: the number of the tenant.
        model: the embedding model of its vectors; None when it is unknown.
        digests: True if every record has a digest of its content.
        sessions: True if it ever had a record with a session.
        expires: True if it ever had a record that expires.
        graph: `"ready"` when searches may use its graph.
        rows: its records, expired ones included.
    """

    number: int
    tenant: int
    model: str | None
    digests: bool
    sessions: bool
    expires: bool
    graph: str | None
    rows: int


@dataclass(slots=True)
class Delta:
    """Count how a transaction changes a scope, for one update of its row at the end.

    Attributes:
        rows: records added less records deleted.
        texts: entries of the keyword index added less those deleted.
        text_terms: terms of their texts.
        window_terms: terms of their windows.
        model: the embedding model of new vectors; None for none.
        sessions: True if a new record has a session.
        expires: True if a new record expires.
        digests: True if every record has a digest now.
        languages: the languages of new texts.
    """

    rows: int = 0
    texts: int = 0
    text_terms: int = 0
    window_terms: int = 0
    model: str | None = None
    sessions: bool = False
    expires: bool = False
    digests: bool = False
    languages: set[str] = field(default_factory=set)


class Scopes:
    """Read and lock scopes. All methods run in the event loop of the database's connections.

    Args:
        database: the database.
    """

    def __init__(self, database: Database) -> None:
        self._known: dict[tuple[str, str], tuple[Scope, float]] = {}
        joined = "{schema}.scopes s JOIN {schema}.tenants t ON t.id = s.tenant"
        of_name = f"SELECT {SCOPE_COLUMNS} FROM {joined} WHERE t.name = %s"  # noqa: S608  # of constants
        self._select = database.sql(f"{of_name} AND s.namespace = %s")
        self._select_all = database.sql(f"{of_name} ORDER BY s.id")
        self._lock = database.sql(
            f"SELECT {SCOPE_COLUMNS}, {NOW} FROM {{schema}}.scopes s WHERE s.id = %s FOR NO KEY UPDATE"  # noqa: S608
        )
        # As the server estimates them; a partitioned table has none itself.
        self._total = database.sql(
            r"""SELECT coalesce(sum(greatest(reltuples, 0)), 0)::float8 FROM pg_catalog.pg_class
            WHERE relnamespace = '{schema}'::regnamespace AND relkind = 'r' AND relname ~ '^records(_\d+)?$'"""
        )
        self._all_rows = 0.0, float("-inf")
        self._add_tenant = database.sql("INSERT INTO {schema}.tenants (name) VALUES (%s) ON CONFLICT DO NOTHING")
        self._add_scope = database.sql(
            "INSERT INTO {schema}.scopes (tenant, namespace) SELECT id, %s FROM {schema}.tenants WHERE name = %s "
            "ON CONFLICT DO NOTHING"
        )
        self._finish = database.sql(
            """UPDATE {schema}.scopes SET version = nextval('{schema}.versions'), rows = rows + %s, texts = texts + %s,
            text_terms = text_terms + %s, window_terms = window_terms + %s, model = coalesce(%s, model),
            sessions = sessions OR %s, expires = expires OR %s, digests = digests OR %s WHERE id = %s
            RETURNING rows, graph"""
        )
        self._add_languages = database.sql(
            """UPDATE {schema}.tenants SET languages = ARRAY(
                SELECT DISTINCT unnest(languages || %s::text[]) ORDER BY 1
            ) WHERE id = %s AND NOT languages @> %s::text[]"""
        )

    async def find(self, connection: Connection, tenant: str, namespace: str) -> Scope | None:
        """Return a scope, perhaps as it was a second ago; None if nothing was ever written to it."""
        return self.known(tenant, namespace) or await self.read(connection, tenant, namespace)

    def known(self, tenant: str, namespace: str) -> Scope | None:
        """Return a scope as it was at most a second ago; None if that is not known."""
        known = self._known.get((tenant, namespace))
        return known[0] if known is not None and time.monotonic() - known[1] < _FRESH_S else None

    async def read(self, connection: Connection, tenant: str, namespace: str) -> Scope | None:
        """Return a scope as it is now; None if nothing was ever written to it."""
        cursor = await connection.execute(self._select, (tenant, namespace))
        row = await cursor.fetchone()
        if row is None:
            return None
        return self.remember(tenant, namespace, Scope(*row))

    async def has_most_rows(self, connection: Connection, scope: Scope) -> bool:
        """Return whether a scope has half the records of the store or more, as estimated."""
        total, at = self._all_rows
        if time.monotonic() - at > _TOTAL_S:
            row = await (await connection.execute(self._total)).fetchone()
            assert row is not None
            total = row[0]
            self._all_rows = total, time.monotonic()
        return 0 < total <= 2 * scope.rows

    async def all_of(self, connection: Connection, tenant: str) -> list[Scope]:
        """Return all scopes of a tenant, as they are now."""
        cursor = await connection.execute(self._select_all, (tenant,))
        return [Scope(*row) for row in await cursor.fetchall()]

    async def lock(self, connection: Connection, tenant: str, namespace: str) -> tuple[Scope, float]:
        """Lock a scope until the end of the transaction, and return it with the database's time.

        It is created if there is none. Writes to one scope follow each other, so each sees all before it.
        """
        known = self._known.get((tenant, namespace))
        if known is not None:
            locked = await self._locked(connection, known[0].number)
            if locked is not None:
                return locked
            self._known.pop((tenant, namespace), None)  # of a schema that was made anew
        # Read first: a scope that is found is committed, and may be cached; one that is created here is not yet.
        scope = await self.read(connection, tenant, namespace)
        if scope is not None:
            return await self.lock_number(connection, scope.number)
        await connection.execute(self._add_tenant, (tenant,))
        await connection.execute(self._add_scope, (namespace, tenant))
        row = await (await connection.execute(self._select, (tenant, namespace))).fetchone()
        assert row is not None
        return await self.lock_number(connection, row[0])

    async def lock_number(self, connection: Connection, number: int) -> tuple[Scope, float]:
        """Lock the scope of a number, and return it as it is now with the database's time."""
        locked = await self._locked(connection, number)
        assert locked is not None
        return locked

    async def _locked(self, connection: Connection, number: int) -> tuple[Scope, float] | None:
        row = await (await connection.execute(self._lock, (number,))).fetchone()
        return None if row is None else (Scope(*row[:-1]), float(row[-1]))

    async def finish(self, connection: Connection, scope: Scope, delta: Delta) -> Scope:
        """Write what a transaction changed in a locked scope, and return the scope as it is then."""
        cursor = await connection.execute(
            self._finish,
            (delta.rows, delta.texts, delta.text_terms, delta.window_terms, delta.model, delta.sessions, delta.expires,
             delta.digests, scope.number),
        )  # fmt: skip
        if delta.languages:
            languages = sorted(delta.languages)
            await connection.execute(self._add_languages, (languages, scope.tenant, languages))
        row = await cursor.fetchone()
        assert row is not None
        return scope._replace(rows=row[0], graph=row[1])

    def forget(self, tenant: str, namespace: str) -> None:
        """Forget the state of a scope after a write, so that the next search reads it."""
        known = self._known.get((tenant, namespace))
        if known is not None:  # its numbers stay
            self._known[tenant, namespace] = known[0], float("-inf")

    def remember(self, tenant: str, namespace: str, scope: Scope) -> Scope:
        """Remember a scope as it is committed now, and return it."""
        if len(self._known) >= _MAX_KNOWN:
            self._known.pop(next(iter(self._known)))
        self._known[tenant, namespace] = scope, time.monotonic()
        return scope
