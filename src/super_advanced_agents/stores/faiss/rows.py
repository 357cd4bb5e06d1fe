"""Rows are the truth: every record in one SQLite file, and nothing in it that makes a commit slow."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

import numpy as np
import orjson

from super_advanced_agents.stores.faiss import migrations, schema
from super_advanced_agents.stores.validation import Document, with_text
from super_advanced_agents.telemetry import get_logger
from super_advanced_agents.types import Matrix, Metadata, Record

_log = get_logger("store")
_DATABASE_FILE = "memory.sqlite3"
_LOG_BYTES = 64 * 1024 * 1024
_AS_STORED = ("namespace", "model_id", "source", "session", "created_at", "updated_at", "expires_at")
_RECORDS = f"""
    SELECT uid, vector, text, metadata, {", ".join(_AS_STORED)}
    FROM records JOIN vectors USING (seq) JOIN scopes ON scopes.id = scope LEFT JOIN models ON models.id = records.model
    WHERE """  # noqa: S608  # made of constants


class Scope(NamedTuple):
    """Whose records: the tenant comes from a credential, the namespace from the caller."""

    tenant: str
    namespace: str


@dataclass(slots=True)
class Addition:
    """Records to insert or replace, in the shape the table wants."""

    scope: Scope
    uids: list[str]
    known_new: bool  # the store made every uid itself, so none can exist yet
    documents: list[Document]
    vectors: Matrix
    scaled: Matrix  # the vectors as searches compare them: of length 1 when the metric is the cosine
    model_id: str | None
    sources: Sequence[str | None]
    sessions: Sequence[str | None]
    now: float
    expires_at: Sequence[float | None]


@dataclass(slots=True)
class Change:
    """What a committed transaction did, for the indexes that follow it. Parallel lists for what was added."""

    added: list[int] = field(default_factory=list)
    scopes: list[int] = field(default_factory=list)
    expires_at: list[float | None] = field(default_factory=list)
    sessions: list[str | None] = field(default_factory=list)
    replaces: list[int | None] = field(default_factory=list)
    removed: list[int] = field(default_factory=list)


class _Replaced(NamedTuple):
    """What of a row outlives its replacement."""

    seq: int
    uid: str
    created_at: float
    session: str | None
    place: int


class Hit(NamedTuple):
    """What a search shows of a row, as it is stored."""

    uid: str
    text: str | None
    rest: str

    def metadata(self) -> Metadata:
        """A fresh metadata object, the caller's to keep."""
        return with_text(self.text, self.rest)


