"""The catalog of all tenants: collections and agent settings, in a small SQLite database."""

from __future__ import annotations

import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from super_advanced_agents._runtime import sqlite
from super_advanced_agents._runtime.batcher import Workers
from super_advanced_agents._runtime.files import private_folder
from super_advanced_agents._runtime.lifecycle import Resource
from super_advanced_agents._runtime.watched_files import DatabaseWatch
from super_advanced_agents.errors import (
    CollectionExistsError,
    CollectionNotFoundError,
    CorruptStoreError,
    InvalidInputError,
)
from super_advanced_agents.telemetry import get_logger
from super_advanced_agents.tenancy.catalog_rows import SCHEMA, CatalogRows, Entry, is_collection_id, read_catalog
from super_advanced_agents.tenancy.config_file import AgentSettings, Declared
from super_advanced_agents.types import AgentInfo, CollectionInfo

T = TypeVar("T")

_log = get_logger("server")
_MAX_WAITING = 1_024
_MAX_LOGGED = 20
_DEFAULTS = AgentSettings()


class Catalog(Resource):
    """Keep the collections and agent settings of all tenants in memory and in SQLite.

    A change is committed to the database before it becomes visible. Only the process that holds the lock of the data
    folder may open the catalog. The constructor blocks.

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
        self._connection = _open_database(file)
        self._watch = DatabaseWatch(file)
        super().__init__()
        self._declared = declared
        self._max_collections = max_collections
        self._max_agents = max_agents
        self._agents: dict[str, dict[str, tuple[AgentSettings, float]]] = {}
        self._entries: dict[str, dict[str, Entry]] = {}
        self._lock = threading.Lock()
        self._writer = Workers(name="server catalog", threads=1, max_queue=_MAX_WAITING)
        try:
            rows = read_catalog(self._connection)
        except BaseException:
            self._writer.close()
            self._connection.close()
            raise
        for (tenant, name), entry in rows.collections.items():
            self._entries.setdefault(tenant, {})[name] = entry
        for (tenant, name), agent in rows.agents.items():
            self._agents.setdefault(tenant, {})[name] = agent
        self._unreadable_collections, self._unreadable_agents = rows.unreadable_collections, rows.unreadable_agents
        _log_problems(rows)

    def check_files(self) -> None:
        """Raise if a file of the database was removed, replaced, emptied or cut by others.

        What only a lost write-ahead log holds is saved into the database. Blocks.

        Raises:
            StoreError: one was; the catalog can be read, and not changed any more.
        """
        try:
            self._watch.check()
        finally:
            if self._watch.log_lost:
                self._writer.submit(lambda: sqlite.save_lost_log(self._connection, self._watch)).wait()

    def collection(self, tenant: str, name: str) -> Entry:
        """Return the catalog entry of a tenant's collection, by the collection's name.

        Raises:
            CollectionNotFoundError: the tenant has no collection of that name.
            CorruptStoreError: the catalog's row of the collection is damaged.
        """
        self._check_readable(tenant, name)
        entry = self._entries.get(tenant, {}).get(name)
        if entry is None:
            raise CollectionNotFoundError(
                f"there is no collection {str(name)[:64]!r}", hint="create it first; GET /v1/collections lists them"
            )
        return entry

    def collections(self, tenant: str) -> list[CollectionInfo]:
        """Return the names and settings of all collections of a tenant, sorted by name."""
        with self._lock:
            entries = list(self._entries.get(tenant, {}).values())
        return sorted((entry.info for entry in entries), key=lambda info: info.name)

    async def acreate_collection(
        self, tenant: str, info: CollectionInfo, *, exist_ok: bool, make_folder: Callable[[str], None]
    ) -> CollectionInfo:
        """Add a new collection to the catalog; it is durable on return.

        Args:
            tenant: the tenant.
            info: the name and the settings of the collection, validated.
            exist_ok: return an existing collection of that name with equal settings instead of raising.
            make_folder: creates an empty, durable folder of the given name before the catalog refers to it.

        Raises:
            CollectionExistsError: a collection of that name exists, with other settings or without `exist_ok`.
            InvalidInputError: the tenant has `max_collections` collections already.
        """
        self._check_open()
        return await self._writer.submit(lambda: self._create(tenant, info, exist_ok, make_folder))

    async def adelete_collection(self, tenant: str, name: str) -> Entry | None:
        """Delete a collection from the catalog; return its entry, or None if it does not exist.

        Its folder is recorded for removal. The deletion is durable on return.
        """
        self._check_open()
        return await self._writer.submit(lambda: self._delete(tenant, name))

    def has_agent(self, tenant: str, name: str) -> bool:
        """Return whether an agent has settings of its own, from the configuration file or the API."""
        return (tenant, name) in self._declared.agents or self._has_stored(tenant, name)

    def agent_settings(self, tenant: str, name: str) -> AgentSettings:
        """Return the settings of an agent, or the default settings when it has none.

        Raises:
            CorruptStoreError: the catalog's row of the agent is damaged.
        """
        declared = self._declared.agents.get((tenant, name))
        if declared is not None:
            return declared
        if (tenant, name) in self._unreadable_agents:  # the defaults could name another namespace
            raise CorruptStoreError(
                f"the settings of the agent {name!r} are damaged", hint="set them again: PUT /v1/agents/{agent}"
            )
        stored = self._agents.get(tenant, {}).get(name)
        return _DEFAULTS if stored is None else stored[0]

    def agents(self, tenant: str) -> list[AgentInfo]:
        """Return the name and settings of each agent of a tenant that has settings, sorted by name."""
        with self._lock:
            created = dict(self._agents.get(tenant, {}))
        infos = {name: settings.info(name, updated_at=at) for name, (settings, at) in created.items()}
        infos |= {
            name: settings.info(name, updated_at=None)
            for (declared_tenant, name), settings in self._declared.agents.items()
            if declared_tenant == tenant
        }
        return [infos[name] for name in sorted(infos)]

    async def aput_agent(
        self, tenant: str, name: str, settings: AgentSettings, *, updated_at: float | None = None
    ) -> AgentInfo:
        """Set or replace the settings of an agent; they are durable on return.

        `updated_at` is the time of the change; the current time when None.

        Raises:
            InvalidInputError: the agent is declared in the configuration file, or the tenant has `max_agents` agents
                with settings already.
        """
        self._check_open()
        self._check_undeclared(tenant, name)
        return await self._writer.submit(lambda: self._put_agent(tenant, name, settings, updated_at))

    async def adelete_agent(self, tenant: str, name: str) -> bool:
        """Reset an agent to the default settings; its memories (stored texts) are kept.

        Returns:
            False when the agent had no settings.

        Raises:
            InvalidInputError: the agent is declared in the configuration file.
        """
        self._check_open()
        self._check_undeclared(tenant, name)
        return await self._writer.submit(lambda: self._delete_agent(tenant, name))

    def deleted_folders(self) -> list[str]:
        """Return the names of deleted collections' folders that are still to be removed. Blocks."""
        in_use = self.collection_folders()
        return [
            folder
            for (folder,) in self._select("SELECT id FROM deleted")
            if is_collection_id(folder) and folder not in in_use
        ]

    def forget_deleted_folder(self, folder: str) -> None:
        """Record that the folder of a deleted collection has been removed from disk. Blocks."""
        self._writer.submit(lambda: self._write([("DELETE FROM deleted WHERE id = ?", (folder,))])).wait()

    def collection_folders(self) -> set[str]:
        """Return the names of the folders of all collections of all tenants."""
        with self._lock:
            return {entry.id for entries in self._entries.values() for entry in entries.values()}

    def _create(
        self, tenant: str, info: CollectionInfo, exist_ok: bool, make_folder: Callable[[str], None]
    ) -> CollectionInfo:
        self._check_readable(tenant, info.name)
        entries = self._entries.get(tenant, {})
        if info.name in entries:
            existing = entries[info.name].info
            if exist_ok and _settings(existing) == _settings(info):
                return existing
            raise CollectionExistsError(
                f"there is a collection {info.name!r} already, of dim {existing.dim}, {existing.metric}, "
                f"{existing.index} and {existing.storage}",
                hint="use it, delete it, or choose another name",
            )
        if len(entries) >= self._max_collections:
            raise InvalidInputError(
                f"there are {len(entries)} collections, the most that a tenant may have (max_collections)",
                field="name",
                hint="delete one that is not needed",
            )
        entry = Entry(id=secrets.token_hex(16), info=info)
        make_folder(entry.id)
        values = (tenant, info.name, entry.id, *_settings(info), info.created_at)
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
            del self._entries[tenant][name]
            if not self._entries[tenant]:
                del self._entries[tenant]
        return entry

    def _check_undeclared(self, tenant: str, name: str) -> None:
        if (tenant, name) in self._declared.agents:
            raise InvalidInputError(
                f"the agent {name!r} is declared in the server's configuration file",
                field="agent",
                hint="change it there, and start the server again",
            )

    def _has_stored(self, tenant: str, name: str) -> bool:
        return name in self._agents.get(tenant, {}) or (tenant, name) in self._unreadable_agents

    def _check_readable(self, tenant: str, name: str) -> None:
        if (tenant, name) in self._unreadable_collections:
            raise CorruptStoreError(
                f"the catalog's entry of the collection {name!r} is damaged",
                hint="restore a backup, or use another name; `saa doctor` has details",
            )

    def _put_agent(self, tenant: str, name: str, settings: AgentSettings, updated_at: float | None) -> AgentInfo:
        agents = self._agents.get(tenant, {})
        if name not in agents and len(agents) >= self._max_agents:
            raise InvalidInputError(
                f"{len(agents)} agents have settings, the most that a tenant may have (max_agents)",
                field="agent",
                hint="delete one that is not needed",
            )
        now = time.time() if updated_at is None else updated_at
        values = (tenant, name, settings.model_dump_json(), now)
        self._write([("INSERT OR REPLACE INTO agents VALUES (?, ?, ?, ?)", values)])
        with self._lock:
            self._agents.setdefault(tenant, {})[name] = settings, now
            self._unreadable_agents.discard((tenant, name))
        return settings.info(name, updated_at=now)

    def _delete_agent(self, tenant: str, name: str) -> bool:
        if not self._has_stored(tenant, name):
            return False
        self._write([("DELETE FROM agents WHERE tenant = ? AND name = ?", (tenant, name))])
        with self._lock:
            self._unreadable_agents.discard((tenant, name))
            agents = self._agents.get(tenant, {})
            agents.pop(name, None)
            if not agents:
                self._agents.pop(tenant, None)
        return True

    def _select(self, statement: str) -> list[tuple[str, ...]]:
        try:
            return self._connection.execute(statement).fetchall()
        except sqlite3.Error as exc:
            raise sqlite.map_error(exc) from exc

    def _write(self, statements: Iterable[tuple[str, tuple[object, ...]]]) -> None:
        # One transaction, durable on return. Runs in the single writer thread only.
        try:
            with sqlite.transaction(self._connection, self._watch):
                for statement, values in statements:
                    self._connection.execute(statement, values)
        except sqlite3.Error as exc:
            raise sqlite.map_error(exc) from exc

    def _release(self) -> None:
        self._writer.close()
        self._watch.close()
        self._connection.close()


def new_collection(name: str, dim: int, metric: str, index: str, storage: str) -> CollectionInfo:
    """Return the `CollectionInfo` of a new collection, with the current time as `created_at`."""
    return CollectionInfo(name=name, dim=dim, metric=metric, index=index, storage=storage, created_at=time.time())


def _settings(info: CollectionInfo) -> tuple[int, str, str, str]:
    return info.dim, info.metric, info.index, info.storage


def _log_problems(rows: CatalogRows) -> None:
    for problem in rows.problems[:_MAX_LOGGED]:
        _log.error("server.catalog_row_damaged", extra={"reason": problem})
    if len(rows.problems) > _MAX_LOGGED:
        _log.error("server.catalog_rows_damaged", extra={"count": len(rows.problems)})


def _open_database(file: Path) -> sqlite3.Connection:
    private_folder(file.parent)
    return sqlite.open_database(file, SCHEMA)
