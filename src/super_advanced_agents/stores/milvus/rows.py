"""Rows of a collection, and their conversion from and to a `Record`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, NamedTuple, TypeAlias

import orjson

from super_advanced_agents.stores.milvus.facts import MAX_FACTS, fact_hashes, term_hash
from super_advanced_agents.stores.records.answer_sizes import record_metadata_bytes, text_bytes
from super_advanced_agents.stores.records.documents import Document, with_text
from super_advanced_agents.stores.records.scope import Scope
from super_advanced_agents.stores.text.analyzer import NO_TEXT, Analysis, analyze, term_counts, window_terms
from super_advanced_agents.types import Metadata, Record, Vector, parsed_metadata

Columns: TypeAlias = Mapping[str, Any]
"""A row as it comes from the server: column -> value."""

MAX_ROWS = 16_384
"""The most rows that Milvus returns for one query."""
NEVER = 1e300
"""The expiry of a record that does not expire; Milvus 2.3 has no null."""
_NO_PRIORITY = -sys.float_info.max
_NO_PLACE = -1
_TEXT_BYTES = 60_000
"""The most bytes of a text in its first column.

A column holds 65,535 bytes, a text may have 65,536.
"""
_AHEAD_CHARS = 4_096
"""The longest text whose terms are computed before its write is queued.

