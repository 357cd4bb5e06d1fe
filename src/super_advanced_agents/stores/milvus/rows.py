"""Rows of a collection, and their conversion from and to a `Record`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
import orjson

from super_advanced_agents.stores.milvus.facts import MAX_FACTS, fact_hashes, term_hash
from super_advanced_agents.stores.records.documents import Document, with_text
from super_advanced_agents.stores.text.analyzer import NO_TEXT, Analysis, analyze, term_counts, window_terms
from super_advanced_agents.types import Metadata, Record, Vector

NEVER = 1e300
"""The expiry of a record that does not expire; Milvus 2.3 has no null."""
_NO_PRIORITY = -sys.float_info.max
_NO_PLACE = -1
_TEXT_BYTES = 60_000
"""The most bytes of a text in its first column.

A column holds 65,535 bytes, a text may have 65,536.
"""

STRINGS = ("namespace", "uid", "model_id", "source", "session", "text", "text_rest", "metadata", "language")
KEYS = ("tenant", "digest", "before", "after")
INTEGERS = ("seq", "place", "text_length", "window_length")
DOUBLES = ("created_at", "updated_at", "created_at_key", "updated_at_key", "expires_at", "priority")
LISTS = ("facts", "text_terms", "text_counts", "window_terms", "window_counts")

_OF_RECORD = (
    *("namespace", "uid", "model_id", "source", "session", "text", "text_rest", "metadata"),
    *("place", "created_at", "updated_at", "expires_at", "priority"),
)
RECORD_COLUMNS = ["pk", *_OF_RECORD, "vector"]
"""The columns that a `Record` is made of."""
ROW_COLUMNS = ["pk", *_OF_RECORD, "vector", "tenant", "seq", "before", "after", "digest"]
"""The columns that a `Row` is made of."""
MATCH_COLUMNS = [
    *("pk", "uid", "source", "session", "text", "text_rest", "metadata"),
    *("created_at", "updated_at", "seq", "complete"),
]
"""The columns that a `Match` is made of."""
SIGNAL_COLUMNS = [*MATCH_COLUMNS, "priority", "before", "after"]
"""The columns of a `Match`, and those of the signals of a hybrid search."""


class Scope(NamedTuple):
    """Hold a tenant and a namespace; every record belongs to one such pair."""

    tenant: str
    namespace: str


def primary_key(scope: Scope, uid: str) -> str:
    """Return the primary key of a record, which is unique in the collection."""
    parts = "".join(f"{len(part)}:{part}" for part in (*scope, uid))
    return blake2b(parts.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


@dataclass(slots=True, kw_only=True)
class Row:
    """Hold one record as it is to be stored.

    Attributes:
        seq: a number that grows with each write, by which equal scores are ordered.
        before: the primary key of the turn before it in its session; empty for none.
        after: that of the turn after it.
        digest: the digest of its content, in hexadecimal digits.
    """

    scope: Scope
    uid: str
    seq: int
    document: Document
    vector: Vector
    model_id: str | None
    source: str | None
    session: str | None
    place: int | None
    created_at: float
    updated_at: float
    expires_at: float | None
    priority: float | None
    digest: str
    before: str = ""
    after: str = ""
    analysis: Analysis | None = None

    @property
    def pk(self) -> str:
        """The primary key."""
        return primary_key(self.scope, self.uid)

    def terms(self) -> Analysis:
        """Return the terms of its text, analyzed once."""
        if self.analysis is None:
            self.analysis = NO_TEXT if self.document.text is None else analyze(self.document.text)
        return self.analysis

    def encoded(self, before: Row | None, after: Row | None) -> dict[str, Any]:
        """Return the columns of the row, with the terms of its neighbours in its window."""
        metadata = with_text(self.document.text, self.document.json)
        facts, complete = fact_hashes(metadata)
        columns = {
            "pk": self.pk,
            "tenant": self.scope.tenant,
            "namespace": self.scope.namespace,
            "uid": self.uid,
            "seq": self.seq,
            "model_id": self.model_id or "",
            "source": self.source or "",
            "session": self.session or "",
            "place": _NO_PLACE if self.place is None else self.place,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
            "created_at_key": round(self.created_at, 6),
            "updated_at_key": round(self.updated_at, 6),
            "expires_at": NEVER if self.expires_at is None else min(self.expires_at, NEVER),
            "priority": _NO_PRIORITY if self.priority is None else self.priority,
            "metadata": self.document.json.decode(),
            "digest": self.digest,
            "before": self.before,
            "after": self.after,
            "facts": facts,
            "vector": self.vector,
        }
        columns["text"], columns["text_rest"] = _parts_of(self.document.text)
        complete = self._add_terms(columns, before, after) and complete
        return columns | {"complete": complete}

    def _add_terms(self, columns: dict[str, Any], before: Row | None, after: Row | None) -> bool:
        # A record without a text has no entry in the keyword index: a length of -1.
        own = self.terms()
        neighbours = [NO_TEXT.terms if row is None else row.terms().terms for row in (before, after)]
        complete = True
        counts = {} if self.document.text is None else term_counts(own.terms)
        for field in ("text", "window"):
            if field == "window" and any(neighbours) and self.document.text is not None:
                counts = term_counts(window_terms(neighbours[0], own.terms, neighbours[1]))
            columns[f"{field}_length"] = -1 if self.document.text is None else sum(counts.values())
            complete = complete and len(counts) <= MAX_FACTS
            columns[f"{field}_terms"] = list(map(term_hash, counts))[:MAX_FACTS]
            columns[f"{field}_counts"] = list(counts.values())[:MAX_FACTS]
        columns["language"] = own.language
        return complete


def row_of(columns: Mapping[str, Any]) -> Row:
    """Return the row that is stored in these columns (`ROW_COLUMNS`)."""
    return Row(
        scope=Scope(columns["tenant"], columns["namespace"]),
        uid=columns["uid"],
        seq=int(columns["seq"]),
        document=Document(text_of(columns), columns["metadata"].encode()),
        vector=np.asarray(columns["vector"], dtype=np.float32),
        model_id=columns["model_id"] or None,
        source=columns["source"] or None,
        session=columns["session"] or None,
        place=None if columns["place"] == _NO_PLACE else int(columns["place"]),
        created_at=columns["created_at"],
        updated_at=columns["updated_at"],
        expires_at=expiry_of(columns),
        priority=priority_of(columns),
        digest=columns["digest"],
        before=columns["before"],
        after=columns["after"],
    )


def record_of(columns: Mapping[str, Any]) -> Record:
    """Return the record that is stored in these columns (`RECORD_COLUMNS`)."""
    return Record(
        uid=columns["uid"],
        vector=np.asarray(columns["vector"], dtype=np.float32),
        metadata=metadata_of(columns),
        namespace=columns["namespace"],
        model_id=columns["model_id"] or None,
        source=columns["source"] or None,
        session=columns["session"] or None,
        created_at=columns["created_at"],
        updated_at=columns["updated_at"],
        expires_at=expiry_of(columns),
        priority=priority_of(columns),
        place=None if columns["place"] == _NO_PLACE else int(columns["place"]),
    )


def metadata_of(columns: Mapping[str, Any]) -> Metadata:
    """Return the metadata of a stored record, its text included."""
    return with_text(text_of(columns), columns["metadata"])


def text_of(columns: Mapping[str, Any]) -> str | None:
    """Return the text of a stored record; None if it has none. No text is empty."""
    return (columns["text"] + columns["text_rest"]) or None


def expiry_of(columns: Mapping[str, Any]) -> float | None:
    """Return the time at which a stored record expires; None for never."""
    return None if columns["expires_at"] >= NEVER else float(columns["expires_at"])


def priority_of(columns: Mapping[str, Any]) -> float | None:
    """Return the priority of a stored record; None if it has none."""
    return None if columns["priority"] == _NO_PRIORITY else float(columns["priority"])


def size_of(columns: Mapping[str, Any], dim: int, number_bytes: int) -> int:
    """Return the bytes that a stored record takes in an answer, by estimate."""
    texts = sum(len(columns[name].encode()) for name in ("text", "text_rest", "metadata", "uid", "source", "session"))
    return 256 + texts + dim * number_bytes


def digest_of(document: Document, vector: Vector) -> str:
    """Return a digest of a record's content.

    That is its text, or else its vector, and its other metadata.
    """
    rest = orjson.dumps(orjson.loads(document.json), option=orjson.OPT_SORT_KEYS)
    content = b"vector" + vector.tobytes() if document.text is None else b"text" + document.text.encode()
    return blake2b(b"%s\0%s" % (rest, content), digest_size=16).hexdigest()


def _parts_of(text: str | None) -> tuple[str, str]:
    if text is None or len(text) * 4 <= _TEXT_BYTES:
        return text or "", ""
    encoded = text.encode()
    end = min(_TEXT_BYTES, len(encoded))
    while end < len(encoded) and encoded[end] & 0xC0 == 0x80:  # not within a character
        end -= 1
    return encoded[:end].decode(), encoded[end:].decode()


def seqs(columns: Sequence[Mapping[str, Any]]) -> Any:
    """Return the numbers by which equal scores of stored records are ordered, (n,) int64."""
    return np.array([row["seq"] for row in columns], dtype=np.int64)
