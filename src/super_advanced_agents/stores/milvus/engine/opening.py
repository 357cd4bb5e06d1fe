"""Opening of a connection, which imports pymilvus.

The import takes a second, and fails where pymilvus is not installed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from super_advanced_agents.errors import ConfigurationError
from super_advanced_agents.stores.milvus.engine.address import MilvusAddress

if TYPE_CHECKING:
    from super_advanced_agents.stores.milvus.engine.connection import MilvusConnection

_CONNECTION = "super_advanced_agents.stores.milvus.engine.connection"


def connect(address: MilvusAddress) -> MilvusConnection:
    """Return a connection to a server, which answered.

    Raises:
        EngineUnavailableError: the server does not answer.
        ConfigurationError: it refuses the credential or is too old, or pymilvus is not installed.
    """
    try:
        module = import_module(_CONNECTION)
    except ImportError as exc:
        raise ConfigurationError(
            "a store over Milvus needs pymilvus, which is not installed",
            hint="install it with: pip install 'super-advanced-agents[milvus]'",
        ) from exc
    connection: MilvusConnection = module.MilvusConnection(address)
    return connection
