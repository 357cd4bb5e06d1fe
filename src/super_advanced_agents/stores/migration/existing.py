"""Opening of an existing store in an engine, with the settings that it was made with."""

from __future__ import annotations

from importlib import import_module
from typing import NamedTuple

from super_advanced_agents._runtime.concurrency.sync_bridge import run_sync
from super_advanced_agents.errors import ConfigurationError, StoreError
from super_advanced_agents.stores.base import VectorStore
from super_advanced_agents.stores.milvus import MilvusVectorStore
from super_advanced_agents.stores.milvus.engine.address import MilvusAddress
from super_advanced_agents.stores.milvus.engine.opening import connect
from super_advanced_agents.stores.options import Metric
from super_advanced_agents.stores.postgres import PgVectorStore


class ExistingStore(NamedTuple):
    """Hold an open store, and its metric."""

    store: VectorStore
    metric: Metric


def open_existing(url: str) -> ExistingStore:
    """Open the store of a URL, which must exist; blocks.

    Raises:
        StoreError: there is no store.
        ConfigurationError: no store that can be read has such a URL.
        EngineUnavailableError: the engine cannot be reached.
    """
    scheme = url.partition(":")[0].lower()
    opener = _OPENERS.get(scheme)
    if opener is None:
        raise ConfigurationError(
            f"stores of {scheme[:32]!r} cannot be moved", hint="name faiss:DIR, postgresql://... or milvus://..."
        )
    return opener(url)


def _open_postgres(url: str) -> ExistingStore:
    PgVectorStore.load_driver()
    postgres = import_module("super_advanced_agents._runtime.postgres")
    schema = import_module("super_advanced_agents.stores.postgres.schema")
    database = postgres.Database(postgres.PostgresAddress.parse(url), connections=1)
    try:
        settings = run_sync(schema.settings_in(database))
    finally:
        database.close()
    if settings is None:
        raise StoreError(
            f"there is no store in the schema {database.address.schema!r} of the PostgreSQL database "
            f"{database.address.shown}",
            hint="check the URL after --from; ?schema=NAME names another schema",
        )
    store = PgVectorStore(url, settings.dim, metric=settings.metric, storage=settings.storage, graph_rows=None)
    return ExistingStore(store, settings.metric)


def _open_milvus(url: str) -> ExistingStore:
    from super_advanced_agents.stores.milvus.schema import settings_in

    connection = connect(MilvusAddress.of(url))
    try:
        settings = settings_in(connection)
    finally:
        connection.close()
    if settings is None:
        address = connection.address
        raise StoreError(
            f"there is no collection {address.collection!r} in {address.server}", hint="check the URL after --from"
        )
    dim, metric = settings
    return ExistingStore(MilvusVectorStore(url, dim, metric=metric), metric)


_OPENERS = {"postgresql": _open_postgres, "postgres": _open_postgres, "milvus": _open_milvus}
