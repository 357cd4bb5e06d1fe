"""What became of writes with an `Idempotency-Key`, as it lies on disk. Blocking; used by one thread at a time."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import orjson
from cachetools import LRUCache

from super_advanced_agents._runtime import sqlite
from super_advanced_agents.errors import StoreError
from super_advanced_agents.server.auth.secret import private_file, private_folder
from super_advanced_agents.types import JSONValue

KEPT_S = 86_400.0
_SEED_BYTES = 16
_SWEEP_S = 60.0
_SWEPT_ROWS = 1_000
_MOST_TENANTS = 1_024
_SCHEMA = sqlite.Schema(
    version=1,
    tables="""
CREATE TABLE requests (
    id INTEGER PRIMARY KEY AUTOINCREMENT, -- in the order in which they began; never reused
    tenant TEXT NOT NULL,
    key TEXT NOT NULL,
    digest BLOB NOT NULL, -- of what was asked
    seed BLOB NOT NULL, -- of the names that the request gives
    facts TEXT NOT NULL, -- JSON: what was so before its write
    at REAL NOT NULL, -- seconds since 1970
    status INTEGER, -- with the two below: the reply, once there was one
    headers TEXT,
    body BLOB,
    UNIQUE (tenant, key)
);
CREATE INDEX requests_at ON requests (at);
CREATE INDEX requests_of ON requests (tenant, id);
""",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a request was answered.

    Attributes:
        status: the HTTP status; of gRPC calls the one that stands beside theirs in the table of problems.
        headers: names in lower case, and values.
        body: as it was sent.
        replayed: it was made for an earlier request.
        whole: it is all there; what was streamed is not, and is not kept.
    """

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    replayed: bool = False
    whole: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Name:
    """Whose request, and its key."""

    tenant: str
    key: str


