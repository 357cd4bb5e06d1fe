"""Calls of one Milvus server: a gRPC channel of its own, beside that of pymilvus.

pymilvus tries a call that cannot reach the server again for 30 seconds, and takes a describing call before each write.
Here a call is tried three times within half a second, and ends with the time of its caller.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import grpc
from pymilvus.client.utils import check_status
from pymilvus.grpc_gen import common_pb2, milvus_pb2, milvus_pb2_grpc

from super_advanced_agents._runtime.concurrency.budget import check_budget, seconds_left
from super_advanced_agents.errors import EngineUnavailableError
from super_advanced_agents.stores.milvus.engine.address import MilvusAddress
from super_advanced_agents.stores.milvus.engine.error_mapping import engine_errors
from super_advanced_agents.stores.milvus.engine.messages import add_columns, hits_of, placeholders, rows_of
from super_advanced_agents.types import Matrix

_GRACE_S = 0.05
_NOT_LOADED = "collection not loaded"
_LOAD_EVERY_S = 1.0
_TRIES = {
    "methodConfig": [
        {
            "name": [{"service": "milvus.proto.milvus.MilvusService"}],
            "retryPolicy": {
                "maxAttempts": 3,
                "initialBackoff": "0.05s",
                "maxBackoff": "0.4s",
                "backoffMultiplier": 4,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}
_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_retries", 1),
    ("grpc.service_config", json.dumps(_TRIES)),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.use_local_subchannel_pool", 1),  # clients of one process do not share a connection
]


class Waiting:
    """Name what a read waits for: writes up to a timestamp, or those of all clients.

    Args:
        until: the timestamp; 0 for the writes of all clients before the read.
    """

    __slots__ = ("level", "until")

    def __init__(self, until: int) -> None:
        levels = common_pb2.ConsistencyLevel
        self.level = levels.Customized if until else levels.Strong
        self.until = until


class Calls:
    """Call one Milvus server. Thread-safe; every call blocks, for `timeout_s` at most.

    Repeating a call does no harm: rows are stored by their primary keys.

    Args:
        address: the server and the credential.
        timeout_s: the longest time of a call; it ends earlier with the budget of its thread.
    """

    def __init__(self, address: MilvusAddress, timeout_s: float) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._load_again_at = 0.0
        self._metadata = [("dbname", address.database)]
        if address.token:
            self._metadata.append(("authorization", base64.b64encode(address.token.encode()).decode()))
        if address.tls:
            self._channel = grpc.secure_channel(address.target, grpc.ssl_channel_credentials(), options=_OPTIONS)
        else:
            self._channel = grpc.insecure_channel(address.target, options=_OPTIONS)
        self._stub: Any = milvus_pb2_grpc.MilvusServiceStub(self._channel)

    def close(self) -> None:
        """Close the channel; calls that are running fail."""
        self._channel.close()

    def query(
        self,
        collection: str,
        expression: str,
        columns: Sequence[str],
        waiting: Waiting,
        *,
        partitions: Sequence[str] = (),
        limit: int | None = None,
    ) -> list[dict[str, Any]]:
        """Return rows that meet an expression, in no order."""
        request = milvus_pb2.QueryRequest(
            collection_name=collection,
            expr=expression,
            output_fields=columns,
            partition_names=partitions,
            guarantee_timestamp=waiting.until,
            consistency_level=waiting.level,
            query_params=_pairs({} if limit is None else {"limit": limit}),
        )
        with engine_errors(self._address):
            reply = self._call(self._stub.Query, request)
            if reply.status.error_code == common_pb2.ErrorCode.EmptyCollection:
                return []
            self._check_read(reply.status, collection)
        return rows_of(reply.fields_data)

    def search(
        self,
        collection: str,
        expression: str,
        queries: Matrix,
        columns: Sequence[str],
        waiting: Waiting,
        *,
        partitions: Sequence[str],
        limit: int,
        params: Mapping[str, object],
    ) -> list[list[dict[str, Any]]]:
        """Return the nearest rows to each query vector, among those that meet an expression."""
        options = {
            "anns_field": "vector",
            "topk": limit,
            "params": json.dumps(dict(params)),
            "round_decimal": -1,
            "ignore_growing": False,
        }
        request = milvus_pb2.SearchRequest(
            collection_name=collection,
            dsl=expression,
            dsl_type=common_pb2.DslType.BoolExprV1,
            nq=len(queries),
            placeholder_group=placeholders(queries),
            output_fields=columns,
            partition_names=partitions,
            guarantee_timestamp=waiting.until,
            consistency_level=waiting.level,
            search_params=_pairs(options),
        )
        with engine_errors(self._address):
            reply = self._call(self._stub.Search, request)
            self._check_read(reply.status, collection)
        return hits_of(reply.results, len(queries))

    def upsert(
        self,
        collection: str,
        columns: Mapping[str, Sequence[Any]],
        kinds: Mapping[str, str],
        *,
        partition: str = "",
    ) -> int:
        """Store rows, or replace those with the same primary keys.

        Returns:
            The timestamp of the write.
        """
        count = len(next(iter(columns.values())))
        request = milvus_pb2.UpsertRequest(collection_name=collection, partition_name=partition, num_rows=count)
        add_columns(request.fields_data, columns, kinds)
        with engine_errors(self._address):
            reply = self._call(self._stub.Upsert, request)
            check_status(reply.status)
        return int(reply.timestamp)

    def delete(self, collection: str, expression: str, *, partition: str = "") -> int:
        """Delete the rows that meet an expression on primary keys.

        Returns:
            A timestamp that is not earlier than the deletion.
        """
        request = milvus_pb2.DeleteRequest(collection_name=collection, partition_name=partition, expr=expression)
        with engine_errors(self._address):
            reply = self._call(self._stub.Delete, request)
            check_status(reply.status)
            if reply.timestamp:
                return int(reply.timestamp)
            # Milvus 2.3 returns 0; a timestamp that is taken afterwards is later than that of the deletion.
            taken = self._call(self._stub.AllocTimestamp, milvus_pb2.AllocTimestampRequest())
            check_status(taken.status)
        return int(taken.timestamp)

    def _check_read(self, status: Any, collection: str) -> None:
        # A server that was killed while it loaded a collection does not do it again by itself.
        if _NOT_LOADED in status.reason and time.monotonic() > self._load_again_at:
            self._load_again_at = time.monotonic() + _LOAD_EVERY_S
            with suppress(grpc.RpcError):
                self._call(
                    self._stub.LoadCollection,
                    milvus_pb2.LoadCollectionRequest(collection_name=collection, replica_number=1),
                )
        check_status(status)

    def _call(self, method: Any, request: Any) -> Any:
        check_budget()
        left = seconds_left()
        # A moment longer than the caller waits, so that the caller's own timeout comes first.
        timeout_s = self._timeout_s if left is None else min(self._timeout_s, left + _GRACE_S)
        try:
            return method(request, timeout=timeout_s, metadata=self._metadata)
        except ValueError as exc:  # the channel is closed
            raise EngineUnavailableError(
                f"the connection to {self._address.server} is closed", hint="open the store again"
            ) from exc


def _pairs(options: Mapping[str, object]) -> list[Any]:
    return [common_pb2.KeyValuePair(key=key, value=str(value)) for key, value in options.items()]
