"""What every tenant created by API, and what was declared: collections and agents, in a small database."""

from __future__ import annotations

import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from super_advanced_agents._runtime import sqlite
from super_advanced_agents._runtime.batcher import Workers
from super_advanced_agents._runtime.files import translated
from super_advanced_agents._runtime.flushing import fsync_folder
from super_advanced_agents._runtime.lifecycle import Resource
from super_advanced_agents.errors import (
    CollectionExistsError,
    CollectionNotFoundError,
    InvalidInputError,
)
from super_advanced_agents.tenancy.config_file import AgentSettings, Declared
from super_advanced_agents.types import AgentInfo, CollectionInfo

T = TypeVar("T")

_SCHEMA = sqlite.Schema(
    version=1,
    application_id=0x53414143,  # "SAAC"
    tables="""
CREATE TABLE collections (
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    id TEXT NOT NULL UNIQUE, -- of its folder; a name never becomes a path
    dim INTEGER NOT NULL,
    metric TEXT NOT NULL,
    "index" TEXT NOT NULL,
    storage TEXT NOT NULL,
    created_at REAL NOT NULL,
    PRIMARY KEY (tenant, name)
) WITHOUT ROWID;
CREATE TABLE deleted (id TEXT PRIMARY KEY) WITHOUT ROWID; -- collections whose folders are still to be removed
CREATE TABLE agents (
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    settings TEXT NOT NULL, -- JSON
    updated_at REAL NOT NULL,
    PRIMARY KEY (tenant, name)
) WITHOUT ROWID;
""",
)
_MAX_WAITING = 1_024
_DEFAULTS = AgentSettings()


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A collection and the name of its folder."""

    id: str
    info: CollectionInfo


class Catalog(Resource):
    """The collections there are, all of them in memory; what changes is in the database before it is told.

    One process has it: whoever owns the store beside it.

    Args:
        file: the database, made when missing, in a folder that is made as well. Opening blocks.
        declared: the agents of the configuration file; they are not written down here.
        max_collections: how many one tenant may have.
        max_agents: how many one tenant may give settings to.

    Raises:
        StoreError: it cannot be used.
        CorruptStoreError: it is damaged.
    """

    def __init__(self, file: Path, declared: Declared, *, max_collections: int, max_agents: int) -> None:
        self._connection = _opened(file)
        super().__init__()
        self._declared = declared
        self._max_collections = max_collections
        self._max_agents = max_agents
        self._agents: dict[str, dict[str, tuple[AgentSettings, float]]] = {}
        self._entries: dict[str, dict[str, Entry]] = {}
        self._reading = threading.Lock()
        self._writer = Workers(name="server catalog", threads=1, max_queue=_MAX_WAITING)
        try:
            for tenant, name, folder, *settings in self._select(
                'SELECT tenant, name, id, dim, metric, "index", storage, created_at FROM collections'
            ):
                self._entries.setdefault(tenant, {})[name] = Entry(id=folder, info=_info(name, settings))
            for tenant, name, given, updated_at in self._select(
                "SELECT tenant, name, settings, updated_at FROM agents"
            ):
                self._agents.setdefault(tenant, {})[name] = AgentSettings.model_validate_json(given), float(updated_at)
        except BaseException:
            self._connection.close()
            raise

    def collection(self, tenant: str, name: str) -> Entry:
        """The tenant's collection of that name.

        Raises:
            CollectionNotFoundError: there is none.
        """
        found = self._entries.get(tenant, {}).get(name)
        if found is None:
            raise CollectionNotFoundError(
                f"there is no collection {str(name)[:64]!r}", hint="create it first; GET /v1/collections lists them"
            )
        return found

    def collections(self, tenant: str) -> list[CollectionInfo]:
        """All of a tenant's, by name."""
        with self._reading:
            entries = list(self._entries.get(tenant, {}).values())
        return sorted((entry.info for entry in entries), key=lambda info: info.name)

    async def acreate_collection(
        self, tenant: str, wanted: CollectionInfo, *, exist_ok: bool, make_folder: Callable[[str], None]
    ) -> CollectionInfo:
        """Write down a new collection; returned means durable.

        Args:
            tenant: whose.
            wanted: its settings, checked.
            exist_ok: one of that name with the same settings is as good.
            make_folder: makes the folder of that name, empty and durable, before anything refers to it.

        Raises:
            CollectionExistsError: there is one, with other settings or without `exist_ok`.
            InvalidInputError: the tenant has as many as it may.
        """
        self._check_open()
        return await self._writer.submit(lambda: self._create(tenant, wanted, exist_ok, make_folder))

    async def adelete_collection(self, tenant: str, name: str) -> Entry | None:
        """Strike a collection out, and remember that its folder is to be removed; None when there is none."""
        self._check_open()
        return await self._writer.submit(lambda: self._delete(tenant, name))

    def has_agent(self, tenant: str, name: str) -> bool:
        """Whether the tenant's agent of that name was given settings."""
        return (tenant, name) in self._declared.agents or name in self._agents.get(tenant, {})

    def agent_settings(self, tenant: str, name: str) -> AgentSettings:
        """What the tenant's agent of that name was given, or the defaults."""
        declared = self._declared.agents.get((tenant, name))
        if declared is not None:
            return declared
        found = self._agents.get(tenant, {}).get(name)
        return _DEFAULTS if found is None else found[0]

    def agents(self, tenant: str) -> list[AgentInfo]:
        """All agents of a tenant that were given settings, by name."""
        with self._reading:
            created = dict(self._agents.get(tenant, {}))
        infos = {name: settings.info(name, updated_at=at) for name, (settings, at) in created.items()}
        infos |= {
            name: settings.info(name, updated_at=None)
            for (owner, name), settings in self._declared.agents.items()
            if owner == tenant
        }
        return [infos[name] for name in sorted(infos)]

    async def aput_agent(self, tenant: str, name: str, settings: AgentSettings) -> AgentInfo:
        """Give an agent settings in place of what it had; returned means durable.

        Raises:
            InvalidInputError: it is declared in the configuration file, or the tenant has as many as it may.
        """
        self._check_open()
        self._check_undeclared(tenant, name)
        return await self._writer.submit(lambda: self._put_agent(tenant, name, settings))

    async def adelete_agent(self, tenant: str, name: str) -> bool:
        """Give an agent the defaults again; False when it has them. Its memories stay.

        Raises:
            InvalidInputError: it is declared in the configuration file.
        """
        self._check_open()
        self._check_undeclared(tenant, name)
        return await self._writer.submit(lambda: self._delete_agent(tenant, name))

    def leftovers(self) -> list[str]:
        """The folders of deleted collections that were not removed yet. Blocks."""
        return [folder for (folder,) in self._select("SELECT id FROM deleted")]

    def forget_leftover(self, folder: str) -> None:
        """A deleted collection's folder is gone. Blocks."""
        self._writer.submit(lambda: self._write([("DELETE FROM deleted WHERE id = ?", (folder,))])).wait()

    def known(self) -> set[str]:
        """The folders of all collections there are."""
        with self._reading:
            return {entry.id for entries in self._entries.values() for entry in entries.values()}

    def _create(
        self, tenant: str, wanted: CollectionInfo, exist_ok: bool, make_folder: Callable[[str], None]
    ) -> CollectionInfo:
        mine = self._entries.get(tenant, {})
        if wanted.name in mine:
            found = mine[wanted.name].info
            if exist_ok and _settings(found) == _settings(wanted):
                return found
            raise CollectionExistsError(
                f"there is a collection {wanted.name!r} already, of dim {found.dim}, {found.metric}, "
                f"{found.index} and {found.storage}",
                hint="use it, delete it, or choose another name",
            )
        if len(mine) >= self._max_collections:
            raise InvalidInputError(
                f"there are {len(mine)} collections, as many as there may be (max_collections)",
                field="name",
                hint="delete one that is not needed",
            )
        entry = Entry(id=secrets.token_hex(16), info=wanted)
        make_folder(entry.id)
        info = wanted
        values = (tenant, info.name, entry.id, *_settings(info), info.created_at)
        self._write([("INSERT INTO collections VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)])
        with self._reading:
            self._entries.setdefault(tenant, {})[info.name] = entry
        return info

    def _delete(self, tenant: str, name: str) -> Entry | None:
        entry = self._entries.get(tenant, {}).get(name)
        if entry is None:
            return None
        self._write(
            [
                ("INSERT INTO deleted VALUES (?)", (entry.id,)),
                ("DELETE FROM collections WHERE id = ?", (entry.id,)),
            ]
        )
        with self._reading:
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

    def _put_agent(self, tenant: str, name: str, settings: AgentSettings) -> AgentInfo:
        mine = self._agents.get(tenant, {})
        if name not in mine and len(mine) >= self._max_agents:
            raise InvalidInputError(
                f"{len(mine)} agents have settings, as many as may have (max_agents)",
                field="agent",
                hint="delete one that is not needed",
            )
        now = time.time()
        values = (tenant, name, settings.model_dump_json(), now)
        self._write([("INSERT OR REPLACE INTO agents VALUES (?, ?, ?, ?)", values)])
        with self._reading:
            self._agents.setdefault(tenant, {})[name] = settings, now
        return settings.info(name, updated_at=now)

    def _delete_agent(self, tenant: str, name: str) -> bool:
        if name not in self._agents.get(tenant, {}):
            return False
        self._write([("DELETE FROM agents WHERE tenant = ? AND name = ?", (tenant, name))])
        with self._reading:
            del self._agents[tenant][name]
            if not self._agents[tenant]:
                del self._agents[tenant]
        return True

    def _select(self, statement: str) -> list[tuple[str, ...]]:
        try:
            return self._connection.execute(statement).fetchall()
        except sqlite3.Error as exc:
            raise sqlite.translated(exc) from exc

    def _write(self, statements: Iterable[tuple[str, tuple[object, ...]]]) -> None:
        """All of them or none; returned means durable. Runs in the one writer."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                for statement, values in statements:
                    self._connection.execute(statement, values)
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as exc:
            raise sqlite.translated(exc) from exc

    def _release(self) -> None:
        self._writer.close()
        self._connection.close()


def new_collection(name: str, dim: int, metric: str, index: str, storage: str) -> CollectionInfo:
    """A collection that begins now."""
    return CollectionInfo(name=name, dim=dim, metric=metric, index=index, storage=storage, created_at=time.time())


def _settings(info: CollectionInfo) -> tuple[int, str, str, str]:
    return info.dim, info.metric, info.index, info.storage


def _info(name: str, settings: list[str]) -> CollectionInfo:
    dim, metric, index, storage, created_at = settings
    return CollectionInfo(
        name=name, dim=int(dim), metric=metric, index=index, storage=storage, created_at=float(created_at)
    )


def _opened(file: Path) -> sqlite3.Connection:
    """A connection to a database of this version, whose tables are there."""
    try:
        new_folder = not file.parent.is_dir()
        file.parent.mkdir(parents=True, exist_ok=True)
        if new_folder:
            fsync_folder(file.parent.parent)
    except OSError as exc:
        raise translated(exc, file.parent) from exc
    return sqlite.opened(file, _SCHEMA)
