"""The ids and results of writes that may be repeated.

They are in a collection beside that of the rows. A client that got no reply sends its write again. Milvus has no
transactions, so an id is stored twice: before the rows, with the uids that they will have, and after them, with the
result.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

import orjson

from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.stores.milvus.expressions import quote
from super_advanced_agents.stores.milvus.schema import complete, create_if_missing, writes_name

if TYPE_CHECKING:
    from super_advanced_agents.stores.milvus.engine.connection import MilvusConnection

RETENTION_S = 86_400.0
"""The time for which a write is remembered; no client repeats a call for longer."""

_MAX_KNOWN = 200
_TRIM_EVERY = 1_000
_TIMEOUT_S = 60.0
_MAX_CHARS = 65_535
_KINDS = {
    **dict.fromkeys(("pk", "digest", "result"), "STRING"),
    "done": "BOOLEAN",
    "at": "DOUBLE",
    "vector": "VECTOR",  # Milvus requires one
}


@dataclass(frozen=True, slots=True)
class KnownWrite:
    """Hold the stored row of an earlier write: its digest, and its result.

    Attributes:
        digest: the digest of the request.
        result: the result; for a write that was not finished, the uids that it planned, or None.
        done: False if the write was begun, and perhaps not finished.
    """

    digest: str
    result: object
    done: bool


class WriteIds:
    """Remember which writes were carried out. Only the writer thread calls it.

    Args:
        connection: the connection to the server.
    """

    def __init__(self, connection: MilvusConnection) -> None:
        self._connection = connection
        self._name = writes_name(connection.address.collection)
        self._known: OrderedDict[tuple[str, str], tuple[KnownWrite, int]] = OrderedDict()  # with its timestamp
        self._settled = 1  # the timestamp of the last one that is not among them
        self._ready = False
        self._until_trim = _TRIM_EVERY

    def find(self, tenant: str, write_id: str, digest: str, given: Sequence[str | None] | None) -> KnownWrite | None:
        """Return the earlier write with this id; None when there was none.

        Args:
            tenant: the tenant of the write.
            write_id: the id that the client gave it.
            digest: the digest of the request.
            given: of an add the uids that the request names, None where it names none; else None.

        Raises:
            InvalidInputError: the id was used for another write.
        """
        known, _ = self._known.get((tenant, write_id), (None, 0))
        if known is None:
            self._open()
            # Waiting for the last id that was stored would hold up each write until the server's next tick.
            rows = self._connection.read(
                self._name,
                f"pk == {quote(_key(tenant, write_id))}",
                ["digest", "result", "done", "at"],
                since=self._settled,
            )
            if not rows or rows[0]["at"] < time.time() - RETENTION_S:
                return None
            result = orjson.loads(rows[0]["result"])
            if given is not None and isinstance(result, dict):
                result = [result.get(str(i), uid) for i, uid in enumerate(given)]
            known = KnownWrite(rows[0]["digest"], result, bool(rows[0]["done"]))
        if known.digest != digest:
            raise InvalidInputError(
                "this write_id was used for another write",
                field="write_id",
                hint="give each write an id of its own, and only its repetitions the same",
            )
        return known

    def store(
        self,
        tenant: str,
        write_id: str,
        digest: str,
        given: Sequence[str | None] | None,
        result: object,
        *,
        done: bool,
    ) -> None:
        """Store that a write was begun, or that it is done. The first arguments are those of `find`."""
        self._open()
        stored = result
        if given is not None and isinstance(result, list):  # a column holds 65,535 bytes, 1,000 uids up to 1 MiB
            stored = {str(i): uid for i, (uid, known) in enumerate(zip(result, given, strict=True)) if uid != known}
        columns: dict[str, list[object]] = {
            "pk": [_key(tenant, write_id)],
            "digest": [digest],
            "result": [orjson.dumps(stored).decode()],
            "done": [done],
            "at": [time.time()],
            "vector": [[1.0, 0.0]],
        }
        timestamp = self._connection.store(self._name, columns, _KINDS)
        self._known[tenant, write_id] = KnownWrite(digest, result, done), timestamp
        if len(self._known) > _MAX_KNOWN:
            _, (_, forgotten_at) = self._known.popitem(last=False)
            self._settled = max(self._settled, forgotten_at)
        self._until_trim -= 1
        if self._until_trim <= 0:
            self._until_trim = _TRIM_EVERY
            self._connection.erase(self._name, f"at < {time.time() - RETENTION_S!r}")

    def _open(self) -> None:
        if self._ready:
            return
        from pymilvus import DataType

        client = self._connection.client
        schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("pk", DataType.VARCHAR, is_primary=True, max_length=64)
        schema.add_field("digest", DataType.VARCHAR, max_length=64)
        schema.add_field("result", DataType.VARCHAR, max_length=_MAX_CHARS)
        schema.add_field("done", DataType.BOOL)
        schema.add_field("at", DataType.DOUBLE)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=2)
        indexes = client.prepare_index_params()
        indexes.add_index("vector", index_type="FLAT", metric_type="L2")
        create_if_missing(self._connection, self._name, schema)
        complete(self._connection, self._name, (), indexes)
        self._ready = True


def _key(tenant: str, write_id: str) -> str:
    return blake2b(f"{len(tenant)}:{tenant}{write_id}".encode(), digest_size=16).hexdigest()
