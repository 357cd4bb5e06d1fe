"""Moving of all that tenants have to another store: memories, collections and settings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from super_advanced_agents.config import DEFAULT_TENANT
from super_advanced_agents.errors import ConfigurationError, StoreError
from super_advanced_agents.stores import VectorStore
from super_advanced_agents.stores.local import has_store, open_local_store, upgrade_if_older
from super_advanced_agents.stores.migration import (
    EngineRecords,
    FolderRecords,
    Journal,
    Moved,
    Records,
    StoreMigration,
    open_existing,
)
from super_advanced_agents.stores.opening import folder_of, open_store
from super_advanced_agents.stores.options import Metric
from super_advanced_agents.tenancy.catalog import Catalog
from super_advanced_agents.tenancy.catalog_rows import CatalogRows
from super_advanced_agents.tenancy.collection_pool import Collections
from super_advanced_agents.tenancy.config_file import Declared, Key
from super_advanced_agents.tenancy.data_folder.saving import CATALOG, COLLECTIONS_FOLDER, STORE_FOLDER, read_catalog_of
from super_advanced_agents.tenancy.store_wrappers import CollectionStore

_MAX_OPEN = 4
_MANY = 1_000_000_000
_PAUSE_S = 1.0
"""The pause between two looks for what was written to the source meanwhile."""
_MEMORIES = "memories"


@dataclass(slots=True, kw_only=True)
class Migrated:
    """Count what a migration moved.

    Attributes:
        parts: the counts of the memories, and of each collection by tenant and name.
        agents: the number of agents whose settings were stored.
        models: the embedding models of the memories.
        equal: whether source and target were equal at the last comparison.
    """

    parts: dict[str, Moved] = field(default_factory=dict)
    agents: int = 0
    models: list[str] = field(default_factory=list)
    equal: bool = False


class Migration:
    """Move what all tenants have from one store to another, while the first one is used.

    Args:
        source: the URL of the store to read; the folder of a local store may be that of a data folder, too.
        target: the URL of the store to write to, which must be empty or have been begun by the same migration.
        state_dir: the folder of the notes of progress.
        on_step: called with a step's name and the expected number of records, or None.
        on_records: called with the number of records that were copied or compared since the last call.
    """

    def __init__(
        self,
        source: str,
        target: str,
        state_dir: Path,
        *,
        on_step: Callable[[str, int | None], None],
        on_records: Callable[[int], None],
    ) -> None:
        self._urls = source, target
        self._state_dir = state_dir
        self._on_step = on_step
        self._on_records = on_records
        self._migrations: dict[str, StoreMigration] = {}
        self.migrated = Migrated()

    async def arun(self, stop: asyncio.Event | None = None) -> Migrated:
        """Copy everything, and compare it; go on with what is written meanwhile until `stop` is set.

        Args:
            stop: None to end as soon as source and target are equal.

        Raises:
            ConfigurationError: a URL is wrong, both are of one store, or the target has another dimension or metric.
            StoreError: there is no source, the target has other records, or does not return them as written.
            EngineUnavailableError: a store cannot be reached.
        """
        with ExitStack() as stack:
            journal = Journal(self._state_dir, *self._urls)
            stack.callback(journal.close)
            source = await asyncio.to_thread(_open_source, self._urls[0], stack)
            expected = await source.records.count()
            target = await asyncio.to_thread(_open_target, self._urls[1], source.records, stack)
            if _same(source.folder, target.folder):
                raise ConfigurationError("source and target are one store", hint="name another one with --to")
            if journal.is_new and await target.records.count():
                raise StoreError(
                    "the target has records already, which a migration would mix with those of the source",
                    hint="name an empty store; a migration that was begun is continued where --data-dir is the same",
                )
            journal.save(_MEMORIES, journal.mark(_MEMORIES))
            self._add(_MEMORIES, source.records, target.store, target.records, journal)
            await self._move_catalog(source, target, journal)
            self._on_step("copying", expected)
            for migration in self._migrations.values():
                await migration.acopy()
            while stop is not None and not stop.is_set():
                self._on_step("following", None)
                await self._move_catalog(source, target, journal)
                for migration in list(self._migrations.values()):
                    await migration.acopy()
                await _pause(stop)
            await self._move_catalog(source, target, journal)
            finished = [await migration.afinish() for migration in list(self._migrations.values())]
            self.migrated.equal = all(finished)
            memories = self._migrations[_MEMORIES].moved.tallies
            self.migrated.models = sorted({model for tally in memories.values() for model in tally.models})
            self.migrated.parts = {name: migration.moved for name, migration in self._migrations.items()}
            return self.migrated

    def _add(self, name: str, source: Records, target: VectorStore, records: Records, journal: Journal) -> None:
        if name not in self._migrations:
            self._migrations[name] = StoreMigration(
                source,
                target,
                records,
                journal=journal,
                part=name,
                on_step=lambda step: self._on_step(step, None),
                on_records=self._on_records,
            )

    async def _move_catalog(self, source: _Source, target: _Target, journal: Journal) -> None:
        rows = source.catalog()
        if rows is None or target.catalog is None or target.collections is None:
            return
        for (tenant, name), (settings, updated_at) in rows.agents.items():
            if not target.has_agent((tenant, name), updated_at):
                await target.catalog.aput_agent(tenant, name, settings, updated_at=updated_at)
                self.migrated.agents += 1
        for (tenant, _), entry in rows.collections.items():
            records = source.collection(entry.id)
            if records is None:
                continue
            await target.collections.acreate(tenant, entry.info, exist_ok=True)
            made = target.catalog.collection(tenant, entry.info.name)
            store = CollectionStore(target.collections, tenant, made)
            read = EngineRecords(store, entry.info.metric, [DEFAULT_TENANT])
            self._add(f"{tenant}/{entry.info.name}", records, store, read, journal)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    records: Records
    folder: Path | None
    data_dir: Path | None

    def catalog(self) -> CatalogRows | None:
        return None if self.data_dir is None else read_catalog_of(self.data_dir)

    def collection(self, entry_id: str) -> Records | None:
        assert self.data_dir is not None
        folder = self.data_dir / COLLECTIONS_FOLDER / entry_id
        return FolderRecords(folder) if has_store(folder) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    store: VectorStore
    records: Records
    folder: Path | None
    catalog: Catalog | None
    collections: Collections | None

    def has_agent(self, key: Key, updated_at: float) -> bool:
        assert self.catalog is not None
        return any(info.name == key[1] and info.updated_at == updated_at for info in self.catalog.agents(key[0]))


def _open_source(url: str, stack: ExitStack) -> _Source:
    folder = folder_of(url)
    if folder is None:
        existing = open_existing(url)
        stack.enter_context(existing.store)
        return _Source(records=EngineRecords(existing.store, existing.metric), folder=None, data_dir=None)
    data_dir = folder if has_store(folder / STORE_FOLDER) else None
    store = folder / STORE_FOLDER if data_dir else folder
    upgrade_if_older(store) if has_store(store) else None
    return _Source(records=FolderRecords(store), folder=store, data_dir=data_dir)


def _open_target(url: str, source: Records, stack: ExitStack) -> _Target:
    folder = folder_of(url)
    if folder is None:
        store = stack.enter_context(open_store(url, dim=source.dim, metric=cast("Metric", source.metric)))
        records: Records = EngineRecords(store, source.metric)
        return _Target(store=store, records=records, folder=None, catalog=None, collections=None)
    data_dir = None if has_store(folder) else folder
    place = folder if data_dir is None else folder / STORE_FOLDER
    local = stack.enter_context(open_local_store(place, dim=source.dim, metric=source.metric))
    records = FolderRecords(place)
    if (records.dim, records.metric) != (source.dim, source.metric):
        raise ConfigurationError(
            f"the target holds vectors of {records.dim} numbers and the metric {records.metric!r}, the source of "
            f"{source.dim} and {source.metric!r}",
            hint="name another folder with --to",
        )
    if data_dir is None:
        return _Target(store=local, records=records, folder=place, catalog=None, collections=None)
    catalog = stack.enter_context(Catalog(data_dir / CATALOG, Declared(), max_collections=_MANY, max_agents=_MANY))
    collections = stack.enter_context(Collections(catalog, data_dir / COLLECTIONS_FOLDER, max_open=_MAX_OPEN))
    return _Target(store=local, records=records, folder=place, catalog=catalog, collections=collections)


def _same(source: Path | None, target: Path | None) -> bool:
    return source is not None and target is not None and source.resolve() == target.resolve()


async def _pause(stop: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(_PAUSE_S):
            await stop.wait()
    except TimeoutError:
        pass