@dataclass(slots=True, kw_only=True)
class Begun:
    """A request that is to be carried out, perhaps again.

    Attributes:
        id: its row.
        seed: the same each time.
        at: when it first began, in seconds since 1970.
        facts: what was noted before its write.
    """

    id: int
    seed: bytes
    at: float
    facts: dict[str, JSONValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Begin:
    """Begin a request, unless it has its reply."""

    name: Name
    digest: bytes


@dataclass(frozen=True, slots=True)
class Note:
    """Keep what was so before a write."""

    id: int
    facts: dict[str, JSONValue]


@dataclass(frozen=True, slots=True)
class Answer:
    """Keep the reply."""

    name: Name
    id: int
    reply: Reply


Step: TypeAlias = Begin | Note | Answer


@dataclass(slots=True)
class _Size:
    """What one tenant has in the table."""

    keys: int
    bytes: int


class RequestTable:
    """A database of requests.

    Args:
        file: made when missing, readable for this user only.
        max_keys: how many requests of a tenant are kept; the oldest leave first.
        max_bytes: how long their replies may be together.

    Raises:
        StoreError: it cannot be used.
    """

    def __init__(self, file: Path, *, max_keys: int, max_bytes: int) -> None:
        self._max_keys = max_keys
        self._max_bytes = max_bytes
        self._connection = _opened(file)
        self._sizes: LRUCache[str, _Size] = LRUCache(_MOST_TENANTS)
        self._swept_at = -_SWEEP_S

    def execute(self, steps: Sequence[Step]) -> list[Begun | Reply | None]:
        """Carry out many requests' steps in one transaction; returned means durable.

        Returns:
            For each `Begin` a `Begun`, its reply, or None if something else was asked by that key; None for the others.
        """
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._sweep(time.time())
                results = [self._step(step) for step in steps]
                self._connection.execute("COMMIT")
            except BaseException:
                self._sizes.clear()
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as exc:
            raise sqlite.translated(exc) from exc
        return results

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    def _step(self, step: Step) -> Begun | Reply | None:
        match step:
            case Begin():
                return self._begin(step)
            case Note():
                facts = orjson.dumps(step.facts).decode()
                self._connection.execute("UPDATE requests SET facts = ? WHERE id = ?", (facts, step.id))
            case Answer():
                self._answer(step)
        return None

    def _begin(self, step: Begin) -> Begun | Reply | None:
        tenant, key, now = step.name.tenant, step.name.key, time.time()
        found = self._connection.execute(
            "SELECT id, digest, seed, facts, at, status, headers, body FROM requests WHERE tenant = ? AND key = ?",
            (tenant, key),
        ).fetchone()
        if found is not None and found[4] <= now - KEPT_S:
            self._delete("id = ?", found[0])
            found = None
        if found is None:
            size, seed = self._size(tenant), os.urandom(_SEED_BYTES)
            made = self._connection.execute(
                "INSERT INTO requests (tenant, key, digest, seed, facts, at) VALUES (?, ?, ?, ?, '{}', ?)",
                (tenant, key, step.digest, seed, now),
            )
            assert made.lastrowid is not None
            size.keys += 1
            self._make_room(tenant)
            return Begun(id=made.lastrowid, seed=seed, at=now)
        row, digest, seed, facts, at, status, headers, body = found
        if digest != step.digest:
            return None
        if status is None:
            return Begun(id=row, seed=seed, at=at, facts=orjson.loads(facts))
        pairs = tuple((name, value) for name, value in orjson.loads(headers))
        return Reply(status=status, headers=pairs, body=body, replayed=True)

    def _answer(self, step: Answer) -> None:
        reply, size = step.reply, self._size(step.name.tenant)
        done = self._connection.execute(
            "UPDATE requests SET status = ?, headers = ?, body = ? WHERE id = ? AND status IS NULL",
            (reply.status, orjson.dumps(reply.headers).decode(), reply.body, step.id),
        )
        if done.rowcount:
            size.bytes += len(reply.body)
            self._make_room(step.name.tenant)

    def _make_room(self, tenant: str) -> None:
        """Let the tenant's oldest requests go, but for its newest."""
        size = self._size(tenant)
        while size.keys > 1 and (size.keys > self._max_keys or size.bytes > self._max_bytes):
            self._delete("id = (SELECT min(id) FROM requests WHERE tenant = ?)", tenant)

    def _size(self, tenant: str) -> _Size:
        size = self._sizes.get(tenant)
        if size is None:
            counts = "SELECT count(*), coalesce(sum(length(body)), 0) FROM requests WHERE tenant = ?"
            size = self._sizes[tenant] = _Size(*self._connection.execute(counts, (tenant,)).fetchone())
        return size

    def _sweep(self, now: float) -> None:
        """Delete what is older than a day, a part at a time."""
        if time.monotonic() - self._swept_at < _SWEEP_S:
            return
        self._swept_at = time.monotonic()
        old = f"id IN (SELECT id FROM requests WHERE at <= ? ORDER BY at LIMIT {_SWEPT_ROWS})"  # noqa: S608
        if self._delete(old, now - KEPT_S) == _SWEPT_ROWS:
            self._swept_at -= _SWEEP_S  # there are more, for the next one

    def _delete(self, condition: str, value: object) -> int:
        gone = self._connection.execute(
            f"DELETE FROM requests WHERE {condition} RETURNING tenant, coalesce(length(body), 0)",  # noqa: S608
            (value,),
        ).fetchall()
        for tenant, body_bytes in gone:
            size = self._sizes.get(tenant)
            if size is not None:
                size.keys -= 1
                size.bytes -= body_bytes
        return len(gone)


def _opened(file: Path) -> sqlite3.Connection:
    private_folder(file.parent)
    try:
        private_file(file)
    except OSError as exc:
        raise StoreError(f"cannot use {str(file)!r}: {exc.strerror}", hint="check its permissions") from exc
    return sqlite.opened(file, _SCHEMA)
