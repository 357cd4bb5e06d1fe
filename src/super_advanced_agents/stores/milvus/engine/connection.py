"""The connection to a Milvus server: blocking calls with a timeout.

Worker threads call it. pymilvus is imported when the first store is opened. Its asyncio client would tie a store to one
event loop, and gRPC releases the interpreter's lock while a thread waits.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any

from pymilvus import MilvusClient

from super_advanced_agents.errors import ConfigurationError
from super_advanced_agents.stores.milvus.engine.address import MilvusAddress
from super_advanced_agents.stores.milvus.engine.calls import Calls, Waiting
from super_advanced_agents.stores.milvus.engine.error_mapping import engine_errors
from super_advanced_agents.stores.milvus.rows import KINDS, MAX_ROWS
from super_advanced_agents.types import Matrix

OLDEST = (2, 3, 2)
"""The oldest supported server: the first with lists of integers and `array_contains`."""

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
        # It logs every error at once with the expression, which has values of users. Errors are raised anyway.
        logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
        self.address = address
        self._lock = threading.Lock()
        self._written: dict[str, int] = {}  # tenant -> the timestamp of its last write here
        self._written_by_others = 0
        self._last_write = 0
        with ExitStack() as stack, self.errors(opening=True):
            self._client = MilvusClient(
                uri=address.uri,
                token=address.token,
                db_name=address.database,
                timeout=_OPEN_TIMEOUT_S,
                dedicated=True,  # else it shares a connection with other clients of the process, past their credentials
            )
            stack.callback(self._client.close)
            self.version = _supported(str(self._client.get_server_version(timeout=_OPEN_TIMEOUT_S)), address)
            stack.pop_all()
        self._calls = Calls(address, _TIMEOUT_S)

    @property
    def client(self) -> Any:
        """The client of pymilvus, for the schema."""
        return self._client

    def errors(self, *, opening: bool = False) -> AbstractContextManager[None]:
        """Return a context that raises errors of pymilvus as errors of this package."""
        return engine_errors(self.address, opening=opening)

    def close(self) -> None:
        """Close the connection."""
        self._calls.close()
        self._client.close()

    # -- reading --------------------------------------------------------------------------------------------------

    def query(
        self,
        tenant: str | None,
        expression: str,
        columns: Sequence[str],
        *,
        partitions: Sequence[str] = (),
        limit: int = MAX_ROWS,
        since: int | None = None,
    ) -> list[dict[str, Any]]:
        """Return rows that meet an expression, in no order.

        Args:
            tenant: the tenant whose writes over this connection are waited for; None for those of all tenants.
            expression: the expression.
            columns: the columns to return.
            partitions: the partitions to read; all of them when empty.
            limit: the most rows.
            since: the timestamp of the write to wait for, in place of the tenant's last one.
        """
        return self._calls.query(
            self.address.collection,
            expression,
            columns,
            self._waiting(tenant, since),
            partitions=partitions,
            limit=min(limit, MAX_ROWS),
        )

    def count(self, tenant: str | None, expression: str, *, partitions: Sequence[str] = ()) -> int:
        """Count the rows that meet an expression."""
        [row] = self._calls.query(
            self.address.collection, expression, ["count(*)"], self._waiting(tenant), partitions=partitions
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
        params: Mapping[str, object],
    ) -> list[list[dict[str, Any]]]:
        """Return the nearest rows to each query vector, among those that meet an expression.

        Each row has its similarity to the query in the column `distance`.
        """
        return self._calls.search(
            self.address.collection,
            expression,
            queries,
            columns,
            self._waiting(tenant),
            partitions=partitions,
            limit=min(limit, MAX_ROWS),
            params=params,
        )

    def last_write(self, tenant: str | None) -> int:
        """Return the timestamp of a tenant's last write over this connection.

        The tenant None stands for all tenants.
        """
        with self._lock:
            return self._last_write if tenant is None else self._written.get(tenant, self._written_by_others)

    def _waiting(self, tenant: str | None, since: int | None = None) -> Waiting:
        if self.address.strong:
            return Waiting(0)
        return Waiting(max(1, self.last_write(tenant) if since is None else since))

    # -- writing --------------------------------------------------------------------------------------------------

    def upsert(self, tenant: str, columns: Mapping[str, Sequence[Any]], *, partition: str) -> None:
        """Store rows, or replace those with the same primary keys, all of them or none."""
        self._note(tenant, self._calls.upsert(self.address.collection, columns, KINDS, partition=partition))

    def delete(self, tenant: str, expression: str, *, partition: str) -> None:
        """Delete the rows that meet an expression on primary keys."""
        self._note(tenant, self._calls.delete(self.address.collection, expression, partition=partition))

    # -- other collections ----------------------------------------------------------------------------------------

    def read(self, collection: str, expression: str, columns: Sequence[str], *, since: int) -> list[dict[str, Any]]:
        """Return rows of another collection.

        What was written to it after the timestamp `since` may be missing.
        """
        return self._calls.query(collection, expression, columns, self._waiting(None, since))

    def store(self, collection: str, columns: Mapping[str, Sequence[Any]], kinds: Mapping[str, str]) -> int:
        """Store rows in another collection, and return the timestamp of the write."""
        return self._calls.upsert(collection, columns, kinds)

    def erase(self, collection: str, expression: str) -> None:
        """Delete rows of another collection."""
        self._calls.delete(collection, expression)

    def _note(self, tenant: str, timestamp: int) -> None:
        with self._lock:
            self._last_write = max(self._last_write, timestamp)
            self._written[tenant] = max(timestamp, self._written.pop(tenant, 0))
            if len(self._written) > _MAX_TENANTS:
                oldest = next(iter(self._written))
                self._written_by_others = max(self._written_by_others, self._written.pop(oldest))


def version_of(text: str) -> tuple[int, ...]:
    """Return the numbers of a version such as `v2.3.5-lite`; (0,) if it has none."""
    numbers: list[int] = []
    for part in text.lstrip("v").split("-")[0].split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers) or (0,)


def _supported(text: str, address: MilvusAddress) -> tuple[int, ...]:
    version = version_of(text)
    if version < OLDEST:
        raise ConfigurationError(
            f"{address.server} has version {text[:40]}, which has no lists of integers in a row",
            hint=f"upgrade it to {'.'.join(map(str, OLDEST))} or newer",
        )
    return version
