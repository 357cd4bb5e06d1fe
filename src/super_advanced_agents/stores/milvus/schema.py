"""The schema of the collection: made when it is missing, checked when it exists."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, cast

from super_advanced_agents.errors import ConfigurationError, EngineUnavailableError
from super_advanced_agents.stores.milvus.connection import MilvusConnection
from super_advanced_agents.stores.milvus.facts import MAX_FACTS, hash63
from super_advanced_agents.stores.milvus.rows import DOUBLES, INTEGERS, KEYS, LISTS, STRINGS
from super_advanced_agents.stores.options import IndexKind, Metric

VERSION = 1
"""The version of the schema, in the collection's description."""

_MAX_CHARS = 65_535
_KEY_CHARS = 256
_TIMEOUT_S = 60.0
_METRICS: Mapping[Metric, str] = {"cosine": "COSINE", "dot": "IP"}
_INDEXES: Mapping[IndexKind, tuple[str, dict[str, int]]] = {
    "flat": ("FLAT", {}),
    "auto": ("HNSW", {"M": 16, "efConstruction": 200}),
    "hnsw": ("HNSW", {"M": 16, "efConstruction": 200}),
    "ivf": ("IVF_FLAT", {"nlist": 1024}),
}


def partition_names(count: int) -> list[str]:
    """Return the names of the partitions of a collection."""
    return [f"tenants_{i:03}" for i in range(count)]


def partition_of(tenant: str, names: list[str]) -> str:
    """Return the partition that holds all records of a tenant."""
    return names[hash63(b"tenant" + tenant.encode()) % len(names)]


def open_collection(
    connection: MilvusConnection, *, dim: int, metric: Metric, index: IndexKind, partitions: int
) -> list[str]:
    """Create the collection if it does not exist, check it, and load it.

    Returns:
        The names of its partitions.

    Raises:
        ConfigurationError: the collection has another dimension or metric, or was not made by this package.
        EngineUnavailableError: the server does not answer, or does not load the collection.
    """
    name = connection.address.collection
    with connection.errors():
        if not connection.client.has_collection(name, timeout=_TIMEOUT_S):
            _create(connection, dim=dim, metric=metric, index=index, partitions=partitions)
        described = connection.client.describe_collection(name, timeout=_TIMEOUT_S)
    _check(connection, described, dim, metric)
    with connection.errors():
        names = sorted(
            each for each in connection.client.list_partitions(name, timeout=_TIMEOUT_S) if each.startswith("tenants_")
        )
        connection.client.load_collection(name, timeout=_TIMEOUT_S)
    expected = int(described["description"].rpartition("partitions=")[2])
    if len(names) != expected:  # another process is still creating it
        raise EngineUnavailableError(
            f"the collection {name!r} has {len(names)} of its {expected} partitions", hint="try again in a moment"
        )
    return names


def _create(connection: MilvusConnection, *, dim: int, metric: Metric, index: IndexKind, partitions: int) -> None:
    from pymilvus import DataType, MilvusException

    client, name = connection.client, connection.address.collection
    description = f"super_advanced_agents schema={VERSION} metric={metric} partitions={partitions}"
    schema = client.create_schema(auto_id=False, enable_dynamic_field=False, description=description)
    schema.add_field("pk", DataType.VARCHAR, is_primary=True, max_length=64)
    for column in KEYS:
        schema.add_field(column, DataType.VARCHAR, max_length=_KEY_CHARS)
    for column in STRINGS:
        schema.add_field(column, DataType.VARCHAR, max_length=_MAX_CHARS)
    for column in INTEGERS:
        schema.add_field(column, DataType.INT64)
    for column in DOUBLES:
        schema.add_field(column, DataType.DOUBLE)
    for column in LISTS:
        schema.add_field(column, DataType.ARRAY, element_type=DataType.INT64, max_capacity=MAX_FACTS)
    schema.add_field("complete", DataType.BOOL)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dim)
    try:
        client.create_collection(name, schema=schema, timeout=_TIMEOUT_S)
    except MilvusException:
        if not client.has_collection(name, timeout=_TIMEOUT_S):
            raise
        time.sleep(1.0)  # another process created it in this moment, and goes on with its partitions
        return
    # Milvus 2.3.5 upserts rows into partitions by their primary key, not by the partition key: of 200 rows of a tenant
    # a search by the key found 12. So the partition of a tenant is computed here.
    for partition in partition_names(partitions):
        client.create_partition(name, partition, timeout=_TIMEOUT_S)
    kind, params = _INDEXES[index]
    indexes = client.prepare_index_params()
    indexes.add_index("vector", index_type=kind, metric_type=_METRICS[metric], params=params)
    client.create_index(name, indexes, timeout=_TIMEOUT_S)


def settings_in(connection: MilvusConnection) -> tuple[int, Metric] | None:
    """Return the dimension and the metric of the collection; None if there is none.

    Raises:
        ConfigurationError: the collection was not made by this package, or by a newer version.
        EngineUnavailableError: the server does not answer.
    """
    name = connection.address.collection
    with connection.errors():
        if not connection.client.has_collection(name, timeout=_TIMEOUT_S):
            return None
        described = connection.client.describe_collection(name, timeout=_TIMEOUT_S)
    return _settings(connection, described)


def _settings(connection: MilvusConnection, described: Mapping[str, Any]) -> tuple[int, Metric]:
    name, server = connection.address.collection, connection.address.server
    words = dict(word.partition("=")[::2] for word in str(described.get("description", "")).split())
    if "super_advanced_agents" not in words or not words.get("schema", "").isdigit():
        raise ConfigurationError(
            f"the collection {name!r} of {server} was not made by this package", hint="name another collection"
        )
    if int(words["schema"]) > VERSION:
        raise ConfigurationError(
            f"the collection {name!r} has schema {words['schema']}, this version knows {VERSION}",
            hint="upgrade the package",
        )
    [dim] = [int(field["params"]["dim"]) for field in described["fields"] if field["name"] == "vector"]
    return dim, cast("Metric", words["metric"])


def _check(connection: MilvusConnection, described: Mapping[str, Any], dim: int, metric: Metric) -> None:
    name = connection.address.collection
    stored_dim, stored_metric = _settings(connection, described)
    if stored_dim != dim:
        raise ConfigurationError(
            f"the collection {name!r} holds vectors of {stored_dim} numbers, not of {dim}",
            hint=f"open it with dim={stored_dim}, or name another collection",
        )
    if stored_metric != metric:
        raise ConfigurationError(
            f"the collection {name!r} has the metric {stored_metric!r}, not {metric!r}",
            hint=f"open it with metric={stored_metric!r}, or name another collection",
        )
