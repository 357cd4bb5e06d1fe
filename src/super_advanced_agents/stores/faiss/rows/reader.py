"""Reading the rows of a store, by any thread: on disk each reader has a connection of its own."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from types import NoneType
from typing import Any

import numpy as np
import orjson

from super_advanced_agents._runtime import sqlite
from super_advanced_agents.stores.faiss.rows.row_cache import Hit, RowCache, checked_row
from super_advanced_agents.stores.validation import with_text
from super_advanced_agents.types import Metadata, Record

DATABASE_FILE = "memory.sqlite3"
_PLAIN_COLUMNS = ("namespace", "model_id", "source", "session", "created_at", "updated_at", "expires_at", "priority")
RECORDS = f"""
    SELECT uid, vector, text, metadata, place, {", ".join(_PLAIN_COLUMNS)}
    FROM records JOIN vectors USING (seq) JOIN scopes ON scopes.id = scope
        LEFT JOIN models ON models.id = records.model
    WHERE """  # noqa: S608  # made of constants


_SELECT_HITS = """
    SELECT seq, uid, text, metadata, source, session, created_at, updated_at
    FROM records WHERE seq IN (SELECT value FROM json_each(?))"""

_STATIC_SIGNAL_SHAPES = {(int, float, float), (int, float, NoneType)}
_TEXT_SHAPES = {(int, int, str)}


def as_record(row: Sequence[Any]) -> Record:
    """The record of one row that a query beginning with `RECORDS` found."""
    uid, vector, text, rest, place, *stored = row
    fields = dict(zip(_PLAIN_COLUMNS, stored, strict=True))
    return Record(
        uid=uid,
        vector=np.frombuffer(vector, dtype=np.float32).copy(),
        metadata=with_text(text, rest),
        place=None if fields["session"] is None else place,
        **fields,
    )


class RowReader:
    """The connections to a store's rows, and what is asked through them."""

    def __init__(self, folder: Path | None) -> None:
        self._file = None if folder is None else folder / DATABASE_FILE
        self._log = None if folder is None else folder / f"{DATABASE_FILE}-wal"
        self._writer = sqlite.connect(self._file)
        # In memory there is one connection for all, so it is locked; on disk every reading thread takes one of a pool.
        self._memory_lock = threading.RLock()
        self._idle_readers: SimpleQueue[sqlite3.Connection] = SimpleQueue()
        self._row_cache = RowCache()

    def hits(self, seqs: Sequence[int]) -> dict[int, Hit]:
        """What a search shows of these rows; rows deleted meanwhile may be missing."""
        found = self._row_cache.get_many(seqs)
        missing = [seq for seq in seqs if seq not in found]
        if missing:
            read = {seq: Hit.of_row(hit) for seq, *hit in self._all(_SELECT_HITS, (json_list(missing),))}
            self._row_cache.add_many(read)
            found.update(read)
        return found

    def static_signals(self, seqs: Sequence[int]) -> dict[int, tuple[float, float | None]]:
        """When these rows were last written, and their priority; rows deleted meanwhile are missing."""
        query = "SELECT seq, updated_at, priority FROM records WHERE seq IN (SELECT value FROM json_each(?))"
        found = (checked_row(row, _STATIC_SIGNAL_SHAPES) for row in self._read(query, (json_list(seqs),)))
        return {seq: (written, given) for seq, written, given in found}

    def records(self, seqs: Sequence[int]) -> list[Record]:
        """Whole records, ordered by uid; rows deleted meanwhile are missing."""
        return self._records("seq IN (SELECT value FROM json_each(?))", (json_list(seqs),))

    def records_by_uid(self, uids: Sequence[str], scope: int | None, now: float) -> list[Record]:
        """The records of these names that have not expired, at one moment: one being replaced is never missing."""
        condition = "uid IN (SELECT value FROM json_each(?)) AND (expires_at IS NULL OR expires_at > ?)"
        if scope is None:
            return self._records(condition, (json_list(uids), now))
        return self._records(condition + " AND scope = ?", (json_list(uids), now, scope))

    def _records(self, condition: str, parameters: tuple[object, ...]) -> list[Record]:
        found = self._read(RECORDS + condition + " ORDER BY uid, namespace", parameters)
        return [as_record(row) for row in found]

    def uids_after(self, uid: str) -> Iterator[tuple[int, str]]:
        """(row, name) of the records of every scope whose name comes after `uid`, in that order."""
        return self._read("SELECT seq, uid FROM records WHERE uid > ? ORDER BY uid", (uid,))

    def uids(self, seqs: Sequence[int]) -> list[tuple[int, str]]:
        """(row, name) of these rows, in the order of their names; rows deleted meanwhile are missing."""
        query = "SELECT seq, uid FROM records WHERE seq IN (SELECT value FROM json_each(?)) ORDER BY uid"
        return list(self._read(query, (json_list(seqs),)))

    def scopes_since(self, seq: int) -> Iterator[tuple[int, int, float | None]]:
        """(row, scope, expires_at) of every row after `seq`, in row order."""
        return self._read("SELECT seq, scope, expires_at FROM records WHERE seq > ? ORDER BY seq", (seq,))

    def metadata_between(self, after: int, last: int) -> Iterator[tuple[int, Metadata]]:
        """(row, metadata without its text) of the rows in (after, last]."""
        query = "SELECT seq, metadata FROM records WHERE seq > ? AND seq <= ? ORDER BY seq"
        return ((seq, with_text(None, rest)) for seq, rest in self._read(query, (after, last)))

    def metadata_of(self, seqs: Sequence[int]) -> list[tuple[int, Metadata]]:
        """(row, metadata) of these rows, past what searches showed lately; rows deleted meanwhile are missing."""
        query = "SELECT seq, text, metadata FROM records WHERE seq IN (SELECT value FROM json_each(?))"
        return [(seq, with_text(text, rest)) for seq, text, rest in self._all(query, (json_list(seqs),))]

    def session_rows(self) -> Iterator[tuple[int, int, str]]:
        """(row, scope, session) of every row in a session, each session in its order."""
        return self._read(
            "SELECT seq, scope, session FROM records WHERE session IS NOT NULL ORDER BY scope, session, place, seq"
        )

    def places(self, seqs: Sequence[int]) -> dict[int, int]:
        """The place of each of these rows in its session."""
        query = "SELECT seq, place FROM records WHERE seq IN (SELECT value FROM json_each(?))"
        return dict(self._read(query, (json_list(seqs),)))

    def texts(self, seqs: Sequence[int]) -> dict[int, tuple[int, str]]:
        """Scope and text of those of these rows that have one."""
        query = (
            "SELECT seq, scope, text FROM records WHERE seq IN (SELECT value FROM json_each(?)) AND text IS NOT NULL"
        )
        found = (checked_row(row, _TEXT_SHAPES) for row in self._read(query, (json_list(seqs),)))
        return {seq: (scope, text) for seq, scope, text in found}

    def vectors_since(self, seq: int) -> Iterator[tuple[int, bytes]]:
        """(row, float32 bytes) of every row after `seq`, in row order."""
        return self._read("SELECT seq, vector FROM vectors WHERE seq > ? ORDER BY seq", (seq,))

    def vectors(self, seqs: Sequence[int]) -> list[bytes]:
        """float32 bytes of these rows, in row order; rows deleted meanwhile are missing."""
        query = "SELECT vector FROM vectors WHERE seq IN (SELECT value FROM json_each(?)) ORDER BY seq"
        return [vector for (vector,) in self._read(query, (json_list(seqs),))]

    def setting(self, name: str) -> str | None:
        """What the store remembers of itself under this name."""
        [value] = next(self._read("SELECT value FROM settings WHERE name = ?", (name,)), (None,))
        return value

    def times_written(self) -> tuple[float | None, float | None]:
        """When the first and the last of the rows that are there were written; None when there is none."""
        query = "SELECT (SELECT updated_at FROM records ORDER BY seq LIMIT 1)"
        query += ", (SELECT updated_at FROM records ORDER BY seq DESC LIMIT 1)"
        [(oldest, newest)] = self._read(query)
        return oldest, newest

    def log_bytes(self) -> int:
        """The size of the write-ahead log."""
        try:
            return 0 if self._log is None else self._log.stat().st_size
        except FileNotFoundError:
            return 0

    def size_bytes(self) -> int:
        """The size of the database, its write-ahead log not counted."""
        [(size_bytes,)] = self._read("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()")
        return int(size_bytes)

    def _read(self, query: str, parameters: tuple[object, ...] = ()) -> Iterator[Any]:
        """The rows of a query, one by one; what it reads through is held until the last was taken."""
        if self._file is None:
            yield from self._all(query, parameters)  # no lock is held between two rows: the last may never be taken
            return
        with self._connection() as connection, closing(connection.cursor()) as cursor:
            # Closing it ends its read transaction, else the next reader would see the rows of then.
            yield from cursor.execute(query, parameters)

    def _all(self, query: str, parameters: tuple[object, ...] = ()) -> list[Any]:
        """The rows of a query, at once: half the time of `_read` for a few."""
        with self._connection() as connection:
            return connection.execute(query, parameters).fetchall()

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """One of the pool; in memory the only one, locked."""
        if self._file is None:
            with self._memory_lock:
                yield self._writer
            return
        try:
            connection = self._idle_readers.get_nowait()
        except Empty:
            connection = sqlite.connect(self._file)
        try:
            yield connection
        finally:
            self._idle_readers.put(connection)

    def close(self) -> None:
        """Fold the write-ahead log into the database and close every connection."""
        while not self._idle_readers.empty():
            self._idle_readers.get_nowait().close()
        self._writer.close()


def json_list(values: Iterable[object]) -> str:
    """What `json_each` makes rows of."""
    return orjson.dumps(list(values)).decode()
