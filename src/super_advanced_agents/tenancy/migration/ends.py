"""The source and the target of a migration: the memories, catalog and collections at a URL."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from super_advanced_agents.config import CATALOG_FILE, COLLECTIONS_FOLDER, DEFAULT_TENANT, STORE_FOLDER
from super_advanced_agents.errors import ConfigurationError
from super_advanced_agents.stores import VectorStore
from super_advanced_agents.stores.local.maintenance import has_store, open_local_store, upgrade_if_older
from super_advanced_agents.stores.migration import EngineRecords, FolderRecords, Records, open_existing
from super_advanced_agents.stores.opening import folder_of, open_store
from super_advanced_agents.stores.options import Metric
from super_advanced_agents.tenancy.catalog import Catalog, Entry, SQLiteCatalog
from super_advanced_agents.tenancy.catalog.postgres import PostgresCatalog
from super_advanced_agents.tenancy.catalog.rows import CatalogRows
from super_advanced_agents.tenancy.collection_places import CollectionPlace, place_of
from super_advanced_agents.tenancy.collection_pool import Collections
from super_advanced_agents.tenancy.config_file import Declared
from super_advanced_agents.tenancy.data_folder.saving import read_catalog_of
from super_advanced_agents.tenancy.shared_state import SharedState, is_shared

_MAX_OPEN = 4
_LIMITS = {"max_collections": 1_000_000_000, "max_agents": 1_000_000_000}


class CatalogSource(Protocol):
    """Read the collections and settings of agents of all tenants. All methods block."""

    def rows(self) -> CatalogRows:
        """Return what the catalog holds now."""

    def records(self, entry: Entry) -> Records | None:
        """Return the records of a collection; None if nothing was ever stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Hold what is moved.

    Attributes:
        records: the memories of all tenants.
        folder: the folder of the store; None for an engine.
        catalog: collections and settings; None where the URL names a store alone.
    """

    records: Records
    folder: Path | None
    catalog: CatalogSource | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Hold what everything is moved to.

    Attributes:
        store: the store of memories.
        records: the same, to read all tenants of.
        folder: the folder of the store; None for an engine.
        catalog: collections and settings; None where these are not in the engine, but in the servers' data folder.
        collections: the collections' stores.
    """

    store: VectorStore
    records: Records
    folder: Path | None
    catalog: Catalog | None = None
    collections: Collections | None = None


def open_source(url: str, stack: ExitStack, *, state: str | None) -> Source:
    """Open the store of a URL to read it; nothing is changed there. Blocks.

    Args:
        url: the URL.
        stack: closes what is opened.
        state: the PostgreSQL database with the catalog, where the store itself has no place for it.

    Raises:
        StoreError: there is none.
        ConfigurationError: the URL is wrong.
        EngineUnavailableError: the engine cannot be reached.
    """
    folder = folder_of(url) if ":" in url else None
    if folder is None:
        existing = open_existing(url)
        stack.enter_context(existing.store)
        records = EngineRecords(existing.store, existing.metric)
        state_url = state or (url if is_shared(url) else None)
        catalog = None if state_url is None else _EngineCatalog(url, state_url, stack)
        return Source(records=records, folder=None, catalog=catalog)
    _refuse_state(state)
    is_data_folder = has_store(folder / STORE_FOLDER)
    store = folder / STORE_FOLDER if is_data_folder else folder
    if has_store(store):
        upgrade_if_older(store)
    return Source(
        records=FolderRecords(store), folder=store, catalog=_FolderCatalog(folder) if is_data_folder else None
    )


def open_target(url: str, source: Source, stack: ExitStack, *, state: str | None) -> Target:
    """Open or create the store of a URL to write to, with the source's dimension and metric. Blocks.

    Args:
        url: the URL.
        source: what is moved.
        stack: closes what is opened.
        state: the PostgreSQL database with the catalog, where the store itself has no place for it.

    Raises:
        ConfigurationError: it has another dimension or metric, or the URL is wrong.
        EngineUnavailableError: the engine cannot be reached.
    """
    dim, metric = source.records.dim, source.records.metric
    folder = folder_of(url) if ":" in url else None
    if folder is None:
        store = stack.enter_context(open_store(url, dim=dim, metric=cast("Metric", metric)))
        target = Target(store=store, records=EngineRecords(store, metric), folder=None)
        state_url = state or (url if is_shared(url) else None)
        if state_url is None or source.catalog is None:
            return target
        shared = stack.enter_context(SharedState(state_url))
        shared.open()
        catalog: Catalog = stack.enter_context(PostgresCatalog(shared, Declared(), **_LIMITS))
        place = place_of(url, Path())
    else:
        _refuse_state(state)
        is_store = has_store(folder)
        where = folder if is_store else folder / STORE_FOLDER
        local = stack.enter_context(open_local_store(where, dim=dim, metric=metric))
        records = FolderRecords(where)
        if (records.dim, records.metric) != (dim, metric):
            raise ConfigurationError(
                f"the target holds vectors of {records.dim} numbers and the metric {records.metric!r}, the source of "
                f"{dim} and {metric!r}",
                hint="name another folder with --to",
            )
        target = Target(store=local, records=records, folder=where)
        if is_store or source.catalog is None:
            return target
        catalog = stack.enter_context(SQLiteCatalog(folder / CATALOG_FILE, Declared(), **_LIMITS))
        place = place_of(url, folder / COLLECTIONS_FOLDER)
    collections = stack.enter_context(Collections(catalog, place, max_open=_MAX_OPEN))
    return Target(
        store=target.store, records=target.records, folder=target.folder, catalog=catalog, collections=collections
    )


def _refuse_state(state: str | None) -> None:
    if state is not None:
        raise ConfigurationError(
            "a data folder holds its own catalog", hint="leave out --from-state and --to-state for it"
        )


class _FolderCatalog:
    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir

    def rows(self) -> CatalogRows:
        return read_catalog_of(self._data_dir)

    def records(self, entry: Entry) -> Records | None:
        folder = self._data_dir / COLLECTIONS_FOLDER / entry.id
        return FolderRecords(folder) if has_store(folder) else None


class _EngineCatalog:
    def __init__(self, url: str, state_url: str, stack: ExitStack) -> None:
        self._stack = stack
        self._place: CollectionPlace = place_of(url, Path())
        self._state = stack.enter_context(SharedState(state_url))
        self._state.open()
        self._stores: dict[str, VectorStore] = {}

    def rows(self) -> CatalogRows:
        with PostgresCatalog(self._state, Declared(), **_LIMITS) as catalog:
            return catalog.rows()

    def records(self, entry: Entry) -> Records | None:
        if entry.id not in self._stores:
            self._stores[entry.id] = self._stack.enter_context(self._place.open(entry))
        return EngineRecords(self._stores[entry.id], entry.info.metric, [DEFAULT_TENANT])
