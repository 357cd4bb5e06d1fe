"""API keys in PostgreSQL, which all servers of a service share."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from super_advanced_agents._runtime.clock import ForwardClock
from super_advanced_agents.server.auth.key_store import KEY_COLUMNS, KeyRecord, NewKey, made_key, records_of

if TYPE_CHECKING:
    from super_advanced_agents._runtime.postgres import Connection
    from super_advanced_agents.tenancy.shared_state import SharedState

_SECRET = "keys"  # noqa: S105  # a name
_SECRET_BYTES = 32


class PostgresKeyTable:
    """Keep the hashes of API keys in PostgreSQL, with the methods of `KeyTable`.

    The secret that keys are hashed with stands in the same database. A key has 256 random bits, so that its hash tells
    nothing about it with the secret either.

    Args:
        state: the open database; closing this object leaves it open.
        secret: the secret of a database that has held no keys; the stored one, or a random one when None.

    Attributes:
        secret: the secret that keys are hashed with.
        clock: the time, which is not behind that of the database.
        clock_saved_at: infinity, since the database's own clock is the one that counts.
    """

    def __init__(self, state: SharedState, *, secret: bytes | None = None) -> None:
        self._state = state
        self.clock_saved_at = float("inf")
        if secret is not None:
            state.write(partial(self._use_secret, secret))
        self.secret, now = state.write(self._secret_and_time)
        self.clock = ForwardClock(now)

    def close(self) -> None:
        """Do nothing: the connections belong to the database."""

    def check(self) -> None:
        """Do nothing: PostgreSQL checks its own files."""

    def save_clock(self) -> None:
        """Do nothing: the clock is that of the database."""

    def create(
        self, *, tenant: str, scopes: Iterable[str], label: str = "", expires_in_s: float | None = None
    ) -> NewKey:
        """Create an API key and store its hash durably; only the returned object holds the key.

        The arguments and errors are those of `KeyTable.create`.
        """
        new_key = self._insert(tenant, scopes, label, expires_in_s, only_if_none=False)
        assert new_key is not None
        return new_key

    def create_first(self, *, tenant: str, scopes: Iterable[str], label: str = "") -> NewKey | None:
        """Create an API key, or return None if the database has ever held one."""
        return self._insert(tenant, scopes, label, None, only_if_none=True)

    def revoke(self, key_id: str) -> bool:
        """Revoke an API key for good, and return whether it exists. A repeated call changes nothing."""
        now = self.clock.now()

        async def update(connection: Connection) -> bool:
            await self._count_change(connection)
            changed = await connection.execute(
                self._sql("UPDATE {schema}.server_keys SET revoked_at = coalesce(revoked_at, %s) WHERE id = %s"),
                (now, key_id),
            )
            return changed.rowcount == 1

        return self._state.write(update)

    def records(self) -> list[KeyRecord]:
        """Return the records of all keys, oldest first, including revoked and expired keys."""

        async def select(connection: Connection) -> list[tuple[object, ...]]:
            query = f"SELECT {KEY_COLUMNS} FROM {{schema}}.server_keys ORDER BY created_at, id"  # noqa: S608
            return await (await connection.execute(self._sql(query))).fetchall()

        return records_of(self._state.read(select), self.clock.now())

    def change(self, statements: Sequence[tuple[str, Sequence[object]]]) -> None:
        """Execute statements in one transaction, with `{keys}` for the table and `?` for each value."""

        async def run(connection: Connection) -> None:
            await self._count_change(connection)
            for statement, values in statements:
                translated = statement.replace("{keys}", "{schema}.server_keys").replace("?", "%s")
                await connection.execute(self._sql(translated), values)

        self._state.write(run)

    def _insert(
        self, tenant: str, scopes: Iterable[str], label: str, expires_in_s: float | None, *, only_if_none: bool
    ) -> NewKey | None:
        new_key, row = made_key(tenant, scopes, label, expires_in_s, secret=self.secret, now=self.clock.now())

        async def insert(connection: Connection) -> NewKey | None:
            await self._count_change(connection)  # its lock also makes servers that start at once make one key
            if only_if_none:
                found = await connection.execute(self._sql("SELECT 1 FROM {schema}.server_keys LIMIT 1"))
                if await found.fetchone() is not None:
                    return None
            await connection.execute(
                self._sql(
                    f"INSERT INTO {{schema}}.server_keys ({KEY_COLUMNS}) "  # noqa: S608  # of constants
                    "VALUES (%s, %s, %s, %s, %s, %s, %s, NULL)"
                ),
                row,
            )
            return new_key

        return self._state.write(insert)

    async def _use_secret(self, secret: bytes, connection: Connection) -> None:
        await self._count_change(connection)  # its lock keeps others from making a key meanwhile
        await connection.execute(
            self._sql(
                "INSERT INTO {schema}.server_secrets SELECT %s, %s WHERE NOT EXISTS (SELECT FROM {schema}.server_keys) "
                "ON CONFLICT (name) DO UPDATE SET value = excluded.value"
            ),
            (_SECRET, secret),
        )

    async def _secret_and_time(self, connection: Connection) -> tuple[bytes, float]:
        select = self._sql("SELECT value FROM {schema}.server_secrets WHERE name = %s")
        row = await (await connection.execute(select, (_SECRET,))).fetchone()
        if row is None:
            await connection.execute(
                self._sql("INSERT INTO {schema}.server_secrets VALUES (%s, %s) ON CONFLICT DO NOTHING"),
                (_SECRET, secrets.token_bytes(_SECRET_BYTES)),
            )
            row = await (await connection.execute(select, (_SECRET,))).fetchone()
        now = await (await connection.execute("SELECT extract(epoch FROM clock_timestamp())")).fetchone()
        assert row is not None
        assert now is not None
        return bytes(row[0]), float(now[0])

    async def _count_change(self, connection: Connection) -> None:
        await connection.execute(
            self._sql("UPDATE {schema}.server_versions SET number = number + 1 WHERE name = 'keys'")
        )

    def _sql(self, statement: str) -> str:
        return self._state.sql(statement)


class PostgresKeys:
    """Open the keys of a service in PostgreSQL, and tell whether they have changed.

    Args:
        state: the database; `aopen` of the server opens it.
    """

    def __init__(self, state: SharedState) -> None:
        self._state = state

    def open_table(self, *, create: bool, secret: bytes | None = None) -> PostgresKeyTable:
        """Return the table of keys."""
        if create:
            self._state.open()
        return PostgresKeyTable(self._state, secret=secret)

    def signature(self) -> tuple[object, ...]:
        """Return the number of changes so far."""

        async def select(connection: Connection) -> tuple[object, ...]:
            cursor = await connection.execute(
                self._state.sql("SELECT number FROM {schema}.server_versions WHERE name = 'keys'")
            )
            return tuple(await cursor.fetchone() or ())

        return self._state.read(select)
