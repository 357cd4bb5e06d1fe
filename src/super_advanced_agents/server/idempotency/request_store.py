"""The SQLite database of writes sent with an `Idempotency-Key`, and of the replies to them."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeAlias

import orjson
from cachetools import LRUCache

from super_advanced_agents._runtime.disk import sqlite, sqlite_errors
from super_advanced_agents._runtime.disk.files import private_file, private_folder
from super_advanced_agents._runtime.disk.watched_files import DatabaseWatch
from super_advanced_agents.errors import StoreError
from super_advanced_agents.types import JSONValue

RETENTION_S = 86_400.0
"""The seconds for which a request and its reply are stored, counted from its start."""

SEED_BYTES = 16
_SWEEP_INTERVAL_S = 60.0
_SWEEP_BATCH_ROWS = 1_000
_MAX_CACHED_SIZES = 1_024
_SCHEMA = sqlite.Schema(
    version=1,
    tables="""
CREATE TABLE requests (
    id INTEGER PRIMARY KEY AUTOINCREMENT, -- in the order of their start; never reused
    tenant TEXT NOT NULL,
    key TEXT NOT NULL,
    digest BLOB NOT NULL, -- of the request
    seed BLOB NOT NULL, -- of the uids of new records
    facts TEXT NOT NULL, -- JSON: the state before its write
    at REAL NOT NULL, -- seconds since 1970
    status INTEGER, -- the reply, with the two below; NULL before there is one
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
    """Hold the status, the headers and the body of the reply to a write.

    Attributes:
        status: the HTTP status; for a gRPC call, the HTTP status that corresponds to its code.
        body: the body as it was sent.
        headers: the names in lower case, and the values.
        replayed: True if an earlier request with the same key produced it.
        complete: False if the body was streamed, so that it cannot be stored.
    """

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    replayed: bool = False
    complete: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotencyKey:
    """A tenant and the `Idempotency-Key` of its request, which together identify the request."""

    tenant: str
    key: str


@dataclass(slots=True, kw_only=True)
class StartedRequest:
    """The stored state of a request with an `Idempotency-Key` that has no stored reply yet.

    Attributes:
        id: the row of the request.
        seed: random bytes from which the uids of new records are derived, the same at each attempt.
        at: the start of the first attempt, in seconds since 1970.
        facts: JSON values that an earlier attempt saved before its write.
    """

    id: int
    seed: bytes
    at: float
    facts: dict[str, JSONValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StartRequest:
    """A database step that stores a new request, or returns the reply to a repeated one."""

    key: IdempotencyKey
    digest: bytes


@dataclass(frozen=True, slots=True)
class SaveFacts:
    """A database step that saves the facts that a retry of the write needs after a crash.

    Another attempt reads them if a crash interrupts the write.
    """

    id: int
    facts: dict[str, JSONValue]


@dataclass(frozen=True, slots=True)
class SaveReply:
    """A database step that stores the reply to a request."""

    key: IdempotencyKey
    id: int
    reply: Reply


@dataclass(frozen=True, slots=True)
class EndAttempt:
    """A database step that lets another server carry out a request without a reply."""

    id: int


@dataclass(frozen=True, slots=True)
class RunningElsewhere:
    """The result of starting a request that another server carries out now."""


Step: TypeAlias = StartRequest | SaveFacts | SaveReply | EndAttempt
StepResult: TypeAlias = StartedRequest | Reply | RunningElsewhere | None


class Requests(Protocol):
    """A table of requests with an `Idempotency-Key`; `RequestTable` describes the methods."""

    shared: bool

    def execute(self, steps: Sequence[Step]) -> list[StepResult]:
        """Execute the database steps of several requests in one transaction, committed durably."""

    def check_files(self) -> None:
        """Raise if a file of the database was removed, replaced, emptied or cut by others."""

    def close(self) -> None:
        """Close the table."""


@dataclass(slots=True)
class _Size:
    keys: int
    bytes: int


class RequestTable:
    """The SQLite table of requests with an `Idempotency-Key`, and of the replies to them.

    Args:
        file: the database; created if it does not exist, readable by this user only.
        max_keys: how many requests of one tenant are stored; the oldest are deleted first.
        max_bytes: how many bytes of replies are stored for one tenant; the oldest requests are deleted first.

    Raises:
        StoreError: the database cannot be used.

    Attributes:
        shared: False, as no other server uses the file.
    """

    shared = False

    def __init__(self, file: Path, *, max_keys: int, max_bytes: int) -> None:
        self._max_keys = max_keys
        self._max_bytes = max_bytes
        self._connection = _open(file)
        self._watch = DatabaseWatch(file)
        self._connection_lock = threading.Lock()
        self._sizes: LRUCache[str, _Size] = LRUCache(_MAX_CACHED_SIZES)
        self._swept_at = -_SWEEP_INTERVAL_S

    def execute(self, steps: Sequence[Step]) -> list[StepResult]:
        """Execute the database steps of several requests in one transaction, committed durably.

        Returns:
            One result per step. For a `StartRequest`: a `StartedRequest`, or the stored `Reply`, or None if the key was
            used for a different request. For other steps: None.

        Raises:
            StoreError: the steps were not stored.
        """
        try:
            with self._connection_lock, sqlite.transaction(self._connection, self._watch):
                self._sweep(time.time())
                return [self._execute_step(step) for step in steps]
        except BaseException as exc:
            self._sizes.clear()
            if isinstance(exc, sqlite3.Error):
                raise sqlite_errors.map_error(exc) from exc
            raise

    def check_files(self) -> None:
        """Raise if a file of the database was removed, replaced, emptied or cut by others.

        What only a lost write-ahead log holds is saved into the database. Any thread may call it.

        Raises:
            StoreError: one was; nothing more can be written.
        """
        try:
            self._watch.check()
        finally:
            if self._watch.log_lost:
                with self._connection_lock:
                    sqlite.save_lost_log(self._connection, self._watch)

    def close(self) -> None:
        """Close the SQLite database of requests and replies."""
        self._watch.close()
        with self._connection_lock:
            self._connection.close()

    def _execute_step(self, step: Step) -> StepResult:
        match step:
            case StartRequest():
                return self._start(step)
            case SaveFacts():
                facts = orjson.dumps(step.facts).decode()
                self._connection.execute("UPDATE requests SET facts = ? WHERE id = ?", (facts, step.id))
            case SaveReply():
                self._save_reply(step)
            case EndAttempt():  # no other server has this file
                pass
        return None

    def _start(self, step: StartRequest) -> StartedRequest | Reply | None:
        tenant, key, now = step.key.tenant, step.key.key, time.time()
        stored = self._connection.execute(
            "SELECT id, digest, seed, facts, at, status, headers, body FROM requests WHERE tenant = ? AND key = ?",
            (tenant, key),
        ).fetchone()
        if stored is not None and stored[4] <= now - RETENTION_S:
            self._delete("id = ?", stored[0])
            stored = None
        if stored is None:
            size, seed = self._size(tenant), os.urandom(SEED_BYTES)
            inserted = self._connection.execute(
                "INSERT INTO requests (tenant, key, digest, seed, facts, at) VALUES (?, ?, ?, ?, '{}', ?)",
                (tenant, key, step.digest, seed, now),
            )
            assert inserted.lastrowid is not None
            size.keys += 1
            self._evict_oldest(tenant)
            return StartedRequest(id=inserted.lastrowid, seed=seed, at=now)
        row, digest, seed, facts, at, status, headers, body = stored
        if digest != step.digest:
            return None
        if status is None:
            return StartedRequest(id=row, seed=seed, at=at, facts=orjson.loads(facts))
        pairs = tuple((name, value) for name, value in orjson.loads(headers))
        return Reply(status=status, headers=pairs, body=body, replayed=True)

    def _save_reply(self, step: SaveReply) -> None:
        reply, size = step.reply, self._size(step.key.tenant)
        updated = self._connection.execute(
            "UPDATE requests SET status = ?, headers = ?, body = ? WHERE id = ? AND status IS NULL",
            (reply.status, orjson.dumps(reply.headers).decode(), reply.body, step.id),
        )
        if updated.rowcount:
            size.bytes += len(reply.body)
            self._evict_oldest(step.key.tenant)

    def _evict_oldest(self, tenant: str) -> None:
        # The newest request stays, even if it is larger than the limit: it is running.
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
        # Expired requests are deleted in batches, so that no transaction holds other requests up for long.
        if time.monotonic() - self._swept_at < _SWEEP_INTERVAL_S:
            return
        self._swept_at = time.monotonic()
        expired = f"id IN (SELECT id FROM requests WHERE at <= ? ORDER BY at LIMIT {_SWEEP_BATCH_ROWS})"  # noqa: S608
        if self._delete(expired, now - RETENTION_S) == _SWEEP_BATCH_ROWS:
            self._swept_at -= _SWEEP_INTERVAL_S  # more have expired, so the next transaction sweeps again

    def _delete(self, condition: str, value: object) -> int:
        deleted = self._connection.execute(
            f"DELETE FROM requests WHERE {condition} RETURNING tenant, coalesce(length(body), 0)",  # noqa: S608
            (value,),
        ).fetchall()
        for tenant, body_bytes in deleted:
            size = self._sizes.get(tenant)
            if size is not None:
                size.keys -= 1
                size.bytes -= body_bytes
        return len(deleted)


def check_requests(file: Path) -> None:
    """Raise if a newer version of this package wrote the requests in a file. Blocks.

    Raises:
        StoreError: it did.
    """
    sqlite.check_not_newer(file, _SCHEMA)


def _open(file: Path) -> sqlite3.Connection:
    private_folder(file.parent)
    try:
        private_file(file)
    except OSError as exc:
        raise StoreError(f"cannot use {str(file)!r}: {exc.strerror}", hint="check its permissions") from exc
    return sqlite.open_database(file, _SCHEMA)
