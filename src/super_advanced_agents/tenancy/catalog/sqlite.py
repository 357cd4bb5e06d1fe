"""The catalog in a small SQLite database of the data folder."""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from super_advanced_agents._runtime.disk import sqlite, sqlite_errors
from super_advanced_agents._runtime.disk.files import private_folder
from super_advanced_agents._runtime.disk.watched_files import DatabaseWatch
from super_advanced_agents._runtime.queues.batcher import Workers
from super_advanced_agents.tenancy.catalog.base import Catalog, settings_of
from super_advanced_agents.tenancy.catalog.rows import SCHEMA, Entry, is_collection_id, read_catalog
from super_advanced_agents.tenancy.config_file import AgentSettings, Declared
from super_advanced_agents.types import AgentInfo, CollectionInfo

_MAX_WAITING = 1_024


class SQLiteCatalog(Catalog):
    """Keep the collections and agent settings of all tenants in memory and in SQLite.

    Only the process that holds the lock of the data folder may open the catalog. The constructor blocks.

    Args:
        file: the database file; it and its folder are created when missing.
        declared: the agents of the configuration file, which are not written to the database.
        max_collections: the number of collections that one tenant may have.
        max_agents: the number of agents with settings that one tenant may have.

    Raises:
        StoreError: the database cannot be used.
        CorruptStoreError: the database is damaged. Single damaged rows are logged; an operation that needs one raises.
    """

    def __init__(self, file: Path, declared: Declared, *, max_collections: int, max_agents: int) -> None:
        private_folder(file.parent)
        self._connection = sqlite.open_database(file, SCHEMA)
        self._watch = DatabaseWatch(file)
        super().__init__(declared, max_collections=max_collections, max_agents=max_agents)
        self._writer = Workers(name="server catalog", threads=1, max_queue=_MAX_WAITING)
        try:
            self._fill(read_catalog(self._connection))
        except BaseException:
            self._writer.close()
            self._connection.close()
            raise

    def check_files(self) -> None:
        """Raise if a file of the database was removed, replaced, emptied or cut by others."""
        try:
            self._watch.check()
        finally:
            if self._watch.log_lost:
                self._writer.submit(lambda: sqlite.save_lost_log(self._connection, self._watch)).wait()

    async def acreate_collection(
        self, tenant: str, info: CollectionInfo, *, exist_ok: bool, make_place: Callable[[str], None]
    ) -> CollectionInfo:
        """Add a new collection to the catalog; it is durable on return."""
        self._check_open()
        return await self._writer.submit(lambda: self._create(tenant, info, exist_ok, make_place))

    async def adelete_collection(self, tenant: str, name: str) -> Entry | None:
        """Delete a collection from the catalog; return its entry, or None if it does not exist."""
        self._check_open()
        return await self._writer.submit(lambda: self._delete(tenant, name))

    async def aput_agent(
        self, tenant: str, name: str, settings: AgentSettings, *, updated_at: float | None = None
    ) -> AgentInfo:
        """Set or replace the settings of an agent; they are durable on return."""
        self._check_open()
        self._check_undeclared(tenant, name)
        return await self._writer.submit(lambda: self._put_agent(tenant, name, settings, updated_at))

    async def adelete_agent(self, tenant: str, name: str) -> bool:
        """Reset an agent to the default settings; its memories (stored texts) are kept."""
        self._check_open()
        self._check_undeclared(tenant, name)
        return await self._writer.submit(lambda: self._delete_agent(tenant, name))

    def deleted_collections(self) -> list[str]:
        """Return the identifiers of deleted collections whose records are still to be removed. Blocks."""
        in_use = self.collection_ids()
        return [
            collection_id
            for (collection_id,) in self._select("SELECT id FROM deleted")
            if is_collection_id(collection_id) and collection_id not in in_use
        ]

    def forget_deleted(self, collection_id: str) -> None:
        """Record that the records of a deleted collection have been removed. Blocks."""
        self._writer.submit(lambda: self._write([("DELETE FROM deleted WHERE id = ?", (collection_id,))])).wait()

    def _create(
        self, tenant: str, info: CollectionInfo, exist_ok: bool, make_place: Callable[[str], None]
    ) -> CollectionInfo:
        self._check_readable(tenant, info.name)
        entries = self._entries.get(tenant, {})
        if info.name in entries:
            return self._existing(entries[info.name].info, info, exist_ok=exist_ok)
        self._check_collections(len(entries))
        entry = Entry(id=secrets.token_hex(16), info=info)
        make_place(entry.id)
        values = (tenant, info.name, entry.id, *settings_of(info), info.created_at)
        self._write([("INSERT INTO collections VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)])
        with self._lock:
            self._entries.setdefault(tenant, {})[info.name] = entry
        return info

    def _delete(self, tenant: str, name: str) -> Entry | None:
        self._check_readable(tenant, name)
        entry = self._entries.get(tenant, {}).get(name)
        if entry is None:
            return None
        self._write(
            [
                ("INSERT INTO deleted VALUES (?)", (entry.id,)),
                ("DELETE FROM collections WHERE id = ?", (entry.id,)),
            ]
        )
        with self._lock:
            self._remove_entry(tenant, name)
        return entry

    def _put_agent(self, tenant: str, name: str, settings: AgentSettings, updated_at: float | None) -> AgentInfo:
        agents = self._agents.get(tenant, {})
        if name not in agents:
            self._check_agents(len(agents))
        now = time.time() if updated_at is None else updated_at
        values = (tenant, name, settings.model_dump_json(), now)
        self._write([("INSERT OR REPLACE INTO agents VALUES (?, ?, ?, ?)", values)])
        with self._lock:
            self._set_agent(tenant, name, (settings, now))
            self._unreadable_agents.discard((tenant, name))
        return settings.info(name, updated_at=now)

    def _delete_agent(self, tenant: str, name: str) -> bool:
        if not self._has_stored(tenant, name):
            return False
        self._write([("DELETE FROM agents WHERE tenant = ? AND name = ?", (tenant, name))])
        with self._lock:
            self._remove_agent(tenant, name)
        return True

    def _select(self, statement: str) -> list[tuple[str, ...]]:
        try:
            return self._connection.execute(statement).fetchall()
        except sqlite3.Error as exc:
            raise sqlite_errors.map_error(exc) from exc

    def _write(self, statements: Iterable[tuple[str, tuple[object, ...]]]) -> None:
        # One transaction, durable on return. Runs in the single writer thread only.
        try:
            with sqlite.transaction(self._connection, self._watch):
                for statement, values in statements:
                    self._connection.execute(statement, values)
        except sqlite3.Error as exc:
            raise sqlite_errors.map_error(exc) from exc

    def _release(self) -> None:
        self._writer.close()
        self._watch.close()
        self._connection.close()
