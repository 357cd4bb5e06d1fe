"""Which records have the same content: a digest of each record, kept in the scopes that have asked for it.

Kept for all they would cost a quarter more for each write (27 ms against 21 a thousand, at 100,000 records): they are
random, so each touches another page of their index.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import TypeVar

import orjson

from super_advanced_agents.stores.faiss.rows.batch import RowBatch
from super_advanced_agents.stores.validation import Document

Value = TypeVar("Value")

_DIGEST_BYTES = 16
_PAGE = 2_000
_LOOKED_UP = 500


def digest_of(document: Document, vector: bytes) -> bytes:
    """16 bytes that are equal for equal content: the text and the rest of the metadata; the vector where no text is."""
    rest = orjson.dumps(orjson.loads(document.json), option=orjson.OPT_SORT_KEYS)
    content = b"vector" + vector if document.text is None else b"text" + document.text.encode()
    return blake2b(b"%s\0%s" % (rest, content), digest_size=_DIGEST_BYTES).digest()  # JSON holds no NUL


def digests_of(batch: RowBatch) -> list[bytes]:
    """The digest of each of its records."""
    blob, size = batch.vectors.tobytes(), batch.vectors[:1].nbytes
    return [
        digest_of(document, b"" if document.text is not None else blob[i * size : i * size + size])
        for i, document in enumerate(batch.documents)
    ]


def fill(connection: sqlite3.Connection, scope: int) -> None:
    """Give every record of a scope its digest."""
    query = """
        SELECT seq, text, metadata, CASE WHEN text IS NULL THEN
            (SELECT vector FROM vectors WHERE vectors.seq = records.seq) ELSE x'' END
        FROM records WHERE scope = ? AND seq > ? ORDER BY seq LIMIT ?"""
    last = 0
    while found := connection.execute(query, (scope, last, _PAGE)).fetchall():
        last = found[-1][0]
        digests = [(digest_of(Document(text, rest.encode()), held), seq) for seq, text, rest, held in found]
        connection.executemany("UPDATE records SET digest = ? WHERE seq = ?", digests)


def holders(
    connection: sqlite3.Connection, scope: int, digests: Sequence[bytes], now: float, *, but_for: Collection[str]
) -> dict[bytes, str]:
    """Digest -> the uid of the oldest record of the scope that has it and has not expired; `but_for` some."""
    found: dict[bytes, str] = {}
    for start in range(0, len(digests), _LOOKED_UP):
        some = digests[start : start + _LOOKED_UP]
        query = f"""
            SELECT digest, uid FROM records
            WHERE scope = ? AND digest IN ({", ".join("?" * len(some))}) AND (expires_at IS NULL OR expires_at > ?)
            ORDER BY seq"""  # noqa: S608  # made of question marks
        for digest, uid in connection.execute(query, (scope, *some, now)):
            if uid not in but_for:
                found.setdefault(digest, uid)
    return found


def without(batch: RowBatch, names: Collection[str]) -> RowBatch:
    """The addition but for the records of these names."""
    kept = [i for i, uid in enumerate(batch.uids) if uid not in names]

    def chosen(values: Sequence[Value]) -> list[Value]:
        return [values[i] for i in kept]

    return replace(
        batch,
        uids=chosen(batch.uids),
        documents=chosen(batch.documents),
        vectors=batch.vectors[kept],
        scaled=batch.scaled[kept],
        sources=chosen(batch.sources),
        sessions=chosen(batch.sessions),
        expires_at=chosen(batch.expires_at),
        priorities=chosen(batch.priorities),
        digests=None if batch.digests is None else chosen(batch.digests),
    )
