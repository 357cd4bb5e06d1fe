"""Content digests, by which writes with `dedupe` find records of equal content.

A scope has digests from its first such write on. In every scope they would make each write a quarter slower (27 ms
against 21 ms a thousand records, at 100,000 records): digests are random, so each touches another page of their index.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import TypeVar

import orjson

from super_advanced_agents.stores.faiss.rows.batch import RowBatch
from super_advanced_agents.stores.records.documents import Document

Value = TypeVar("Value")

_DIGEST_BYTES = 16
_PAGE = 2_000
_DIGESTS_PER_QUERY = 500


def digest_of(document: Document, vector: bytes) -> bytes:
    """Return a 16-byte digest of a record's content: its text and its other metadata.

    Of a record without a text the vector's bytes count instead.
    """
    rest = orjson.dumps(orjson.loads(document.json), option=orjson.OPT_SORT_KEYS)
    content = b"vector" + vector if document.text is None else b"text" + document.text.encode()
    return blake2b(b"%s\0%s" % (rest, content), digest_size=_DIGEST_BYTES).digest()  # JSON holds no NUL


def digests_of(batch: RowBatch) -> list[bytes]:
    """Return the content digest of each record of a batch."""
    blob, size = batch.vectors.tobytes(), batch.vectors[:1].nbytes
    return [
        digest_of(document, b"" if document.text is not None else blob[i * size : i * size + size])
        for i, document in enumerate(batch.documents)
    ]


def store_digests(connection: sqlite3.Connection, scope: int) -> None:
    """Compute the content digest of every record of a namespace, and store it in SQLite.

    `scope` is the number of one tenant's namespace.
    """
    query = """
        SELECT seq, text, metadata, CASE WHEN text IS NULL THEN
            (SELECT vector FROM vectors WHERE vectors.seq = records.seq) ELSE x'' END
        FROM records WHERE scope = ? AND seq > ? ORDER BY seq LIMIT ?"""
    last = 0
    while page := connection.execute(query, (scope, last, _PAGE)).fetchall():
        last = page[-1][0]
        digests = [(digest_of(Document(text, metadata.encode()), vector), seq) for seq, text, metadata, vector in page]
        connection.executemany("UPDATE records SET digest = ? WHERE seq = ?", digests)


def find_by_digest(
    connection: sqlite3.Connection, scope: int, digests: Sequence[bytes], now: float, *, but_for: Collection[str]
) -> dict[bytes, str]:
    """Map each digest to the uid of the oldest unexpired record with that content.

    Digests without such a record are missing.

    Args:
        connection: the writer's.
        scope: the number of the scope (one namespace of one tenant) to search.
        digests: the digests to look up.
        now: seconds since the epoch; expired records do not count.
        but_for: uids of records that do not count either.
    """
    uids: dict[bytes, str] = {}
    for start in range(0, len(digests), _DIGESTS_PER_QUERY):
        batch = digests[start : start + _DIGESTS_PER_QUERY]
        query = f"""
            SELECT digest, uid FROM records
            WHERE scope = ? AND digest IN ({", ".join("?" * len(batch))}) AND (expires_at IS NULL OR expires_at > ?)
            ORDER BY seq"""  # noqa: S608  # made of question marks
        for digest, uid in connection.execute(query, (scope, *batch, now)):
            if uid not in but_for:
                uids.setdefault(digest, uid)
    return uids


def without_uids(batch: RowBatch, uids: Collection[str]) -> RowBatch:
    """Return a copy of a batch without the records with these uids."""
    kept = [i for i, uid in enumerate(batch.uids) if uid not in uids]

    def select(values: Sequence[Value]) -> list[Value]:
        return [values[i] for i in kept]

    return replace(
        batch,
        uids=select(batch.uids),
        documents=select(batch.documents),
        vectors=batch.vectors[kept],
        scaled=batch.scaled[kept],
        sources=select(batch.sources),
        sessions=select(batch.sessions),
        expires_at=select(batch.expires_at),
        priorities=select(batch.priorities),
        digests=None if batch.digests is None else select(batch.digests),
    )
