"""Rows of the table of records, as records and matches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from super_advanced_agents.stores.postgres.codecs import VectorCodec, of_raw_bytes
from super_advanced_agents.stores.records.answer_sizes import ITEM_BYTES, NESTED_BYTES
from super_advanced_agents.stores.records.documents import with_text
from super_advanced_agents.types import Match, Record

RECORD_COLUMNS = (
    "r.uid, r.vector, r.original, r.text, r.metadata, r.place, r.session, r.model, r.source, r.created_at, "
    "r.updated_at, r.expires_at, r.priority"
)
"""The columns from which `as_record` builds a record."""

MATCH_COLUMNS = "r.uid, r.text, r.metadata, r.source, r.session, r.created_at, r.updated_at"
"""The columns from which `as_match` builds a match."""

MATCH_BYTES = (
    f"({ITEM_BYTES} + coalesce(octet_length(r.text), 0) + octet_length(r.metadata) "
    "+ coalesce(octet_length(r.source), 0) + coalesce(octet_length(r.session), 0))"
)
"""The bytes that a match takes in an answer."""

RECORD_BYTES = (
    f"({MATCH_BYTES} + {NESTED_BYTES} * (length(r.metadata) - length(translate(r.metadata, '[' || chr(123), '')) - 1))"
)
"""The bytes that a record takes in an answer, without its vector.

Nested lists and objects take more in memory than as text.
"""


def as_record(row: Sequence[Any], namespace: str, codec: VectorCodec) -> Record:
    """Return the record of a row with `RECORD_COLUMNS`, read in binary format."""
    uid, vector, original, text, metadata, place, session, model, source, created, updated, expires, priority = row
    return Record(
        uid=uid,
        vector=codec.unpacked(vector) if original is None else of_raw_bytes(original),
        metadata=with_text(text, metadata),
        namespace=namespace,
        model_id=model,
        source=source,
        session=session,
        created_at=created,
        updated_at=updated,
        expires_at=expires,
        priority=priority,
        place=None if session is None else place,
    )


def as_match(row: Sequence[Any], score: float, similarity: float | None) -> Match:
    """Return the match of a row with `MATCH_COLUMNS`."""
    uid, text, metadata, source, session, created_at, updated_at = row
    return Match.of_stored(
        text,
        metadata,
        score=score,
        similarity=similarity,
        uid=uid,
        source=source,
        session=session,
        created_at=created_at,
        updated_at=updated_at,
    )
