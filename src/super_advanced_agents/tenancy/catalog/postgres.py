"""The catalog in PostgreSQL, which all servers of a service share."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from super_advanced_agents._runtime.concurrency.futures import in_thread
from super_advanced_agents._runtime.concurrency.sync_bridge import run_sync
from super_advanced_agents._runtime.queues.batcher import MicroBatcher
from super_advanced_agents.tenancy.catalog.base import Catalog, settings_of
from super_advanced_agents.tenancy.catalog.rows import CatalogRows, Entry, add_agent, add_collection, is_collection_id
from super_advanced_agents.tenancy.config_file import AgentSettings, Declared
from super_advanced_agents.types import AgentInfo, CollectionInfo

if TYPE_CHECKING:
    from super_advanced_agents._runtime.postgres import Connection
    from super_advanced_agents.tenancy.shared_state import SharedState

_COLUMNS = "tenant, name, id, dim, metric, index, storage, created_at"
_MAX_WAITING = 8_192
_KEPT = "interval '1 day'"
"""The time for which a deletion is kept, so that every server learns of it."""


class _Changes(NamedTuple):
    version: int
    collections: Sequence[tuple[Any, ...]]
    agents: Sequence[tuple[Any, ...]]


class PostgresCatalog(Catalog):
    """Keep the collections and agent settings of all tenants in memory and in PostgreSQL.

    Each change has a number, by which `arefresh` reads what is new: one statement of 0.2 ms when nothing is. Requests
    that arrive while one runs share the next. The constructor blocks.

    Args:
        state: the open database.
        declared: the agents of the configuration file, which are not written to the database.
        max_collections: the number of collections that one tenant may have.
        max_agents: the number of agents with settings that one tenant may have.

    Raises:
        EngineUnavailableError: the database cannot be reached.
    """

    def __init__(self, state: SharedState, declared: Declared, *, max_collections: int, max_agents: int) -> None:
        super().__init__(declared, max_collections=max_collections, max_agents=max_agents)
        self._state = state
        self._version = -1
        run_sync(self._read_changes())
        self._refreshes: MicroBatcher[None, None] = MicroBatcher(
            self._refresh, name="server catalog", max_batch_cost=_MAX_WAITING, max_queue_cost=_MAX_WAITING
        )

    async def arefresh(self) -> None:
        """Read what other servers have changed before this call began."""
        self._check_open()
        await self._refreshes.submit(None)

    async def acreate_collection(
        self, tenant: str, info: CollectionInfo, *, exist_ok: bool, make_place: Callable[[str], None]
    ) -> CollectionInfo:
        """Add a new collection to the catalog; it is durable on return."""
        self._check_open()
        self._check_readable(tenant, info.name)
        collection_id = secrets.token_hex(16)
        await in_thread(lambda: make_place(collection_id), name="make collection")

        async def create(connection: Connection) -> CollectionInfo:
            version = await self._next_version(connection)
            found = await self._found(connection, tenant, info.name)
            if found is not None:
                return self._existing(found.info, info, exist_ok=exist_ok)
            counted = await connection.execute(
                self._sql("SELECT count(*) FROM {schema}.server_collections WHERE tenant = %s AND deleted_at IS NULL"),
                (tenant,),
            )
            self._check_collections((await counted.fetchone() or (0,))[0])
            await connection.execute(
                self._sql(
                    f"INSERT INTO {{schema}}.server_collections ({_COLUMNS}, version) "  # noqa: S608  # of constants
                    "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)"
                ),
                (tenant, info.name, collection_id, *settings_of(info), info.created_at, version),
            )
            return info

        created = await self._state.awrite(create)
        await self.arefresh()
        return created

    async def adelete_collection(self, tenant: str, name: str) -> Entry | None:
        """Delete a collection from the catalog; return its entry, or None if it does not exist."""
        self._check_open()
        self._check_readable(tenant, name)

        async def delete(connection: Connection) -> Entry | None:
            version = await self._next_version(connection)
            found = await self._found(connection, tenant, name)
            if found is not None:
                await connection.execute(
                    self._sql(
                        "UPDATE {schema}.server_collections SET deleted_at = now(), version = %s "
                        "WHERE tenant = %s AND name = %s AND deleted_at IS NULL"
                    ),
                    (version, tenant, name),
                )
            return found

        deleted = await self._state.awrite(delete)
        await self.arefresh()
        return deleted

    async def aput_agent(
        self, tenant: str, name: str, settings: AgentSettings, *, updated_at: float | None = None
    ) -> AgentInfo:
        """Set or replace the settings of an agent; they are durable on return."""
        self._check_open()
        self._check_undeclared(tenant, name)
        now = time.time() if updated_at is None else updated_at

        async def put(connection: Connection) -> None:
            version = await self._next_version(connection)
            counted = await connection.execute(
                self._sql(
                    "SELECT count(*), count(*) FILTER (WHERE name = %s) FROM {schema}.server_agents "
                    "WHERE tenant = %s AND deleted_at IS NULL"
                ),
                (name, tenant),
            )
            count, same = await counted.fetchone() or (0, 0)
            if not same:
                self._check_agents(count)
            await connection.execute(
                self._sql(
                    "INSERT INTO {schema}.server_agents AS a (tenant, name, settings, updated_at, version) "
                    "VALUES (%s, %s, %s, %s, %s) ON CONFLICT (tenant, name) DO UPDATE SET "
                    "settings = excluded.settings, updated_at = excluded.updated_at, version = excluded.version, "
                    "deleted_at = NULL"
                ),
                (tenant, name, settings.model_dump_json(), now, version),
            )

        await self._state.awrite(put)
        await self.arefresh()
        return settings.info(name, updated_at=now)

    async def adelete_agent(self, tenant: str, name: str) -> bool:
        """Reset an agent to the default settings; its memories (stored texts) are kept."""
        self._check_open()
        self._check_undeclared(tenant, name)

        async def delete(connection: Connection) -> bool:
            version = await self._next_version(connection)
            cursor = await connection.execute(
                self._sql(
                    "UPDATE {schema}.server_agents SET deleted_at = now(), version = %s "
                    "WHERE tenant = %s AND name = %s AND deleted_at IS NULL"
                ),
                (version, tenant, name),
            )
            return cursor.rowcount == 1

        deleted = await self._state.awrite(delete)
        await self.arefresh()
        return deleted

    def deleted_collections(self) -> list[str]:
        """Return the identifiers of deleted collections whose records are still to be removed. Blocks."""

        async def select(connection: Connection) -> list[str]:
            cursor = await connection.execute(
                self._sql(
                    "SELECT id FROM {schema}.server_collections "
                    "WHERE deleted_at IS NOT NULL AND NOT removed ORDER BY id"
                )
            )
            return [str(row[0]) for row in await cursor.fetchall()]

        return [each for each in self._state.read(select) if is_collection_id(each)]

    def forget_deleted(self, collection_id: str) -> None:
        """Record that the records of a deleted collection have been removed. Blocks."""

        async def forget(connection: Connection) -> None:
            await connection.execute(
                self._sql("UPDATE {schema}.server_collections SET removed = true WHERE id = %s"), (collection_id,)
            )
            for table, condition in (("server_collections", "removed AND "), ("server_agents", "")):
                await connection.execute(
                    self._sql(f"DELETE FROM {{schema}}.{table} WHERE {condition}deleted_at < now() - {_KEPT}")  # noqa: S608
                )

        self._state.write(forget)

    def _sql(self, statement: str) -> str:
        return self._state.sql(statement)

    async def _next_version(self, connection: Connection) -> int:
        # The row stays locked until the commit, so that changes are numbered in the order of their commits.
        cursor = await connection.execute(
            self._sql("UPDATE {schema}.server_versions SET number = number + 1 WHERE name = 'catalog' RETURNING number")
        )
        return int((await cursor.fetchone() or (0,))[0])

    async def _found(self, connection: Connection, tenant: str, name: str) -> Entry | None:
        cursor = await connection.execute(
            self._sql(
                f"SELECT {_COLUMNS} FROM {{schema}}.server_collections "  # noqa: S608  # of constants
                "WHERE tenant = %s AND name = %s AND deleted_at IS NULL"
            ),
            (tenant, name),
        )
        rows = CatalogRows()
        for row in await cursor.fetchall():
            add_collection(rows, row)
        return rows.collections.get((tenant, name))

    def _refresh(self, waiting: list[None]) -> list[None]:
        run_sync(self._read_changes())
        return waiting

    async def _read_changes(self) -> None:
        known = self._version

        async def read(connection: Connection) -> _Changes | None:
            cursor = await connection.execute(
                self._sql("SELECT number FROM {schema}.server_versions WHERE name = 'catalog'")
            )
            version = int((await cursor.fetchone() or (0,))[0])
            if version == known:
                return None
            collections = await connection.execute(
                self._sql(
                    f"SELECT {_COLUMNS}, deleted_at IS NOT NULL FROM {{schema}}.server_collections "  # noqa: S608
                    "WHERE version > %s ORDER BY version"
                ),
                (known,),
            )
            agents = await connection.execute(
                self._sql(
                    "SELECT tenant, name, settings, updated_at, deleted_at IS NOT NULL FROM {schema}.server_agents "
                    "WHERE version > %s"
                ),
                (known,),
            )
            return _Changes(version, await collections.fetchall(), await agents.fetchall())

        changes = await self._state.aread(read)
        if changes is not None:
            self._apply(changes)

    def _apply(self, changes: _Changes) -> None:
        rows = CatalogRows()
        with self._lock:
            for *row, is_deleted in changes.collections:
                tenant, name, collection_id = row[:3]
                if not is_deleted:
                    add_collection(rows, row)
                elif (entry := self._entries.get(tenant, {}).get(name)) is not None and entry.id == collection_id:
                    self._remove_entry(tenant, name)
            for *row, is_deleted in changes.agents:
                if is_deleted:
                    self._remove_agent(row[0], row[1])
                else:
                    add_agent(rows, row)
            self._fill(rows)
        self._version = changes.version

    def _release(self) -> None:
        self._refreshes.close()