class Rows:
    """The table of records. One thread writes (`transaction`), any number read."""

    def __init__(self, folder: Path | None, settings: dict[str, str]) -> None:
        self._file = None if folder is None else folder / _DATABASE_FILE
        self._log = None if folder is None else folder / f"{_DATABASE_FILE}-wal"
        self._log_bytes = _LOG_BYTES
        self._writer = schema.connect(self._file)
        # In memory there is one connection for all, so it is locked; on disk every reading thread takes one of a pool.
        self._memory_lock = threading.RLock()
        self._idle_readers: SimpleQueue[sqlite3.Connection] = SimpleQueue()
        try:
            migrations.prepare(self._writer, self._file, settings)
            [(self.identity,)] = self._read("SELECT value FROM settings WHERE name = 'identity'")
            self._scope_ids: dict[Scope, int] = {
                Scope(tenant, name): id_ for id_, tenant, name in self._read("SELECT id, tenant, namespace FROM scopes")
            }
            self._model_ids: dict[str, int] = {name: id_ for id_, name in self._read("SELECT * FROM models")}
            self._new_scope_ids: dict[Scope, int] = {}  # of the open transaction; after a rollback their numbers are
            self._new_model_ids: dict[str, int] = {}  # given again, so no reader may see them before the commit
            self._next_seq = 1 + next(self._read("SELECT coalesce(max(seq), 0) FROM sqlite_sequence"), (0,))[0]
        except BaseException as exc:
            self.close()
            if isinstance(exc, sqlite3.Error):
                raise schema.translated(exc) from exc
            raise

    # -- writing, by the one writer thread ------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what is done inside, or nothing of it. After it returns the writes are durable."""
        with self._memory_lock if self._file is None else nullcontext():
            next_seq = self._next_seq
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._writer.execute("COMMIT")
                self._scope_ids.update(self._new_scope_ids)
                self._model_ids.update(self._new_model_ids)
            except BaseException:
                self._next_seq = next_seq
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise
            finally:
                self._new_scope_ids.clear()
                self._new_model_ids.clear()
            self._shorten_log()

    def _shorten_log(self) -> None:
        """Fold in a log that could not begin anew because some reader was always in it; else it grows without end."""
        try:
            size = 0 if self._log is None else self._log.stat().st_size
            if size > self._log_bytes:
                [busy, *_] = self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                self._log_bytes = 2 * size if busy else _LOG_BYTES
        except (OSError, sqlite3.Error) as exc:  # the rows are committed all the same
            _log.warning("store.checkpoint_failed", extra={"reason": str(exc)[:200]})

    def add(self, addition: Addition, change: Change) -> list[int]:
        """Insert or replace records; what happened is appended to `change`.

        Returns:
            Which of the addition's records were inserted, in the order of their rows: all but those named again later.
        """
        scope = self._scope_id(addition.scope)
        model = None if addition.model_id is None else self._model_id(addition.model_id)
        last = {uid: i for i, uid in enumerate(addition.uids)}  # of equal names in one batch the last wins
        replaced = {} if addition.known_new else self._remove_named(scope, addition.uids, change)
        seqs = range(self._next_seq, self._next_seq + len(last))
        self._next_seq = seqs.stop
        rows = []
        vectors = []
        blob, size = addition.vectors.tobytes(), addition.vectors[:1].nbytes  # slices cost a fifth of arrays' own bytes
        for seq, (uid, i) in zip(seqs, last.items(), strict=True):
            text, encoded = addition.documents[i]
            expires_at, session = addition.expires_at[i], addition.sessions[i]
            old = replaced.get(uid)
            created_at = addition.now if old is None else old.created_at
            place = seq if old is None or old.session != session else old.place
            rows.append(
                (
                    seq, scope, uid, text, encoded.decode(), model, addition.sources[i],
                    created_at, addition.now, expires_at, session, place,
                )
            )  # fmt: skip
            vectors.append((seq, blob[i * size : i * size + size]))
            change.expires_at.append(expires_at)
            change.sessions.append(session)
            change.replaces.append(None if old is None else old.seq)
        self._writer.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL)", rows)
        self._writer.executemany("INSERT INTO vectors VALUES (?, ?)", vectors)
        change.added.extend(seqs)
        change.scopes.extend([scope] * len(seqs))
        return list(last.values())

    def named(self, uids: Iterable[str], scope: Scope | None) -> list[int]:
        """The rows of these names, as the writer sees them inside its transaction."""
        if scope is None:
            return [row.seq for row in self._find_named(uids, None)]
        number = self._new_scope_ids.get(scope) or self._scope_ids.get(scope)
        return [] if number is None else [row.seq for row in self._find_named(uids, number)]

    def remove(self, seqs: Sequence[int], change: Change) -> None:
        """Delete rows."""
        chosen = _json_list(seqs)
        self._writer.execute("DELETE FROM records WHERE seq IN (SELECT value FROM json_each(?))", (chosen,))
        self._writer.execute("DELETE FROM vectors WHERE seq IN (SELECT value FROM json_each(?))", (chosen,))
        change.removed.extend(seqs)

    def _remove_named(self, scope: int, uids: list[str], change: Change) -> dict[str, _Replaced]:
        """Delete the rows that are about to be replaced; returns what their successors take over."""
        found = self._find_named(uids, scope)
        if found:
            self.remove([row.seq for row in found], change)
        return {row.uid: row for row in found}

    def _find_named(self, uids: Iterable[str], scope: int | None) -> list[_Replaced]:
        query = "SELECT seq, uid, created_at, session, place FROM records WHERE uid IN (SELECT value FROM json_each(?))"
        if scope is None:
            return [_Replaced(*row) for row in self._writer.execute(query, (_json_list(uids),))]
        return [_Replaced(*row) for row in self._writer.execute(query + " AND scope = ?", (_json_list(uids), scope))]

    def _scope_id(self, scope: Scope) -> int:
        known = self._scope_ids.get(scope) or self._new_scope_ids.get(scope)
        if known is None:
            cursor = self._writer.execute("INSERT INTO scopes (tenant, namespace) VALUES (?, ?)", scope)
            known = self._new_scope_ids[scope] = int(cursor.lastrowid or 0)
        return known

    def _model_id(self, model_id: str) -> int:
        known = self._model_ids.get(model_id) or self._new_model_ids.get(model_id)
        if known is None:
            cursor = self._writer.execute("INSERT INTO models (model_id) VALUES (?)", (model_id,))
            known = self._new_model_ids[model_id] = int(cursor.lastrowid or 0)
        return known

    # -- reading, by any thread -----------------------------------------------------------------------------------

    @property
    def last_seq(self) -> int:
        """The newest row number ever given."""
        return self._next_seq - 1

    def scope_id(self, scope: Scope) -> int | None:
        """The number of a scope; None when nothing was ever written there."""
        return self._scope_ids.get(scope)

    def hits(self, seqs: Sequence[int]) -> dict[int, Hit]:
        """What a search shows of these rows; rows deleted meanwhile are missing."""
        query = "SELECT seq, uid, text, metadata FROM records WHERE seq IN (SELECT value FROM json_each(?))"
        return {seq: Hit(uid, text, rest) for seq, uid, text, rest in self._read(query, (_json_list(seqs),))}

    def records(self, seqs: Sequence[int]) -> list[Record]:
        """Whole records, ordered by uid; rows deleted meanwhile are missing."""
        return self._records("seq IN (SELECT value FROM json_each(?))", (_json_list(seqs),))

    def records_named(self, uids: Sequence[str], scope: int | None, now: float) -> list[Record]:
        """The records of these names that have not expired, at one moment: one being replaced is never missing."""
        condition = "uid IN (SELECT value FROM json_each(?)) AND (expires_at IS NULL OR expires_at > ?)"
        if scope is None:
            return self._records(condition, (_json_list(uids), now))
        return self._records(condition + " AND scope = ?", (_json_list(uids), now, scope))

    def _records(self, condition: str, parameters: tuple[object, ...]) -> list[Record]:
        return [
            Record(
                uid=uid,
                vector=np.frombuffer(vector, dtype=np.float32).copy(),
                metadata=with_text(text, rest),
                **dict(zip(_AS_STORED, stored, strict=True)),
            )
            for uid, vector, text, rest, *stored in self._read(
                _RECORDS + condition + " ORDER BY uid, namespace", parameters
            )
        ]

    def after(self, uid: str) -> Iterator[tuple[int, str]]:
        """(row, name) of the records of every scope whose name comes after `uid`, in that order."""
        return self._read("SELECT seq, uid FROM records WHERE uid > ? ORDER BY uid", (uid,))

    def names(self, seqs: Sequence[int]) -> list[tuple[int, str]]:
        """(row, name) of these rows, in the order of their names; rows deleted meanwhile are missing."""
        query = "SELECT seq, uid FROM records WHERE seq IN (SELECT value FROM json_each(?)) ORDER BY uid"
        return list(self._read(query, (_json_list(seqs),)))

    def scopes_since(self, seq: int) -> Iterator[tuple[int, int, float | None]]:
        """(row, scope, expires_at) of every row after `seq`, in row order."""
        return self._read("SELECT seq, scope, expires_at FROM records WHERE seq > ? ORDER BY seq", (seq,))

    def metadata_between(self, after: int, last: int) -> Iterator[tuple[int, Metadata]]:
        """(row, metadata without its text) of the rows in (after, last]."""
        query = "SELECT seq, metadata FROM records WHERE seq > ? AND seq <= ? ORDER BY seq"
        return ((seq, with_text(None, rest)) for seq, rest in self._read(query, (after, last)))

    def in_sessions(self) -> Iterator[tuple[int, int, str]]:
        """(row, scope, session) of every row in a session, each session in its order."""
        return self._read(
            "SELECT seq, scope, session FROM records WHERE session IS NOT NULL ORDER BY scope, session, place"
        )

    def texts(self, seqs: Sequence[int]) -> dict[int, tuple[int, str]]:
        """Scope and text of those of these rows that have one."""
        query = (
            "SELECT seq, scope, text FROM records WHERE seq IN (SELECT value FROM json_each(?)) AND text IS NOT NULL"
        )
        return {seq: (scope, text) for seq, scope, text in self._read(query, (_json_list(seqs),))}

    def vectors_since(self, seq: int) -> Iterator[tuple[int, bytes]]:
        """(row, float32 bytes) of every row after `seq`, in row order."""
        return self._read("SELECT seq, vector FROM vectors WHERE seq > ? ORDER BY seq", (seq,))

    def size_bytes(self) -> int:
        """The size of the database, its write-ahead log not counted."""
        [(size_bytes,)] = self._read("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()")
        return int(size_bytes)

    def _read(self, query: str, parameters: tuple[object, ...] = ()) -> Iterator[Any]:
        """The rows of a query, read through a connection of the pool that goes back when the last row is taken."""
        if self._file is None:
            with self._memory_lock:
                found = self._writer.execute(query, parameters).fetchall()
            yield from found  # the lock is not held between two rows: who reads them may never take the last
            return
        try:
            connection = self._idle_readers.get_nowait()
        except Empty:
            connection = schema.connect(self._file)
        cursor = connection.cursor()
        try:
            yield from cursor.execute(query, parameters)
        finally:
            cursor.close()  # ends its read transaction, else the next reader would see the rows of then
            self._idle_readers.put(connection)

    def close(self) -> None:
        """Fold the write-ahead log into the database and close every connection."""
        while not self._idle_readers.empty():
            self._idle_readers.get_nowait().close()
        self._writer.close()


def _json_list(values: Iterable[object]) -> str:
    return orjson.dumps(list(values)).decode()
