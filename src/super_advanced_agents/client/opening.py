"""Make `open_store` open a server's collections by URL, such as `grpc://host:port/notes`."""

from __future__ import annotations

from urllib.parse import urlsplit

from super_advanced_agents.client.stores.distributed_store import DistributedVectorStore
from super_advanced_agents.errors import ConfigurationError
from super_advanced_agents.stores.base import VectorStore
from super_advanced_agents.stores.opening import open_store, register_scheme
from super_advanced_agents.stores.options import StoreOptions

__all__ = ["open_store"]


def _open_served(url: str, options: StoreOptions) -> VectorStore:
    if options != StoreOptions(dim=options.dim, api_key=options.api_key):
        raise ConfigurationError(
            "a served collection is made with the server's own choice of metric, index and storage",
            hint="create it on the server with other settings, then open it without them",
        )
    parts = urlsplit(url)
    collection = parts.path.strip("/") or "default"
    return DistributedVectorStore(
        parts._replace(path="").geturl(), collection, api_key=options.api_key, dim=options.dim
    )


for _scheme in ("grpc", "grpcs", "http", "https"):
    register_scheme(_scheme, _open_served)
