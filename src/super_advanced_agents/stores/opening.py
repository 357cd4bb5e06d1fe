"""Open a store by its URL, whichever engine or server is behind it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from super_advanced_agents.errors import ConfigurationError
from super_advanced_agents.stores.base import VectorStore
from super_advanced_agents.stores.faiss import FAISSVectorStore
from super_advanced_agents.stores.options import IndexKind, Metric, Storage, StoreOptions

Opener: TypeAlias = Callable[[str, StoreOptions], VectorStore]
"""Makes a store of a URL, which has one of the opener's schemes; see `open_store` for what it raises."""


def open_store(
    url: str,
    *,
    dim: int,
    metric: Metric = "cosine",
    index: IndexKind = "auto",
    storage: Storage = "fp32",
    api_key: str | None = None,
) -> VectorStore:
    """Open the store that a URL names; one that does not exist yet is made.

    Args:
        url: `"faiss:./dir"` for a folder of this machine, `"grpc://host:port/collection"` or `"https://host/collection"`
            for a served collection (`"default"` without one).
        dim: the length of every vector.
        metric: `"cosine"` or `"dot"`.
        index: how vectors are found, where the engine leaves the choice.
        storage: how many bytes a number of a vector takes in memory, likewise.
        api_key: the credential for a store on a server.

    Raises:
        ConfigurationError: nothing opens URLs of that scheme, or the store was made with another `dim` or `metric`.
        StoreLockedError: the store has another owner.
        StoreError: it cannot be used.
    """
    scheme, colon, _ = url.partition(":")
    opener = _OPENERS.get(scheme.lower()) if colon else None
    if opener is None:
        known = ", ".join(f"{name}:" for name in sorted(_OPENERS))
        raise ConfigurationError(
            f"no store has a URL that begins with {(scheme + colon)[:32]!r}",
            hint=f"known are {known}; a folder is {_LOCAL}:./folder",
        )
    return opener(url, StoreOptions(dim=dim, metric=metric, index=index, storage=storage, api_key=api_key))


def register_scheme(scheme: str, opener: Opener) -> None:
    """Let `open_store` open URLs of a further scheme."""
    _OPENERS[scheme.lower()] = opener


def folder_url(folder: Path) -> str:
    """Return the URL of the store that lies, or will lie, in a folder of this machine."""
    return f"{_LOCAL}:{folder}"


def folder_of(url: str) -> Path | None:
    """Return the folder of this machine that a store's URL names; None for a store elsewhere."""
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


_LOCAL = "faiss"
_OPENERS: dict[str, Opener] = {_LOCAL: _open_folder}
