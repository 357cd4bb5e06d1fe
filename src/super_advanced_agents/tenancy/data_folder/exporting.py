"""Export of a data folder: the memories, settings and collections of one tenant or all."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from super_advanced_agents.config import COLLECTIONS_FOLDER, STORE_DATABASE, checked_name
from super_advanced_agents.errors import ConfigurationError, StoreError
from super_advanced_agents.stores.filters import parse
from super_advanced_agents.stores.local.maintenance import (
    DatabaseDump,
    has_store,
    open_read_only,
    settings_of,
    upgrade_if_older,
)
from super_advanced_agents.stores.opening import folder_of
from super_advanced_agents.stores.transfer.exporting import ExportFile
from super_advanced_agents.stores.transfer.layout import FileFormat, Header, Part
from super_advanced_agents.tenancy.catalog.rows import CatalogRows, Entry
from super_advanced_agents.tenancy.config_file import Key
from super_advanced_agents.tenancy.data_folder.saving import read_catalog_of
from super_advanced_agents.tenancy.settings import Settings
from super_advanced_agents.types import Where


@dataclass(slots=True, kw_only=True)
class Exported:
    """Count what an export of a data folder holds, and what it left out.

    Attributes:
        records: the number of records, those of collections included.
        agents: the number of agents with settings.
        collections: the number of collections.
        without_vectors: the number of collections that were left out of an export without vectors.
        damaged: the number of damaged collections, and of damaged rows of the catalog, that were left out.
    """

    records: int = 0
    agents: int = 0
    collections: int = 0
    without_vectors: int = 0
    damaged: int = 0


def export_data_folder(
    settings: Settings,
    target: Path | IO[bytes],
    *,
    file_format: FileFormat | None = None,
    tenant: str | None = None,
    namespace: str | None = None,
    where: Where | None = None,
    vectors: bool = True,
    on_records: Callable[[int], None] | None = None,
) -> Exported:
    """Export the memories, the settings and the collections of a data folder to a file. Blocks.

    A server may use the data folder meanwhile; each database is read in one state. API keys are not exported.

    Args:
        settings: the settings that name the data folder and the store of memories.
        target: the path of the file, which appears under its name once it is complete; or an open binary file.
        file_format: `"jsonl"` or `"parquet"`; chosen by the suffix of `target` when None.
        tenant: the tenant to export; all of them when None, or the default tenant when `namespace` is given.
        namespace: the namespace to export, with the settings of its agents and without collections; all when None.
        where: a filter over metadata; all records when None.
        vectors: False leaves the vectors out, and the collections, which cannot be imported without.
        on_records: called after each page with the number of records written so far.

    Returns:
        The counts.

    Raises:
        ConfigurationError: the memories are not in a folder of this machine, or pyarrow is missing.
        StoreError: there is no store, or the file cannot be written.
        CorruptStoreError: a database is damaged.
    """
    folder = folder_of(settings.store_url)
    if folder is None:
        raise ConfigurationError(
            "this command works on a store in a folder only",
            hint="start a server on that store, and name it with --url",
        )
    if not has_store(folder):
        raise StoreError(
            f"nothing is remembered in {str(settings.data_dir)!r} yet", hint="check --data-dir, or begin: saa add"
        )
    if tenant is not None:
        checked_name(tenant, "tenant")
    elif namespace is not None:
        tenant = "default"
    upgrade_if_older(folder)
    return _Export(settings, folder, tenant, namespace, where, vectors=vectors, on_records=on_records).run(
        target, file_format
    )


class _Export:
    def __init__(
        self,
        settings: Settings,
        folder: Path,
        tenant: str | None,
        namespace: str | None,
        where: Where | None,
        *,
        vectors: bool,
        on_records: Callable[[int], None] | None,
    ) -> None:
        self._data_dir = settings.data_dir
        self._folder = folder
        self._tenant = tenant
        self._namespace = namespace
        self._tree = None if where is None else parse(where)
        self._vectors = vectors
        self._on_records = on_records
        self._counts = Exported()

    def run(self, target: Path | IO[bytes], file_format: FileFormat | None) -> Exported:
        rows = read_catalog_of(self._data_dir)
        self._counts.damaged = len(rows.problems)
        agents = {key: agent for key, agent in sorted(rows.agents.items()) if self._has_agent(key, rows)}
        collections = {key: entry for key, entry in sorted(rows.collections.items()) if self._has_tenant(key)}
        if self._namespace is not None:
            collections = {}
        elif not self._vectors:
            self._counts.without_vectors, collections = len(collections), {}
        stored = settings_of(self._folder) or {}
        with open_read_only(self._folder / STORE_DATABASE) as connection:
            dump = DatabaseDump(connection)
            tenants = dump.tenants() | {tenant for tenant, _ in (*agents, *collections)}
            header = Header(
                dim=int(stored["dim"]),
                metric=stored["metric"],
                vectors=self._vectors,
                namespace=self._namespace,
                created_at=time.time(),
                tenant=self._tenant or (min(tenants, default="default") if len(tenants) < 2 else None),
            )
            file = ExportFile(target, file_format, header)
            with file.writing():
                for (owner, name), (settings, updated_at) in agents.items():
                    item = {"kind": "agent", "tenant": owner, "name": name, "settings": settings.model_dump()}
                    file.add_item({**item, "updated_at": updated_at})
                    self._counts.agents += 1
                self._write(file, dump, None)
                for (owner, _), entry in collections.items():
                    self._write_collection(file, owner, entry)
        return self._counts

    def _has_tenant(self, key: Key) -> bool:
        return self._tenant in (None, key[0])

    def _has_agent(self, key: Key, rows: CatalogRows) -> bool:
        settings, _ = rows.agents[key]
        return self._has_tenant(key) and self._namespace in (None, settings.namespace or key[1])

    def _write(self, file: ExportFile, dump: DatabaseDump, part: Part | None) -> None:
        pages = (
            dump.pages(tenant=self._tenant, namespace=self._namespace, tree=self._tree)
            if part is None
            else dump.pages(tree=self._tree)
        )
        for tenant, page in pages:
            file.write(page, part or Part(tenant=tenant))
            self._counts.records += len(page)
            if self._on_records is not None:
                self._on_records(self._counts.records)

    def _write_collection(self, file: ExportFile, tenant: str, entry: Entry) -> None:
        folder = self._data_dir / COLLECTIONS_FOLDER / entry.id
        item = {"kind": "collection", "tenant": tenant, **asdict(entry.info)}
        part = Part(tenant=tenant, collection=entry.info.name)
        try:
            if folder.is_symlink() or not folder.is_dir():
                raise StoreError("the folder is missing")
            if not has_store(folder):  # never written
                file.add_item(item)
            else:
                upgrade_if_older(folder)
                with open_read_only(folder / STORE_DATABASE) as connection:
                    dump = DatabaseDump(connection)
                    if not self._is_listed(entry):  # its files may be gone in part
                        return
                    file.add_item(item)
                    self._write(file, dump, part)
        except StoreError:
            if self._is_listed(entry):
                if folder.is_dir():
                    raise
                self._counts.damaged += 1
            return
        self._counts.collections += 1

    def _is_listed(self, entry: Entry) -> bool:
        # A deleted collection leaves the catalog before its files are removed.
        return entry.id in read_catalog_of(self._data_dir).ids