The terms of a long text take more room than it.
"""
_ROW_BYTES = 512
"""The bytes of a row beside its texts, its lists and its vector."""
_NUMBER_BYTES = 9
"""The most bytes of a number of a list in a message."""

STRINGS = ("namespace", "uid", "model_id", "source", "session", "text", "text_rest", "metadata", "language")
KEYS = ("tenant", "digest", "before", "after")
INTEGERS = ("seq", "place", "text_length", "window_length")
DOUBLES = ("created_at", "updated_at", "created_at_key", "updated_at_key", "expires_at", "priority")
LISTS = ("facts", "text_terms", "text_counts", "window_terms", "window_counts")
KINDS: Mapping[str, str] = {
    **dict.fromkeys(("pk", *STRINGS, *KEYS), "STRING"),
    **dict.fromkeys(INTEGERS, "INTEGER"),
    **dict.fromkeys(DOUBLES, "DOUBLE"),
    **dict.fromkeys(LISTS, "INTEGERS"),
    "complete": "BOOLEAN",
    "vector": "VECTOR",
}
"""The kinds of all columns, as `engine.messages` names them."""

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


def primary_key(scope: Scope, uid: str) -> str:
    """Return the primary key of a record, which is unique in the collection."""
    parts = "".join(f"{len(part)}:{part}" for part in (*scope, uid))
    return blake2b(parts.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


class Terms(NamedTuple):
    """Hold the terms of a text as columns hold them.

    Attributes:
        hashes: the hashes of the distinct terms, as many as a list holds.
        counts: how often each occurs.
        length: the number of all terms.
        complete: whether the lists hold all terms.
    """

    hashes: list[int]
    counts: list[int]
    length: int
    complete: bool


_NO_TERMS = Terms([], [], -1, complete=True)
"""The terms of a record without a text, which the keyword index does not have."""


@dataclass(slots=True)
class Content:
    """Hold the metadata and the vector of a record, and what its columns have of them.

    Attributes:
        document: its metadata.
        vector: its vector.
        digest: the digest of both, in hexadecimal digits.
    """

    document: Document
    vector: Vector
    digest: str
    _analysis: Analysis | None = None
    _terms: Terms | None = None
    _facts: tuple[list[int], bool] | None = None

    @classmethod
    def prepared(cls, document: Document, vector: Vector) -> Content:
        """Return the content of a record to store, with its metadata facts, digest and terms."""
        rest = parsed_metadata(document.json)
        facts = fact_hashes(rest if document.text is None else {"text": document.text, **rest})
        content = cls(document, vector, _digest(document, rest, vector), _facts=facts)
        if document.text is not None and len(document.text) <= _AHEAD_CHARS:
            content._terms = _counted(content.analysis.terms)
        return content

    @property
    def analysis(self) -> Analysis:
        """The terms of its text."""
        if self._analysis is None:
            self._analysis = NO_TEXT if self.document.text is None else analyze(self.document.text)
        return self._analysis

    @property
    def terms(self) -> Terms:
        """The terms of its text, as columns hold them."""
        if self._terms is None:
            self._terms = _NO_TERMS if self.document.text is None else _counted(self.analysis.terms)
        return self._terms

    @property
    def facts(self) -> tuple[list[int], bool]:
        """The hashes of the facts about its metadata, and whether they are complete."""
        if self._facts is None:
            self._facts = fact_hashes(with_text(self.document.text, self.document.json))
        return self._facts


@dataclass(slots=True, kw_only=True)
class Row:
    """Hold one record as it is to be stored.

    Attributes:
        pk: its primary key.
        seq: a number that grows with each write, by which equal scores are ordered.
        before: the primary key of the turn before it in its session; empty for none.
        after: that of the turn after it.
    """

    scope: Scope
    uid: str
    pk: str
    seq: int
    content: Content
    model_id: str | None
    source: str | None
    session: str | None
    place: int | None
    created_at: float
    updated_at: float
    expires_at: float | None
    priority: float | None
    before: str = ""
    after: str = ""

    def window(self, before: Row | None, after: Row | None) -> Terms:
        """Return the terms of the row and of its neighbours."""
        neighbours = [NO_TEXT.terms if row is None else row.content.analysis.terms for row in (before, after)]
        if self.content.document.text is None or not any(neighbours):
            return self.content.terms
        return _counted(window_terms(neighbours[0], self.content.analysis.terms, neighbours[1]))


class Stored(NamedTuple):
    """Hold a row that is to be stored, and the terms of its window."""

    row: Row
    window: Terms

    @property
    def size_bytes(self) -> int:
        """The bytes of the row in a message, at most."""
        content = self.row.content
        text = len((content.document.text or "").encode())
        numbers = len(content.facts[0]) + 2 * (len(content.terms.hashes) + len(self.window.hashes))
        return _ROW_BYTES + text + len(content.document.json) + content.vector.nbytes + _NUMBER_BYTES * numbers


def columns_of(stored: Sequence[Stored]) -> dict[str, list[Any]]:
    """Return the columns of rows that are to be stored, by the names of `KINDS`."""
    rows = [each.row for each in stored]
    contents = [row.content for row in rows]
    texts = [_parts_of(content.document.text) for content in contents]
    columns: dict[str, list[Any]] = {
        "pk": [row.pk for row in rows],
        "tenant": [row.scope.tenant for row in rows],
        "namespace": [row.scope.namespace for row in rows],
        "uid": [row.uid for row in rows],
        "seq": [row.seq for row in rows],
        "model_id": [row.model_id or "" for row in rows],
        "source": [row.source or "" for row in rows],
        "session": [row.session or "" for row in rows],
        "place": [_NO_PLACE if row.place is None else row.place for row in rows],
        "created_at": [row.created_at for row in rows],
        "updated_at": [row.updated_at for row in rows],
        "created_at_key": [round(row.created_at, 6) for row in rows],
        "updated_at_key": [round(row.updated_at, 6) for row in rows],
        "expires_at": [NEVER if row.expires_at is None else min(row.expires_at, NEVER) for row in rows],
        "priority": [_NO_PRIORITY if row.priority is None else row.priority for row in rows],
        "before": [row.before for row in rows],
        "after": [row.after for row in rows],
        "text": [first for first, _ in texts],
        "text_rest": [rest for _, rest in texts],
        "metadata": [content.document.json.decode() for content in contents],
        "digest": [content.digest for content in contents],
        "facts": [content.facts[0] for content in contents],
        "language": [content.analysis.language for content in contents],
        "vector": [content.vector for content in contents],
    }
    for name, terms in (("text", [each.terms for each in contents]), ("window", [each.window for each in stored])):
        columns[f"{name}_length"] = [each.length for each in terms]
        columns[f"{name}_terms"] = [each.hashes for each in terms]
        columns[f"{name}_counts"] = [each.counts for each in terms]
    columns["complete"] = [
        each.row.content.facts[1] and each.row.content.terms.complete and each.window.complete for each in stored
    ]
    return columns


def row_of(columns: Mapping[str, Any]) -> Row:
    """Return the row that is stored in these columns (`ROW_COLUMNS`)."""
    return Row(
        scope=Scope(columns["tenant"], columns["namespace"]),
        uid=columns["uid"],
        pk=columns["pk"],
        seq=int(columns["seq"]),
        content=Content(Document(text_of(columns), columns["metadata"].encode()), columns["vector"], columns["digest"]),
        model_id=columns["model_id"] or None,
        source=columns["source"] or None,
        session=columns["session"] or None,
        place=None if columns["place"] == _NO_PLACE else int(columns["place"]),
        created_at=columns["created_at"],
        updated_at=columns["updated_at"],
        expires_at=expiry_of(columns),
        priority=priority_of(columns),
        before=columns["before"],
        after=columns["after"],
    )


def record_of(columns: Mapping[str, Any]) -> Record:
    """Return the record that is stored in these columns (`RECORD_COLUMNS`)."""
    return Record(
        uid=columns["uid"],
        vector=columns["vector"],
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
    texts = text_bytes(*(columns[name] for name in ("text", "text_rest", "uid", "source", "session")))
    return 256 + texts + record_metadata_bytes(columns["metadata"]) + dim * number_bytes


def _digest(document: Document, rest: Metadata, vector: Vector) -> str:
    # The digest of the text (of the vector if there is none) and of the other metadata.
    other = orjson.dumps(rest, option=orjson.OPT_SORT_KEYS)
    content = b"vector" + vector.tobytes() if document.text is None else b"text" + document.text.encode()
    return blake2b(b"%s\0%s" % (other, content), digest_size=16).hexdigest()


def _counted(terms: str) -> Terms:
    counts = term_counts(terms)
    numbers = list(counts.values())
    hashes = [term_hash(term) for term in counts]
    return Terms(hashes[:MAX_FACTS], numbers[:MAX_FACTS], sum(numbers), complete=len(numbers) <= MAX_FACTS)


def _parts_of(text: str | None) -> tuple[str, str]:
    if text is None or len(text) * 4 <= _TEXT_BYTES:
        return text or "", ""
    encoded = text.encode()
    end = min(_TEXT_BYTES, len(encoded))
    while end < len(encoded) and encoded[end] & 0xC0 == 0x80:  # not within a character
        end -= 1
    return encoded[:end].decode(), encoded[end:].decode()
