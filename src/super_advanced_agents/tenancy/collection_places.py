"""The places of collections: folders, schemas in PostgreSQL or collections of Milvus."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Protocol, cast

from super_advanced_agents._runtime.concurrency.sync_bridge import run_sync
from super_advanced_agents._runtime.disk.files import create_folder, map_os_error, private_folder
from super_advanced_agents.errors import CorruptStoreError, InvalidInputError
from super_advanced_agents.stores import MilvusVectorStore, VectorStore
from super_advanced_agents.stores.milvus import MAX_DIM, MIN_DIM, MilvusAddress
from super_advanced_agents.stores.opening import folder_url, open_store
from super_advanced_agents.stores.options import IndexKind, Metric, Storage
from super_advanced_agents.stores.wrappers.guarded import EngineGuard, GuardedStore
from super_advanced_agents.tenancy.catalog.rows import Entry
from super_advanced_agents.types import CollectionInfo


class CollectionPlace(Protocol):
    """Make, open and remove the stores of collections. All methods block."""

    def check(self, info: CollectionInfo) -> None:
        """Raise if a collection with these settings cannot be kept here.

        Raises:
            InvalidInputError: it cannot.
        """

    def prepare(self, known: Collection[str]) -> None:
        """Remove the empty places of collections that are not in the catalog (`known`)."""

    def make(self, collection_id: str) -> None:
        """Make an empty, durable place for the records of a new collection."""

    def open(self, entry: Entry) -> VectorStore:
        """Open the store of a collection."""

    def remove(self, collection_id: str) -> None:
        """Remove the records of a deleted collection; none is no error."""


class FolderPlace:
    """Keep each collection in a folder of its own.

    Args:
        folder: the folder that contains the collections' folders.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def check(self, info: CollectionInfo) -> None:
        """Do nothing: a folder keeps every kind of collection."""

    def prepare(self, known: Collection[str]) -> None:
        """Remove the empty folders of collections that are not in the catalog, and nothing else."""
        try:
            private_folder(self._folder)
            for folder in self._folder.iterdir():
                if folder.name not in known:
                    with suppress(OSError):  # not empty, or not a folder: it must not be removed
                        folder.rmdir()
        except OSError as exc:
            raise map_os_error(exc, self._folder) from exc

    def make(self, collection_id: str) -> None:
        """Make the folder of a new collection."""
        try:
            create_folder(self._folder / collection_id)
        except OSError as exc:
            with suppress(OSError):
                (self._folder / collection_id).rmdir()  # it is not in the catalog
            raise map_os_error(exc, self._folder) from exc

    def open(self, entry: Entry) -> VectorStore:
        """Open the store in the folder of a collection."""
        folder = self._folder / entry.id
        if folder.is_symlink() or not folder.is_dir():
            raise CorruptStoreError(
                f"the files of the collection {entry.info.name!r} are missing", hint="restore a backup"
            )
        return _open(folder_url(folder), entry)

    def remove(self, collection_id: str) -> None:
        """Remove the folder of a deleted collection."""
        with suppress(FileNotFoundError):
            shutil.rmtree(self._folder / collection_id)


class PostgresPlace:
    """Keep each collection in a schema of its own, in the database of the store.

    Args:
        url: the URL of the store.
        guard: the guard of the engine, which the store of all agents shares.
    """

    def __init__(self, url: str, guard: EngineGuard) -> None:
        from super_advanced_agents._runtime.postgres import PostgresAddress

        self._address = PostgresAddress.parse(url)
        self._guard = guard

    def check(self, info: CollectionInfo) -> None:
        """Raise if vectors have a format that pgvector does not store."""
        _check_storage(info, ("fp32", "fp16"), "PostgreSQL")

    def prepare(self, known: Collection[str]) -> None:
        """Do nothing: a collection has no schema before it is used."""

    def make(self, collection_id: str) -> None:
        """Do nothing: the first write makes the schema."""

    def open(self, entry: Entry) -> VectorStore:
        """Open the store in the schema of a collection."""
        conninfo = self._address.conninfo
        mark = "&" if "?" in conninfo else "?"
        return GuardedStore(_open(f"{conninfo}{mark}schema={self._schema(entry.id)}", entry), self._guard)

    def remove(self, collection_id: str) -> None:
        """Drop the schema of a deleted collection."""
        from super_advanced_agents._runtime.postgres import Connection, Database

        database = Database(self._address.with_schema(self._schema(collection_id)))

        async def drop(connection: Connection) -> None:
            await connection.execute(database.sql("DROP SCHEMA IF EXISTS {schema} CASCADE"))

        try:
            run_sync(database.write(drop))
        finally:
            database.close()

    def _schema(self, collection_id: str) -> str:
        # Stores in several schemas of one database have collections of their own.
        return f"{self._address.schema[:20]}_c_{collection_id}"


class MilvusPlace:
    """Keep each collection in a collection of its own, on the Milvus server of the store.

    Args:
        url: the URL of the store.
        guard: the guard of the engine, which the store of all agents shares.
    """

    def __init__(self, url: str, guard: EngineGuard) -> None:
        self._address = MilvusAddress.of(url)
        self._url = url
        self._guard = guard

    def check(self, info: CollectionInfo) -> None:
        """Raise if vectors have a format or a length that Milvus does not store."""
        _check_storage(info, ("fp32",), "Milvus")
        if not MIN_DIM <= info.dim <= MAX_DIM:
            raise InvalidInputError(
                f"a collection over Milvus has vectors of {MIN_DIM} to {MAX_DIM} numbers, not of {info.dim}",
                field="dim",
            )

    def prepare(self, known: Collection[str]) -> None:
        """Do nothing: a collection has no place before it is used."""

    def make(self, collection_id: str) -> None:
        """Do nothing: the first use makes it, at whichever server."""

    def open(self, entry: Entry) -> VectorStore:
        """Open the store of a collection, with one partition for its one tenant."""
        info = entry.info
        store = MilvusVectorStore(
            self._address.beside(self._url, self._name(entry.id)),
            info.dim,
            metric=cast("Metric", info.metric),
            index=cast("IndexKind", info.index),
            partitions=1,
        )
        return GuardedStore(store, self._guard)

    def remove(self, collection_id: str) -> None:
        """Drop the collection of a deleted one."""
        MilvusVectorStore.drop(self._address.beside(self._url, self._name(collection_id)))

    def _name(self, collection_id: str) -> str:
        # Stores in several collections of one server have collections of their own.
        return f"{self._address.collection[:100]}_c_{collection_id}"


def place_of(store_url: str, folder: Path, guard: EngineGuard | None = None) -> CollectionPlace:
    """Return where the collections of a store are.

    Args:
        store_url: the URL of the store that all agents share.
        folder: the folder of collections, for stores that are in no engine.
        guard: the guard of the store's engine, if there is one already.
    """
    match store_url.partition(":")[0].lower():
        case "postgresql" | "postgres":
            return PostgresPlace(store_url, guard or EngineGuard())
        case "milvus":
            return MilvusPlace(store_url, guard or EngineGuard())
        case _:
            return FolderPlace(folder)


def _check_storage(info: CollectionInfo, known: Collection[str], engine: str) -> None:
    if info.storage not in known:
        raise InvalidInputError(
            f"a collection over {engine} has no storage {info.storage!r}",
            field="storage",
            hint=f"use {' or '.join(map(repr, known))}",
        )


def _open(url: str, entry: Entry) -> VectorStore:
    info = entry.info
    return open_store(
        url,
        dim=info.dim,
        metric=cast("Metric", info.metric),
        index=cast("IndexKind", info.index),
        storage=cast("Storage", info.storage),
    )
