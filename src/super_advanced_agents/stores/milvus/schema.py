"""The schema of the collection: made when it is missing, checked when it exists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from super_advanced_agents.errors import ConfigurationError
from super_advanced_agents.stores.milvus.facts import MAX_FACTS, hash63
from super_advanced_agents.stores.milvus.rows import DOUBLES, INTEGERS, KEYS, LISTS, STRINGS
from super_advanced_agents.stores.options import IndexKind, Metric

if TYPE_CHECKING:
    from super_advanced_agents.stores.milvus.engine.connection import MilvusConnection

VERSION = 1
"""The version of the schema, in the collection's description."""

_MAX_CHARS = 65_535
_KEY_CHARS = 256
_TIMEOUT_S = 60.0
_METRICS: Mapping[Metric, str] = {"cosine": "COSINE", "dot": "IP"}
_INDEXES: Mapping[IndexKind, tuple[str, dict[str, int]]] = {
    "flat": ("FLAT", {}),
    "hnsw": ("HNSW", {"M": 16, "efConstruction": 200}),
    "auto": ("HNSW", {"M": 16, "efConstruction": 200}),
    "ivf": ("IVF_FLAT", {"nlist": 1024}),
}


class OpenCollection(NamedTuple):
    """Hold the names of a collection's partitions, and the kind of its index."""

    partitions: list[str]
    index_kind: IndexKind


def partition_names(count: int) -> list[str]:
    """Return the names of the partitions of a collection."""
    return [f"tenants_{i:03}" for i in range(count)]


def partition_of(tenant: str, names: list[str]) -> str:
    """Return the partition that holds all records of a tenant."""
    return names[hash63(b"tenant" + tenant.encode()) % len(names)]


def open_collection(
    connection: MilvusConnection, *, dim: int, metric: Metric, index: IndexKind, partitions: int
) -> OpenCollection:
    """Create the collection if it does not exist, check it, and load it.

    Raises:
        ConfigurationError: the collection has another dimension or metric, or was not made by this package.
        EngineUnavailableError: the server does not answer, or does not load the collection.
    """
    name, client = connection.address.collection, connection.client
    with connection.errors():
        exists = client.has_collection(name, timeout=_TIMEOUT_S)
    if not exists:
        create_if_missing(connection, name, _schema(connection, dim=dim, metric=metric, partitions=partitions))
    with connection.errors():
        described = client.describe_collection(name, timeout=_TIMEOUT_S)
    _check(connection, described, dim, metric)
    # By each process that opens it: the one that created it may have been killed on the way.
    names = partition_names(int(described["description"].rpartition("partitions=")[2]))
    kind, params = _INDEXES[index]
    indexes = client.prepare_index_params()
    indexes.add_index("vector", index_type=kind, metric_type=_METRICS[metric], params=params)
    complete(connection, name, names, indexes)
    with connection.errors():
        stored = client.describe_index(name, "vector", timeout=_TIMEOUT_S)["index_type"]
    kinds = [each for each, (name_of_kind, _) in _INDEXES.items() if name_of_kind == stored] or ["auto"]
    return OpenCollection(names, index if index in kinds else kinds[0])


def create_if_missing(connection: MilvusConnection, name: str, schema: Any) -> None:
    """Create a collection without an index, unless there is one of that name."""
    from pymilvus import MilvusException

    client = connection.client
    with connection.errors():
        try:
            if not client.has_collection(name, timeout=_TIMEOUT_S):
                client.create_collection(name, schema=schema, timeout=_TIMEOUT_S)
        except MilvusException:
            if not client.has_collection(name, timeout=_TIMEOUT_S):
                raise  # else another process created it in this moment


def complete(connection: MilvusConnection, name: str, partitions: Sequence[str], indexes: Any) -> None:
    """Create the missing partitions and index of a collection, and load it."""
    from pymilvus import MilvusException

    client = connection.client
    with connection.errors():
        present = set(client.list_partitions(name, timeout=_TIMEOUT_S))
        for partition in partitions:
            if partition in present:
                continue
            try:
                client.create_partition(name, partition, timeout=_TIMEOUT_S)
            except MilvusException:
                if not client.has_partition(name, partition, timeout=_TIMEOUT_S):
                    raise
        if not client.list_indexes(name, timeout=_TIMEOUT_S):
            try:
                client.create_index(name, indexes, timeout=_TIMEOUT_S)
            except MilvusException:
                if not client.list_indexes(name, timeout=_TIMEOUT_S):
                    raise
        client.load_collection(name, timeout=_TIMEOUT_S)


def drop_collection(connection: MilvusConnection) -> None:
    """Delete the collection and that of its write ids; missing ones are no error."""
    name = connection.address.collection
    with connection.errors():
        for each in (name, writes_name(name)):
            connection.client.drop_collection(each, timeout=_TIMEOUT_S)  # Milvus knows no error here


def writes_name(collection: str) -> str:
    """Return the name of the collection of the ids of a collection's writes."""
    return f"{collection}_writes"


def _schema(connection: MilvusConnection, *, dim: int, metric: Metric, partitions: int) -> Any:
    from pymilvus import DataType

    # Milvus 2.3.5 upserts rows into partitions by their primary key, not by the partition key: of 200 rows of a tenant
    # a search by the key found 12. So the partition of a tenant is computed here.
    description = f"super_advanced_agents schema={VERSION} metric={metric} partitions={partitions}"
    schema = connection.client.create_schema(auto_id=False, enable_dynamic_field=False, description=description)
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
    return schema


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
            hint=f"open it with dim={stored_dim} or a model of that length, or name another collection",
        )
    if stored_metric != metric:
        raise ConfigurationError(
            f"the collection {name!r} has the metric {stored_metric!r}, not {metric!r}",
            hint=f"open it with metric={stored_metric!r}, or name another collection",
        )
