"""`open_store`: opening a vector store by a URL, which names a local folder or a server."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Literal, TypeAlias

from super_advanced_agents.errors import ConfigurationError
from super_advanced_agents.stores.base import VectorStore
from super_advanced_agents.stores.faiss import FAISSVectorStore
from super_advanced_agents.stores.milvus import MilvusVectorStore
from super_advanced_agents.stores.options import IndexKind, Metric, Storage, StoreOptions
from super_advanced_agents.stores.postgres.store import GRAPH_ROWS, PgVectorStore

Opener: TypeAlias = Callable[[str, StoreOptions], VectorStore]
"""A function that opens the store of a URL; it raises the errors of `open_store`."""


def open_store(
    url: str,
    *,
    dim: int,
    metric: Metric = "cosine",
    index: IndexKind = "auto",
    storage: Storage = "fp32",
    api_key: str | None = None,
) -> VectorStore:
    """Open the vector store that a URL names, or create it if it does not exist.

    Args:
        url: `"faiss:./dir"` for a local folder; `"postgresql://user@host/database"` for a database with pgvector
            (`?schema=name` for one of several stores there); `"milvus://host:19530/collection"` for a collection of a
            Milvus server; `"grpc://host:port/collection"` or `"https://host/collection"` for a served collection
            (`"default"` when the URL names none).
        dim: the length of every vector.
        metric: `"cosine"` or `"dot"`.
        index: the kind of vector index, for engines that offer a choice.
        storage: the number format of vectors in memory, for engines that offer a choice.
        api_key: the credential for a server, where the URL has none.

    Raises:
        ConfigurationError: the URL's scheme is unknown, or the store was created with another `dim` or `metric`.
        StoreLockedError: another process owns the store.
        OverloadedError: too many files are open.
        StoreError: the store cannot be opened.
    """
    scheme, colon, _ = url.partition(":")
    if scheme.lower() in _SERVED:
        import_module(_CLIENT)  # it registers these schemes
    opener = _OPENERS.get(scheme.lower()) if colon else None
    if opener is None:
        known = ", ".join(f"{name}:" for name in sorted(_OPENERS.keys() | _SERVED))
        raise ConfigurationError(
            f"no store has a URL that begins with {(scheme + colon)[:32]!r}",
            hint=f"known are {known}; a folder is {_LOCAL}:./folder",
        )
    return opener(url, StoreOptions(dim=dim, metric=metric, index=index, storage=storage, api_key=api_key))


def register_scheme(scheme: str, opener: Opener) -> None:
    """Register the function that `open_store` calls for a URL scheme, replacing an earlier one."""
    _OPENERS[scheme.lower()] = opener


def is_store_url(location: str) -> bool:
    """Return whether a text is the URL of a store, rather than the path of a folder."""
    scheme, colon, _ = location.partition(":")
    return "://" in location or (bool(colon) and scheme.lower() in _OPENERS.keys() | _SERVED)


def folder_url(folder: Path) -> str:
    """Return the `faiss:` URL of the store in a local folder, which need not exist yet."""
    return f"{_LOCAL}:{folder}"


def folder_of(url: str) -> Path | None:
    """Return the local folder that a store's URL names; None for a store on a server.

    Raises:
        ConfigurationError: the URL is of a local store and names no folder.
    """
    scheme, _, folder = url.partition(":")
    if scheme.lower() != _LOCAL:
        return None
    if not folder:
        raise ConfigurationError(f"{url!r} names no folder", hint=f"such as {_LOCAL}:./folder")
    return Path(folder)


def _open_folder(url: str, options: StoreOptions) -> VectorStore:
    return FAISSVectorStore(
        options.dim, folder_of(url), metric=options.metric, index=options.index, storage=options.storage
    )


def _open_postgres(url: str, options: StoreOptions) -> VectorStore:
    if options.storage not in _COLUMNS:
        raise ConfigurationError(
            f"a store in PostgreSQL has no storage {options.storage!r}", hint="use 'fp32', or 'fp16' for half the size"
        )
    return PgVectorStore(
        url,
        options.dim,
        metric=options.metric,
        storage=_COLUMNS[options.storage],
        graph_rows=None if options.index == "flat" else GRAPH_ROWS,
    )


_COLUMNS: dict[str, Literal["vector", "halfvec"]] = {"fp32": "vector", "fp16": "halfvec"}


def _open_milvus(url: str, options: StoreOptions) -> VectorStore:
    if options.storage != "fp32":
        raise ConfigurationError(
            f"a store over Milvus has no vectors of the format {options.storage!r}", hint="leave storage at fp32"
        )
    return MilvusVectorStore(url, options.dim, metric=options.metric, index=options.index, api_key=options.api_key)


_LOCAL = "faiss"
_SERVED = frozenset({"grpc", "grpcs", "http", "https"})
_CLIENT = "super_advanced_agents.client.opening"
"""The module that opens served stores; like a plug-in, it is known by its name only."""

_OPENERS: dict[str, Opener] = {
    _LOCAL: _open_folder,
    "postgresql": _open_postgres,
    "postgres": _open_postgres,
    "milvus": _open_milvus,
}
