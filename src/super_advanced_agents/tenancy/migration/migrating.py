"""Moving of all that tenants have to another store: memories, collections and settings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from super_advanced_agents.config import DEFAULT_TENANT
from super_advanced_agents.errors import ConfigurationError, InvalidInputError, StoreError
from super_advanced_agents.stores import VectorStore
from super_advanced_agents.stores.migration import EngineRecords, Journal, Moved, Records, StoreMigration
from super_advanced_agents.tenancy.catalog import Catalog
from super_advanced_agents.tenancy.catalog.rows import CatalogRows, Entry
from super_advanced_agents.tenancy.collection_pool import Collections
from super_advanced_agents.tenancy.migration.ends import Source, Target, open_source, open_target
from super_advanced_agents.tenancy.store_wrappers import CollectionStore
from super_advanced_agents.types import CollectionInfo

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
        with_catalog: whether collections and settings were moved, too.
    """

    parts: dict[str, Moved] = field(default_factory=dict)
    agents: int = 0
    models: list[str] = field(default_factory=list)
    equal: bool = False
    with_catalog: bool = False


class Migration:
    """Move what all tenants have from one store to another, while the first one is used.

    Args:
        source: the URL of the store to read; the folder of a local store may be that of a data folder, too.
        target: the URL of the store to write to, which must be empty or have been begun by the same migration.
        state_dir: the folder of the notes of progress.
        source_state: the PostgreSQL database with the source's catalog, where its store has no place for it.
        target_state: that of the target.
        on_open: called once both are open, before anything is copied.
        on_step: called with a step's name and the expected number of records, or None.
        on_records: called with the number of records that were copied or compared since the last call.

    Attributes:
        migrated: the counts so far.
    """

    def __init__(
        self,
        source: str,
        target: str,
        state_dir: Path,
        *,
        source_state: str | None = None,
        target_state: str | None = None,
        on_open: Callable[[], None] = lambda: None,
        on_step: Callable[[str, int | None], None],
        on_records: Callable[[int], None],
    ) -> None:
        self._urls = source, target
        self._states = source_state, target_state
        self._on_open = on_open
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
        if self._urls[0] == self._urls[1]:
            raise _one_store()
        with ExitStack() as stack:
            journal = Journal(self._state_dir, *self._urls)
            stack.callback(journal.close)
            source = await asyncio.to_thread(open_source, self._urls[0], stack, state=self._states[0])
            expected = await source.records.count()
            target = await asyncio.to_thread(open_target, self._urls[1], source, stack, state=self._states[1])
            if _same(source.folder, target.folder):
                raise _one_store()
            if journal.is_new and (await target.records.count() or _has_entries(target)):
                raise StoreError(
                    "the target has records, collections or settings already, which a migration would replace",
                    hint="name an empty store; a migration goes on with the --data-dir it was begun with",
                )
            await asyncio.to_thread(self._on_open)
            journal.save(_MEMORIES, journal.mark(_MEMORIES))
            self._add(_MEMORIES, source.records, target.store, target.records, journal)
            await self._move_catalog(source, target, journal)
            self._on_step("copying", expected)
            await self._copy()
            while stop is not None and not stop.is_set():
                self._on_step("following", None)
                await self._move_catalog(source, target, journal)
                await self._copy()
                await _pause(stop)
            await self._move_catalog(source, target, journal)
            finished = [await migration.afinish() for migration in list(self._migrations.values())]
            self.migrated.equal = all(finished)
            memories = self._migrations[_MEMORIES].moved.checksums
            self.migrated.models = sorted({model for checksum in memories.values() for model in checksum.models})
            self.migrated.parts = {name: migration.moved for name, migration in self._migrations.items()}
            return self.migrated

    async def _copy(self) -> None:
        for migration in list(self._migrations.values()):
            await migration.acopy()

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

    async def _move_catalog(self, source: Source, target: Target, journal: Journal) -> None:
        catalog, collections = target.catalog, target.collections
        if source.catalog is None or catalog is None or collections is None:
            return
        self.migrated.with_catalog = True
        rows = await asyncio.to_thread(source.catalog.rows)
        await self._remove_deleted(rows, catalog, collections, journal)
        for (tenant, name), (settings, updated_at) in rows.agents.items():
            known = any(info.name == name and info.updated_at == updated_at for info in catalog.agents(tenant))
            if not known:
                await catalog.aput_agent(tenant, name, settings, updated_at=updated_at)
                self.migrated.agents += 1
        for (tenant, name), entry in rows.collections.items():
            part = f"{tenant}/{name}"
            if part in self._migrations:
                continue
            await collections.acreate(tenant, _suited(entry.info, collections), exist_ok=True)
            records = await asyncio.to_thread(source.catalog.records, entry)
            if records is not None:
                store = CollectionStore(collections, tenant, catalog.collection(tenant, name))
                read = EngineRecords(store, entry.info.metric, [DEFAULT_TENANT])
                self._add(part, records, store, read, journal)

    async def _remove_deleted(
        self, rows: CatalogRows, catalog: Catalog, collections: Collections, journal: Journal
    ) -> None:
        # Deletes the agents and collections that were copied before and have since been deleted or replaced.
        known = catalog.rows()
        for tenant, name in known.agents.keys() - rows.agents.keys():
            await catalog.adelete_agent(tenant, name)
        for (tenant, name), entry in known.collections.items():
            there = rows.collections.get((tenant, name))
            if there is None or _identity(there) != _identity(entry):
                part = f"{tenant}/{name}"
                self._migrations.pop(part, None)
                journal.save(part, [])
                await collections.adelete(tenant, name)


def _has_entries(target: Target) -> bool:
    rows = CatalogRows() if target.catalog is None else target.catalog.rows()
    return bool(rows.collections or rows.agents)


def _identity(entry: Entry) -> tuple[int, str, float]:
    return entry.info.dim, entry.info.metric, entry.info.created_at


def _suited(info: CollectionInfo, collections: Collections) -> CollectionInfo:
    # Not all engines offer all formats of vectors in memory.
    try:
        collections.check(info)
    except InvalidInputError:
        return replace(info, storage="fp32")
    return info


def _same(source: Path | None, target: Path | None) -> bool:
    return source is not None and target is not None and source.resolve() == target.resolve()


def _one_store() -> ConfigurationError:
    return ConfigurationError("source and target are one store", hint="name another one with --to")


async def _pause(stop: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(_PAUSE_S):
            await stop.wait()
    except TimeoutError:
        pass
