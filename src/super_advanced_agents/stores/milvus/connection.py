"""The connection to a Milvus server: blocking calls with a timeout.

Worker threads call it. pymilvus is imported when the first store is opened. Its asyncio client would tie a store to one
event loop, and gRPC releases the interpreter's lock while a thread waits.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np

from super_advanced_agents._runtime.concurrency.budget import check_budget
from super_advanced_agents.errors import (
    ConfigurationError,
    EngineUnavailableError,
    OverloadedError,
    StoreError,
    StoreFullError,
    SuperAdvancedAgentsError,
)
from super_advanced_agents.stores.milvus.address import MilvusAddress
from super_advanced_agents.types import Matrix

T = TypeVar("T")

Columns = Mapping[str, Any]
"""A row as it comes from the server: column -> value."""

OLDEST = (2, 3, 2)
"""The oldest supported server: the first with lists of integers and `array_contains`."""

MAX_ROWS = 16_384
"""The most rows that Milvus returns for one query."""

_OPEN_TIMEOUT_S = 10.0
_TIMEOUT_S = 30.0
_MAX_TENANTS = 4_096


class MilvusConnection:
    """Call one collection of a Milvus server. Thread-safe; every call blocks, for 30 seconds at most.

    A read sees all writes that this connection made before it for the same tenant. Milvus calls this the consistency
    level Session. pymilvus's own gives it for inserts only: a deletion has no timestamp in Milvus 2.3, so that a read
    after it returned the deleted row in 5 of 5 tries. So this class takes a timestamp after each deletion.

    Args:
        address: the server, the collection and the credential.

    Attributes:
        version: the server's version, such as (2, 3, 5).

    Raises:
        EngineUnavailableError: the server does not answer.
        ConfigurationError: it refuses the credential, or is too old.
    """

    def __init__(self, address: MilvusAddress) -> None:
        from pymilvus import MilvusClient

        # It logs every error at once with the expression, which has values of users. Errors are raised anyway.
        logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
        self.address = address
        self._lock = threading.Lock()
        self._written: dict[str, int] = {}  # tenant -> the timestamp of its last write here
        self._written_by_others = 0
        self._types: Mapping[str, Any] | None = None
        with self.errors(opening=True):
            self._client = MilvusClient(
                uri=address.uri,
                token=address.token,
                db_name=address.database,
                timeout=_OPEN_TIMEOUT_S,
                dedicated=True,  # else it shares a connection with other clients of the process, past their credentials
            )
            try:
                text = str(self._client.get_server_version(timeout=_OPEN_TIMEOUT_S))
            except BaseException:
                self._client.close()
                raise
        self.version = version_of(text)
        if self.version < OLDEST:
            self._client.close()
            raise ConfigurationError(
                f"{address.server} has version {text[:40]}, which has no lists of integers in a row",
                hint=f"upgrade it to {'.'.join(map(str, OLDEST))} or newer",
            )

    @property
    def client(self) -> Any:
        """The client of pymilvus, for the schema."""
        return self._client

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    # -- reading --------------------------------------------------------------------------------------------------

    def query(
        self, tenant: str, expression: str, columns: Sequence[str], *, partitions: Sequence[str], limit: int = MAX_ROWS
    ) -> list[dict[str, Any]]:
        """Return rows that meet an expression, in no order."""
        return self._read(
            tenant,
            lambda options: self._client.query(
                self.address.collection,
                filter=expression,
                output_fields=list(columns),
                partition_names=list(partitions),
                limit=min(limit, MAX_ROWS),
                **options,
            ),
        )

    def count(self, tenant: str, expression: str, *, partitions: Sequence[str]) -> int:
        """Count the rows that meet an expression."""
        [row] = self._read(
            tenant,
            lambda options: self._client.query(
                self.address.collection,
                filter=expression,
                output_fields=["count(*)"],
                partition_names=list(partitions),
                **options,
            ),
        )
        return int(row["count(*)"])

    def search(
        self,
        tenant: str,
        expression: str,
        queries: Matrix,
        columns: Sequence[str],
        *,
        partitions: Sequence[str],
        limit: int,
        params: Mapping[str, Any],
    ) -> list[list[dict[str, Any]]]:
        """Return for each query vector the rows that are nearest, of those that meet an expression.

        Each row has its similarity to the query in the column `distance`.
        """
        found = self._read(
            tenant,
            lambda options: self._client.search(
                self.address.collection,
                data=list(queries),
                anns_field="vector",
                filter=expression,
                limit=min(limit, MAX_ROWS),
                output_fields=list(columns),
                search_params=dict(params),
                partition_names=list(partitions),
                **options,
            ),
        )
        return [[{**hit["entity"], "pk": hit["pk"], "distance": hit["distance"]} for hit in hits] for hits in found]

    def _read(self, tenant: str, call: Callable[[dict[str, Any]], T]) -> T:
        check_budget()
        options: dict[str, Any] = {"timeout": _TIMEOUT_S}
        if self.address.strong:
            options["consistency_level"] = "Strong"
        else:
            written = self.last_write(tenant)
            # 1 is the level Eventually.
            options |= {"consistency_level": "Customized", "guarantee_timestamp": max(1, written)}
        with self.errors():
            return call(options)

    def last_write(self, tenant: str) -> int:
        """Return a number that changes with each write of a tenant over this connection."""
        with self._lock:
            return self._written.get(tenant, self._written_by_others)

    # -- writing --------------------------------------------------------------------------------------------------

    def upsert(self, tenant: str, rows: Sequence[Columns], *, partition: str) -> None:
        """Store rows, or replace those with the same primary keys, all of them or none."""
        with self.errors():
            columns = [
                {"name": name, "type": kind, "values": [_plain(row[name]) for row in rows]}
                for name, kind in self._column_types().items()
            ]
            # By columns, 1,000 rows of 384 numbers take pymilvus 0.06 s of processor time, by rows 0.16 s.
            result = self._handler.upsert(
                self.address.collection, columns, partition_name=partition, timeout=_TIMEOUT_S
            )
        self._note(tenant, int(result.timestamp))

    def _column_types(self) -> Mapping[str, Any]:
        if self._types is None:
            described = self._client.describe_collection(self.address.collection, timeout=_TIMEOUT_S)
            self._types = {field["name"]: field["type"] for field in described["fields"]}
        return self._types

    def delete(self, tenant: str, expression: str, *, partition: str) -> None:
        """Delete the rows that meet an expression on primary keys."""
        with self.errors():
            result = self._handler.delete(
                self.address.collection, expression, partition_name=partition, timeout=_TIMEOUT_S
            )
            # Milvus 2.3 returns 0; a timestamp that is taken afterwards is later than that of the deletion.
            timestamp = int(result.timestamp) or int(self._handler.alloc_timestamp(timeout=_TIMEOUT_S))
        self._note(tenant, timestamp)

    # -- other collections ----------------------------------------------------------------------------------------

    def read(self, collection: str, expression: str, columns: Sequence[str]) -> list[dict[str, Any]]:
        """Return rows of another collection; what other clients just wrote may be missing."""
        level = "Strong" if self.address.strong else "Session"
        with self.errors():
            found = self._client.query(
                collection, filter=expression, output_fields=list(columns), consistency_level=level, timeout=_TIMEOUT_S
            )
            return list(found)

    def store(self, collection: str, rows: Sequence[Columns]) -> None:
        """Store rows in another collection."""
        with self.errors():
            self._client.upsert(collection, list(rows), timeout=_TIMEOUT_S)

    def erase(self, collection: str, expression: str) -> None:
        """Delete rows of another collection."""
        with self.errors():
            self._client.delete(collection, filter=expression, timeout=_TIMEOUT_S)

    def _note(self, tenant: str, timestamp: int) -> None:
        with self._lock:
            self._written[tenant] = max(timestamp, self._written.pop(tenant, 0))
            if len(self._written) > _MAX_TENANTS:
                oldest = next(iter(self._written))
                self._written_by_others = max(self._written_by_others, self._written.pop(oldest))

    @property
    def _handler(self) -> Any:
        return self._client._get_connection()  # the client hides the timestamps of writes

    # -- errors ---------------------------------------------------------------------------------------------------

    @contextmanager
    def errors(self, *, opening: bool = False) -> Iterator[None]:
        """Raise errors of pymilvus within the context as errors of this package."""
        import grpc
        from pymilvus.exceptions import MilvusException

        try:
            yield
        except SuperAdvancedAgentsError:
            raise
        except (MilvusException, grpc.RpcError, grpc.FutureTimeoutError) as exc:
            raise _mapped(exc, self.address, opening=opening) from exc


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def version_of(text: str) -> tuple[int, ...]:
    """Return the numbers of a version such as `v2.3.5-lite`; (0,) if it has none."""
    numbers: list[int] = []
    for part in text.lstrip("v").split("-")[0].split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers) or (0,)


def _mapped(exc: BaseException, address: MilvusAddress, *, opening: bool) -> SuperAdvancedAgentsError:
    # Only words of this module reach the message: those of the server may repeat the values of a filter.
    words = f"{exc} {exc.__cause__ or ''}".lower()  # pymilvus says of a wrong password that it cannot connect
    code = getattr(exc, "code", None)
    if any(each in words for each in ("unauthenticated", "auth check", "permission deny", "privilege")):
        return ConfigurationError(
            f"{address.server} refused the credential", hint="check the user and password of the store's URL"
        )
    if address.database and "database" in words and "not found" in words:
        return ConfigurationError(
            f"{address.server} has no database {address.database!r}", hint="create it, or leave the option out"
        )
    if any(each in words for each in ("disk", "quota", "no space")):
        return StoreFullError(f"{address.server} has no room left", hint="free or add space at the server")
    if "rate limit" in words or "ratelimit" in words:
        return OverloadedError(f"{address.server} limits its rate", retry_after_s=1.0, hint="try again later")
    unreachable = ("unavailable", "connect", "timeout", "timed out", "deadline", "not ready", "refused", "shutting")
    if opening or not isinstance(code, int) or any(each in words for each in unreachable):
        return EngineUnavailableError(
            f"{address.server} does not answer", hint="check that it runs, and the address of the store's URL"
        )
    return StoreError(f"{address.server} refused a request (code {code})", hint="see the server's log")
