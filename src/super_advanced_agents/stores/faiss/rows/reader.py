"""Queries on the rows of a store, from any thread.

On disk each reading thread takes a connection from a pool; in memory all share one.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import product
from pathlib import Path
from queue import Empty, SimpleQueue
from types import NoneType
from typing import Any

import numpy as np
import orjson

from super_advanced_agents._runtime.disk import sqlite
from super_advanced_agents.config import STORE_DATABASE
from super_advanced_agents.stores.faiss.rows.row_cache import Hit, RowCache, checked_row, damaged_row
from super_advanced_agents.stores.faiss.rows.write_ahead_log import WriteAheadLog
from super_advanced_agents.stores.records.answer_sizes import ITEM_BYTES, record_metadata_bytes, text_bytes
from super_advanced_agents.stores.records.documents import with_text
from super_advanced_agents.stores.records.record_fields import RECORD_FIELDS, TIME_FIELDS, comparable, named_fields
from super_advanced_agents.types import JSONValue, Metadata, Record

_PLAIN_COLUMNS = ("namespace", "model_id", "source", "session", "created_at", "updated_at", "expires_at", "priority")
RECORDS = f"""
    SELECT uid, vector, text, metadata, place, {", ".join(_PLAIN_COLUMNS)}
    FROM records JOIN vectors USING (seq) JOIN scopes ON scopes.id = scope
        LEFT JOIN models ON models.id = records.model
    WHERE """  # noqa: S608  # made of constants

_BY_UID = " ORDER BY uid, namespace"
_BY_SEQ = "seq IN (SELECT value FROM json_each(?)) ORDER BY uid, namespace"

_SELECT_HITS = """
    SELECT seq, uid, text, metadata, source, session, created_at, updated_at
    FROM records WHERE seq IN (SELECT value FROM json_each(?))"""

_IN_SEQS = "seq IN (SELECT value FROM json_each(?))"
_FIELD_COLUMNS = ", ".join(RECORD_FIELDS.values())
_TEXT: tuple[type, ...] = (str, NoneType)
_FIELD_SHAPES = frozenset(product((str,), _TEXT, _TEXT, (float,), (float,)))
_FIELD_TYPES = {name: (float,) if name in TIME_FIELDS else _TEXT for name in RECORD_FIELDS}

_STATIC_SIGNAL_SHAPES = {(int, float, float), (int, float, NoneType)}
_TEXT_SHAPES = {(int, str)}


def _answer_bytes(row: Sequence[Any], number_bytes: int) -> int:
    _, vector, text, metadata_json, *_ = row
    return ITEM_BYTES + len(vector) // 4 * number_bytes + text_bytes(text) + record_metadata_bytes(metadata_json)


def as_record(row: Sequence[Any]) -> Record:
    """Build a record from one result row of a SELECT that begins with the constant `RECORDS`."""
    uid, vector, text, metadata_json, place, *values = row
    fields = dict(zip(_PLAIN_COLUMNS, values, strict=True))
    return Record(
        uid=uid,
        vector=np.frombuffer(vector, dtype=np.float32).copy(),
        metadata=with_text(text, metadata_json),
        place=None if fields["session"] is None else place,
        **fields,
    )


class RowReader:
    """Read the rows of a store, and own the connections to its database."""

    def __init__(self, folder: Path | None) -> None:
        self._file = None if folder is None else folder / STORE_DATABASE
        self._writer = sqlite.connect(self._file)
        self.log: WriteAheadLog | None = None
        # In memory there is one connection for all, so it is locked; on disk every reading thread takes one of a pool.
        self._memory_lock = threading.RLock()
        self._idle_readers: SimpleQueue[sqlite3.Connection] = SimpleQueue()
        self._row_cache = RowCache()

    def hits(self, seqs: Sequence[int]) -> dict[int, Hit]:
        """Map each row number to the stored columns that a search result shows.

        They come from a cache or from SQLite. Deleted rows may be missing.
        """
        hits = self._row_cache.get_many(seqs)
        missing = [seq for seq in seqs if seq not in hits]
        if missing:
            read = {seq: Hit.of_row(hit) for seq, *hit in self._all(_SELECT_HITS, (json_list(missing),))}
            self._row_cache.add_many(read)
            hits.update(read)
        return hits

    def static_signals(self, seqs: Sequence[int]) -> dict[int, tuple[float, float | None]]:
        """Map each row number to the row's last write time and its priority.

        Rows deleted meanwhile are missing.
        """
        query = "SELECT seq, updated_at, priority FROM records WHERE seq IN (SELECT value FROM json_each(?))"
        rows = (checked_row(row, _STATIC_SIGNAL_SHAPES) for row in self._read(query, (json_list(seqs),)))
        return {seq: (updated_at, priority) for seq, updated_at, priority in rows}

    def records(self, seqs: Sequence[int]) -> list[Record]:
        """Return the records with these row numbers, ordered by uid; deleted rows are missing."""
        return [as_record(row) for row in self._read(RECORDS + _BY_SEQ, (json_list(seqs),))]

    def sized_records(self, seqs: Sequence[int], number_bytes: int) -> Generator[tuple[Record, int]]:
        """Yield the records with these row numbers in uid order, each with its bytes in an answer.

        Deleted records are missing. `number_bytes` is the size of one number of a vector.
        """
        for row in self._read(RECORDS + _BY_SEQ, (json_list(seqs),)):
            yield as_record(row), _answer_bytes(row, number_bytes)

    def records_by_uid(
        self, uids: Sequence[str], scope: int | None, now: float, number_bytes: int
    ) -> Generator[tuple[Record, int]]:
        """Yield the records with these uids that have not expired, each with its bytes in an answer.

        One query reads all of them, so a record that is being replaced is never missing. `number_bytes` is the size of
        one number of a vector.
        """
        condition = "uid IN (SELECT value FROM json_each(?)) AND (expires_at IS NULL OR expires_at > ?)"
        parameters: tuple[object, ...] = (json_list(uids), now)
        if scope is not None:
            condition, parameters = condition + " AND scope = ?", (*parameters, scope)
        for row in self._read(RECORDS + condition + _BY_UID, parameters):
            yield as_record(row), _answer_bytes(row, number_bytes)

    def uids_after(self, uid: str) -> Iterator[tuple[int, str]]:
        """Yield (row number, uid) of all records whose uid is greater than `uid`, ordered by uid."""
        return self._read("SELECT seq, uid FROM records WHERE uid > ? ORDER BY uid", (uid,))

    def uids(self, seqs: Sequence[int]) -> list[tuple[int, str]]:
        """Return (row number, uid) of these rows, ordered by uid; deleted rows are missing."""
        query = "SELECT seq, uid FROM records WHERE seq IN (SELECT value FROM json_each(?)) ORDER BY uid"
        return list(self._read(query, (json_list(seqs),)))

    def namespaces(self, tenant: str) -> list[str]:
        """Return the namespaces that a tenant has ever written to, sorted by name."""
        query = "SELECT namespace FROM scopes WHERE tenant = ? ORDER BY namespace"
        return [namespace for (namespace,) in self._read(query, (tenant,))]

    def scopes_since(self, seq: int) -> Iterator[tuple[int, int, float | None]]:
        """Yield (row number, namespace number, expiry time) of every row above `seq`, in row order."""
        return self._read("SELECT seq, scope, expires_at FROM records WHERE seq > ? ORDER BY seq", (seq,))

    def sized_metadata_of(self, seqs: Sequence[int]) -> list[tuple[int, int, Metadata]]:
        """Return the metadata of these rows, in row order, with its size.

        Each is (row number, characters as JSON, metadata without the text). Rows deleted meanwhile are missing.
        """
        query = "SELECT seq, metadata FROM records WHERE seq IN (SELECT value FROM json_each(?)) ORDER BY seq"
        rows = self._all(query, (json_list(seqs),))
        return [(seq, len(metadata_json), with_text(None, metadata_json)) for seq, metadata_json in rows]

    def metadata_of(self, seqs: Sequence[int]) -> list[tuple[int, Metadata]]:
        """Return (row number, all that filters compare with) of these rows, read from SQLite.

        That is the metadata with the text, and the record's own fields by their reserved names. Rows deleted meanwhile
        are missing.
        """
        query = f"SELECT seq, text, metadata, {_FIELD_COLUMNS} FROM records WHERE {_IN_SEQS}"  # noqa: S608  # constants
        rows = self._all(query, (json_list(seqs),))
        return [
            (seq, with_text(text, metadata_json) | named_fields(checked_row(fields, _FIELD_SHAPES)))
            for seq, text, metadata_json, *fields in rows
        ]

    def field_of(self, name: str, seqs: Sequence[int]) -> list[tuple[int, JSONValue]]:
        """Return (row number, value of one of the record's own fields) of these rows, in row order.

        Rows deleted meanwhile are missing. `name` is the reserved name of the field, such as `$source`.
        """
        query = f"SELECT seq, {RECORD_FIELDS[name]} FROM records WHERE {_IN_SEQS} ORDER BY seq"  # noqa: S608  # constants
        shapes = {(int, kind) for kind in _FIELD_TYPES[name]}
        rows = (checked_row(row, shapes) for row in self._all(query, (json_list(seqs),)))
        return [(seq, comparable(name, value)) for seq, value in rows]

    def session_rows(self) -> Iterator[tuple[int, int, str]]:
        """Yield (row number, namespace number, session) of every row that belongs to a session.

        They are ordered by namespace, by session, and by place in the session.
        """
        return self._read(
            "SELECT seq, scope, session FROM records WHERE session IS NOT NULL ORDER BY scope, session, place, seq"
        )

    def places(self, seqs: Sequence[int]) -> dict[int, int]:
        """Map each row number to the row's position in its session; deleted rows are missing."""
        query = "SELECT seq, place FROM records WHERE seq IN (SELECT value FROM json_each(?))"
        return dict(self._read(query, (json_list(seqs),)))

    def texts(self, seqs: Sequence[int]) -> dict[int, tuple[int, str]]:
        """Map the number of each row that has a text to (namespace number, text)."""
        query = (
            "SELECT seq, scope, text FROM records WHERE seq IN (SELECT value FROM json_each(?)) AND text IS NOT NULL"
        )
        rows = self._all(query, (json_list(seqs),))
        if not {(type(scope), type(text)) for _, scope, text in rows} <= _TEXT_SHAPES:  # a third of the time one by one
            raise damaged_row()
        return {seq: (scope, text) for seq, scope, text in rows}

    def vectors_since(self, seq: int) -> Iterator[tuple[int, bytes]]:
        """Yield (row number, vector as float32 bytes) of every row above `seq`, in row order."""
        return self._read("SELECT seq, vector FROM vectors WHERE seq > ? ORDER BY seq", (seq,))

    def vectors(self, seqs: Sequence[int]) -> list[bytes]:
        """Return the vectors of these rows as float32 bytes, in row order.

        Rows deleted meanwhile are missing.
        """
        query = "SELECT vector FROM vectors WHERE seq IN (SELECT value FROM json_each(?)) ORDER BY seq"
        return [vector for (vector,) in self._read(query, (json_list(seqs),))]

    def setting(self, name: str) -> str | None:
        """Return a value of the store's `settings` table; None when there is none of that name."""
        [value] = next(self._read("SELECT value FROM settings WHERE name = ?", (name,)), (None,))
        return value

    def times_written(self) -> tuple[float | None, float | None]:
        """Return the write times of the oldest and the newest row; None when there are no rows."""
        query = "SELECT (SELECT updated_at FROM records ORDER BY seq LIMIT 1)"
        query += ", (SELECT updated_at FROM records ORDER BY seq DESC LIMIT 1)"
        [(oldest, newest)] = self._read(query)
        return oldest, newest

    def log_bytes(self) -> int:
        """Return the size of SQLite's write-ahead log in bytes."""
        return 0 if self.log is None else self.log.size_bytes()

    def size_bytes(self) -> int:
        """Return the size of the database in bytes, without its write-ahead log."""
        [(size_bytes,)] = self._read("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()")
        return int(size_bytes)

    def _read(self, query: str, parameters: tuple[object, ...] = ()) -> Iterator[Any]:
        if self._file is None:
            yield from self._all(query, parameters)  # fetched at once: a caller that stops early would keep the lock
            return
        with self._connection() as connection, closing(connection.cursor()) as cursor:
            # Closing the cursor ends its read transaction, else the connection's next reader would see old rows.
            yield from cursor.execute(query, parameters)

    def _all(self, query: str, parameters: tuple[object, ...] = ()) -> list[Any]:
        # Twice as fast as `_read` for few rows.
        with self._connection() as connection:
            return connection.execute(query, parameters).fetchall()

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        if self._file is None:
            with self._memory_lock:
                yield self._writer
            return
        try:
            connection = self._idle_readers.get_nowait()
        except Empty:
            if self.log is not None:
                self.log.watch.check()  # a path that leads to another file would show other records
            connection = sqlite.connect(self._file, create=False)
        try:
            yield connection
        finally:
            self._idle_readers.put(connection)

    def close(self) -> None:
        """Close every connection; SQLite then merges the write-ahead log into the database."""
        if self.log is not None:
            self.log.watch.close()
        while not self._idle_readers.empty():
            self._idle_readers.get_nowait().close()
        self._writer.close()


def json_list(values: Iterable[object]) -> str:
    """Encode values as a JSON list, to pass to SQLite's `json_each`."""
    return orjson.dumps(list(values)).decode()
