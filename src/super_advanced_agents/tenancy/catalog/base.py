"""The catalog of all tenants in memory: collections and agent settings."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable

from cachetools import LRUCache

from super_advanced_agents._runtime.concurrency.lifecycle import Resource
from super_advanced_agents.errors import (
    CollectionExistsError,
    CollectionNotFoundError,
    CorruptStoreError,
    InvalidInputError,
)
from super_advanced_agents.telemetry import get_logger
from super_advanced_agents.tenancy.catalog.rows import CatalogRows, Entry
from super_advanced_agents.tenancy.config_file import AgentSettings, Declared
from super_advanced_agents.types import AgentInfo, CollectionInfo

_log = get_logger("server")
_MAX_LOGGED = 20
_MAX_LISTED = 256
"""The tenants whose list of agents is kept: a thousand agents take 4 ms of the event loop."""

_DEFAULTS = AgentSettings()


class Catalog(Resource, ABC):
    """Keep the collections and agent settings of all tenants in memory.

    A subclass makes changes durable. A change is durable before it becomes visible.

    Args:
        declared: the agents of the configuration file, which are not stored.
        max_collections: the number of collections that one tenant may have.
        max_agents: the number of agents with settings that one tenant may have.
    """

    def __init__(self, declared: Declared, *, max_collections: int, max_agents: int) -> None:
        super().__init__()
        self._declared = declared
        self._max_collections = max_collections
        self._max_agents = max_agents
        self._agents: dict[str, dict[str, tuple[AgentSettings, float]]] = {}
        self._listed: LRUCache[str, list[AgentInfo]] = LRUCache(_MAX_LISTED)
        self._entries: dict[str, dict[str, Entry]] = {}
        self._unreadable_collections: set[tuple[str, str]] = set()
        self._unreadable_agents: set[tuple[str, str]] = set()
        self._lock = threading.Lock()

    async def arefresh(self) -> None:
        """Read what other processes have changed before this call began.

        Raises:
            EngineUnavailableError: the database of the catalog cannot be reached.
        """

    def check_files(self) -> None:
        """Raise if a file of the database was removed, replaced, emptied or cut by others.

        What only a lost write-ahead log holds is saved into the database. Blocks.

        Raises:
            StoreError: one was; the catalog can be read, and not changed any more.
        """

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

    @abstractmethod
    async def acreate_collection(
        self, tenant: str, info: CollectionInfo, *, exist_ok: bool, make_place: Callable[[str], None]
    ) -> CollectionInfo:
        """Add a new collection to the catalog; it is durable on return.

        Args:
            tenant: the tenant.
            info: the name and the settings of the collection, validated.
            exist_ok: return an existing collection of that name with equal settings instead of raising.
            make_place: creates an empty, durable place for the given identifier before the catalog refers to it.

        Raises:
            CollectionExistsError: a collection of that name exists, with other settings or without `exist_ok`.
            InvalidInputError: the tenant has `max_collections` collections already.
        """

    @abstractmethod
    async def adelete_collection(self, tenant: str, name: str) -> Entry | None:
        """Delete a collection from the catalog; return its entry, or None if it does not exist.

        Its folder is recorded for removal. The deletion is durable on return.
        """

    def rows(self) -> CatalogRows:
        """Return the collections, and the stored settings of agents, of all tenants."""
        with self._lock:
            return CatalogRows(
                collections={
                    (tenant, name): entry for tenant, of in self._entries.items() for name, entry in of.items()
                },
                agents={(tenant, name): agent for tenant, of in self._agents.items() for name, agent in of.items()},
            )

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
            listed = self._listed.get(tenant)
            if listed is None:
                listed = self._listed[tenant] = self._list_agents(tenant)
        return list(listed)

    def _list_agents(self, tenant: str) -> list[AgentInfo]:
        created = self._agents.get(tenant, {})
        infos = {name: settings.info(name, updated_at=at) for name, (settings, at) in created.items()}
        infos |= {
            name: settings.info(name, updated_at=None)
            for (declared_tenant, name), settings in self._declared.agents.items()
            if declared_tenant == tenant
        }
        return [infos[name] for name in sorted(infos)]

    @abstractmethod
    async def aput_agent(
        self, tenant: str, name: str, settings: AgentSettings, *, updated_at: float | None = None
    ) -> AgentInfo:
        """Set or replace the settings of an agent; they are durable on return.

        `updated_at` is the time of the change; the current time when None.

        Raises:
            InvalidInputError: the agent is declared in the configuration file, or the tenant has `max_agents` agents
                with settings already.
        """

    @abstractmethod
    async def adelete_agent(self, tenant: str, name: str) -> bool:
        """Reset an agent to the default settings; its memories (stored texts) are kept.

        Returns:
            False when the agent had no settings.

        Raises:
            InvalidInputError: the agent is declared in the configuration file.
        """

    @abstractmethod
    def deleted_collections(self) -> list[str]:
        """Return the identifiers of deleted collections whose records are still to be removed. Blocks."""

    @abstractmethod
    def forget_deleted(self, collection_id: str) -> None:
        """Record that the records of a deleted collection have been removed. Blocks."""

    def collection_ids(self) -> set[str]:
        """Return the identifiers of all collections of all tenants."""
        with self._lock:
            return {entry.id for entries in self._entries.values() for entry in entries.values()}

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

    def _fill(self, rows: CatalogRows) -> None:
        for (tenant, name), entry in rows.collections.items():
            self._entries.setdefault(tenant, {})[name] = entry
        for (tenant, name), agent in rows.agents.items():
            self._set_agent(tenant, name, agent)
        self._unreadable_collections |= rows.unreadable_collections
        self._unreadable_agents |= rows.unreadable_agents
        log_problems(rows)

    def _remove_entry(self, tenant: str, name: str) -> None:
        self._entries[tenant].pop(name)
        if not self._entries[tenant]:
            del self._entries[tenant]

    def _set_agent(self, tenant: str, name: str, agent: tuple[AgentSettings, float]) -> None:
        self._agents.setdefault(tenant, {})[name] = agent
        self._listed.pop(tenant, None)

    def _remove_agent(self, tenant: str, name: str) -> None:
        self._listed.pop(tenant, None)
        self._unreadable_agents.discard((tenant, name))
        agents = self._agents.get(tenant, {})
        agents.pop(name, None)
        if not agents:
            self._agents.pop(tenant, None)

    def _existing(self, existing: CollectionInfo, wanted: CollectionInfo, *, exist_ok: bool) -> CollectionInfo:
        # The collection that has the name already, if the caller may have it instead of a new one.
        if exist_ok and settings_of(existing) == settings_of(wanted):
            return existing
        raise CollectionExistsError(
            f"there is a collection {existing.name!r} already, of dim {existing.dim}, {existing.metric}, "
            f"{existing.index} and {existing.storage}",
            hint="use it, delete it, or choose another name",
        )

    def _check_collections(self, count: int) -> None:
        if count >= self._max_collections:
            raise InvalidInputError(
                f"there are {count} collections, the most that a tenant may have (max_collections)",
                field="name",
                hint="delete one that is not needed",
            )

    def _check_agents(self, count: int) -> None:
        if count >= self._max_agents:
            raise InvalidInputError(
                f"{count} agents have settings, the most that a tenant may have (max_agents)",
                field="agent",
                hint="delete one that is not needed",
            )


def new_collection(name: str, dim: int, metric: str, index: str, storage: str) -> CollectionInfo:
    """Return the `CollectionInfo` of a new collection, with the current time as `created_at`."""
    return CollectionInfo(name=name, dim=dim, metric=metric, index=index, storage=storage, created_at=time.time())


def settings_of(info: CollectionInfo) -> tuple[int, str, str, str]:
    """Return the settings of a collection: its dimension, metric, index and storage."""
    return info.dim, info.metric, info.index, info.storage


def log_problems(rows: CatalogRows) -> None:
    """Log the reasons why rows of a catalog cannot be read, without their names."""
    for problem in rows.problems[:_MAX_LOGGED]:
        _log.error("server.catalog_row_damaged", extra={"reason": problem})
    if len(rows.problems) > _MAX_LOGGED:
        _log.error("server.catalog_rows_damaged", extra={"count": len(rows.problems)})
