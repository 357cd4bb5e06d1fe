"""The values that cross module borders: what goes into memory and what comes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

JSONValue: TypeAlias = "str | int | float | bool | list[JSONValue] | dict[str, JSONValue] | None"
Metadata: TypeAlias = dict[str, JSONValue]
"""A record's JSON object. `metadata["text"]` holds a text memory's text."""

Where: TypeAlias = Mapping[str, JSONValue]
"""A filter such as `{"type": "fact", "day": {"$gte": 5}}`; the language is in `stores.filters`."""

Vector: TypeAlias = NDArray[np.float32]
"""shape (dim,), float32."""

Matrix: TypeAlias = NDArray[np.float32]
"""shape (n, dim), float32, C-contiguous: one vector a row."""


class Match(NamedTuple):
    """One search result.

    Attributes:
        metadata: the record's metadata, `metadata["text"]` included.
        score: higher is better; the cosine in [-1, 1] for a pure vector search.
        uid: the record's name in its namespace.
    """

    metadata: Metadata
    score: float
    uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One stored memory, whole.

    Attributes:
        uid: unique within `namespace`; a UUIDv7 when the store made it.
        vector: (dim,) float32, as it was added.
        metadata: the JSON object it was added with.
        namespace: whose memory it is.
        model_id: the embedding model that made the vector; None when the caller brought the vector.
        source: where it came from (a file, a URL), or None.
        session: the conversation it is a turn of, or None.
        created_at: seconds since the epoch, kept when the record is replaced.
        updated_at: seconds since the epoch of the last write.
        expires_at: seconds since the epoch after which it is never returned, or None.
    """

    uid: str
    vector: Vector
    metadata: Metadata
    namespace: str
    model_id: str | None
    source: str | None
    session: str | None
    created_at: float
    updated_at: float
    expires_at: float | None

    @property
    def text(self) -> str | None:
        """The memory's text, or None for a bare vector."""
        text = self.metadata.get("text")
        return text if isinstance(text, str) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """One text to remember, for batches.

    Attributes:
        text: what is embedded and found.
        memory_type: a label such as `"fact"`, stored as `metadata["type"]`.
        uid: replaces the memory of that name; a new name is made when None.
        extra: further metadata.
        expires_in_s: seconds after which the memory is never returned, or None.
        source: where it came from, or None.
        session: the conversation it is a turn of, or None; its neighbours there help to find it.
    """

    text: str
    memory_type: str = "fact"
    uid: str | None = None
    extra: Mapping[str, JSONValue] = field(default_factory=dict)
    expires_in_s: float | None = None
    source: str | None = None
    session: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One turn of a conversation; `"{speaker}: {text}"` is what is indexed.

    Attributes:
        speaker: who said it.
        text: what was said.
        uid: the turn's name; a new one is made when None.
        created_at: when it was said, as the caller writes times (ISO 8601 or epoch seconds); kept in the metadata.
        extra: further metadata.
    """

    speaker: str
    text: str
    uid: str | None = None
    created_at: str | float | None = None
    extra: Mapping[str, JSONValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a language model said, and the memories it was shown, best first."""

    text: str
    sources: list[Match]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatMessage:
    """One message of a chat: `role` is `"system"`, `"user"` or `"assistant"`."""

    role: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """What counts in a hybrid search.

    Attributes:
        vector: likeness of meaning.
        keyword: words in common.
        nearby: how much of a turn's likeness its neighbours in the session lend it; 0 for none.
    """

    vector: float = 1.0
    keyword: float = 1.0
    nearby: float = 0.5
