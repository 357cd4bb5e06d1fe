"""The tables of the catalog, and the reading and validation of their rows.

A row may come from a damaged disk or a crafted backup. Nothing of it is used before it was checked: an identifier
becomes the name of a folder, and a tenant decides who may read what.
"""

from __future__ import annotations

import math
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import get_args

from super_advanced_agents._runtime.disk import sqlite, sqlite_errors
from super_advanced_agents.config import LIMITS, checked_agent_name, checked_name
from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.stores.options import IndexKind, Metric, Storage
from super_advanced_agents.tenancy.config_file import AgentSettings, Key
from super_advanced_agents.types import CollectionInfo

SCHEMA = sqlite.Schema(
    version=1,
    application_id=0x53414143,  # "SAAC"
    tables="""
CREATE TABLE collections (
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    id TEXT NOT NULL UNIQUE, -- the name of its folder; a name from a request never becomes a path
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
_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
_SELECT_COLLECTIONS = 'SELECT tenant, name, id, dim, metric, "index", storage, created_at FROM collections'
_CHOICES = (("metric", get_args(Metric)), ("index", get_args(IndexKind)), ("storage", get_args(Storage)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A collection's entry in the catalog: its permanent identifier, its name and its settings.

    Attributes:
        id: the permanent identifier, which is the name of the collection's folder.
        info: the name and the settings of the collection.
    """

    id: str
    info: CollectionInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogRows:
    """Hold the valid rows of a catalog, and name those that cannot be read.

    Attributes:
        collections: the collections, by tenant and name.
        agents: the settings of agents and the times of their last changes, by tenant and name.
        ids: the identifiers of all collections.
        deleted: the identifiers of deleted collections whose folders are still to be removed.
        unreadable_collections: the tenants and names of collections whose rows are not valid.
        unreadable_agents: the tenants and names of agents whose rows are not valid.
        problems: for each row that is not valid, its table and the reason; no names.
    """

    collections: dict[Key, Entry] = field(default_factory=dict)
    agents: dict[Key, tuple[AgentSettings, float]] = field(default_factory=dict)
    ids: set[str] = field(default_factory=set)
    deleted: list[str] = field(default_factory=list)
    unreadable_collections: set[Key] = field(default_factory=set)
    unreadable_agents: set[Key] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)


def is_collection_id(value: object) -> bool:
    """Return whether a value is the identifier of a collection: 32 hexadecimal digits."""
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def read_catalog(connection: sqlite3.Connection) -> CatalogRows:
    """Read every row of a catalog in one read transaction, and return the valid ones.

    Raises:
        StoreError: the database cannot be read.
        CorruptStoreError: it is damaged, or has no tables of a catalog.
    """
    rows = CatalogRows()
    try:
        with _lenient_snapshot(connection):
            for row in connection.execute(_SELECT_COLLECTIONS):
                add_collection(rows, row)
            for row in connection.execute("SELECT tenant, name, settings, updated_at FROM agents"):
                add_agent(rows, row)
            for (deleted,) in connection.execute("SELECT id FROM deleted"):
                if is_collection_id(deleted) and deleted not in rows.ids:
                    rows.deleted.append(deleted)
                else:
                    rows.problems.append("deleted: the identifier is not one of a deleted collection")
    except sqlite3.Error as exc:
        raise sqlite_errors.map_error(exc) from exc
    return rows


@contextmanager
def _lenient_snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    # A text that is not UTF-8 would otherwise fail the reading of all rows. With replacement characters it is no valid
    # name, so only its own row is refused.
    connection.text_factory = lambda content: content.decode(errors="replace")
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.text_factory = str
        connection.execute("ROLLBACK")


def add_collection(rows: CatalogRows, row: Sequence[object]) -> None:
    """Check a row of a collection, and add it to the valid ones or to the problems."""
    tenant, name, folder, dim, *choices, created_at = row
    try:
        key = _key(tenant, name)
    except InvalidInputError as exc:
        rows.problems.append(f"collections: the {exc.field} is not a name")
        return
    problem = ""
    if not is_collection_id(folder):
        problem = "the identifier is not 32 hexadecimal digits"
    elif folder in rows.ids:
        problem = "the identifier is that of another collection"
    elif type(dim) is not int or not 1 <= dim <= LIMITS.dim:
        problem = "the dimension is not valid"
    elif not _is_time(created_at):
        problem = "the time is not valid"
    for (setting, known), value in zip(_CHOICES, choices, strict=True):
        if value not in known:
            problem = f"the {setting} is unknown"
    if problem:
        rows.unreadable_collections.add(key)
        rows.problems.append(f"collections: {problem}")
        return
    metric, index, storage = map(str, choices)
    info = CollectionInfo(
        name=key[1], dim=int(str(dim)), metric=metric, index=index, storage=storage, created_at=float(str(created_at))
    )
    rows.collections[key] = Entry(id=str(folder), info=info)
    rows.ids.add(str(folder))


def add_agent(rows: CatalogRows, row: Sequence[object]) -> None:
    """Check a row of an agent with settings, and add it to the valid ones or to the problems."""
    tenant, name, settings_json, updated_at = row
    try:
        key = checked_name(tenant, "tenant"), checked_agent_name(name, "name")  # type: ignore[arg-type]  # as above
    except InvalidInputError as exc:
        rows.problems.append(f"agents: the {exc.field} is not a name")
        return
    try:
        if not isinstance(settings_json, str | bytes) or not _is_time(updated_at):
            raise ValueError("types")
        rows.agents[key] = AgentSettings.model_validate_json(settings_json), float(str(updated_at))
    except ValueError:  # pydantic's ValidationError is one, and quotes the values
        rows.unreadable_agents.add(key)
        rows.problems.append("agents: the settings are not valid")


def _key(tenant: object, name: object) -> Key:
    return checked_name(tenant, "tenant"), checked_name(name, "name")  # type: ignore[arg-type]  # it checks the types


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
