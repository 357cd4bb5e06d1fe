"""The ids and results of writes that may be repeated, stored in the writes' transactions.

A client that got no reply sends its write again. Carrying it out again would bring back what another client has deleted
or changed meanwhile. The id is in the same transaction as the write, so that neither exists without the other, whenever
the process is killed.
"""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Sequence
from typing import cast

import orjson

from super_advanced_agents.errors import InvalidInputError

RETENTION_S = 86_400.0
"""The longest time for which a write is remembered; no client repeats a call for longer."""

MAX_WRITES = 100_000
"""The largest number of remembered writes of one tenant; the oldest are forgotten first."""

_TRIM_EVERY = 1_000
_TRIM_ROWS = 2_000

WriteResult = list[str] | int | bool


class WriteIds:
    """Remember which writes were carried out, in the transaction of each write.

    Only the writer thread calls it.

    Args:
        connection: the writer's.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._until_trim: Counter[str] = Counter()  # writes; 0 at first, so that short-lived processes trim too

    def find(self, tenant: str, write_id: str, digest: bytes, uids: Sequence[str]) -> WriteResult | None:
        """Return the result of an earlier write with this id; None when there was none.

        Args:
            tenant: the tenant of the write.
            write_id: the id that the client gave it.
            digest: the digest of the request.
            uids: the uids of the request, which are the result of most writes.

        Raises:
            InvalidInputError: the id was used for another write.
        """
        row = self._connection.execute(
            "SELECT result, digest FROM writes WHERE tenant = ? AND write_id = ?", (tenant, write_id)
        ).fetchone()
        if row is None:
            return None
        if row[1] not in (None, digest):
            raise InvalidInputError(
                "this write_id was used for another write",
                field="write_id",
                hint="give each write an id of its own, and only its repetitions the same",
            )
        return list(uids) if row[0] is None else cast("WriteResult", orjson.loads(row[0]))

    def store(self, tenant: str, write_id: str, digest: bytes, uids: Sequence[str], result: WriteResult) -> None:
        """Store the result of a write that the open transaction carries out.

        The arguments are those of `find`.
        """
        stored = None if result == list(uids) else orjson.dumps(result).decode()
        self._connection.execute(
            "INSERT INTO writes (tenant, write_id, result, at, digest) VALUES (?, ?, ?, ?, ?)",
            (tenant, write_id, stored, time.time(), digest),
        )
        if self._until_trim[tenant] == 0:
            self._until_trim[tenant] = _TRIM_EVERY
            self._trim(tenant)
        self._until_trim[tenant] -= 1

    def _trim(self, tenant: str) -> None:
        # In parts, so that no transaction is long.
        self._connection.execute(
            """DELETE FROM writes WHERE tenant = ? AND id <= (
                SELECT id FROM writes WHERE tenant = ? ORDER BY id DESC LIMIT 1 OFFSET ?)""",
            (tenant, tenant, MAX_WRITES),
        )
        self._connection.execute(
            """DELETE FROM writes WHERE id IN (
                SELECT id FROM (SELECT id, at FROM writes WHERE tenant = ? ORDER BY id LIMIT ?) WHERE at < ?)""",
            (tenant, _TRIM_ROWS, time.time() - RETENTION_S),
        )
