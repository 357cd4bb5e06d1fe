"""Records, memories, turns, collections and agents, and the types of vectors and metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from super_advanced_agents.types.objects import RECORD_MEMBERS, object_schema

JSONValue: TypeAlias = "str | int | float | bool | list[JSONValue] | dict[str, JSONValue] | None"
Metadata: TypeAlias = dict[str, JSONValue]
"""The JSON object stored with a record; `metadata["text"]` holds the text of a memory."""

Where: TypeAlias = Mapping[str, object]
"""A filter such as `{"type": "fact", "day": {"$gte": 5}}`; `stores.filters` has the syntax.

Values are JSON. The type does not say so: it has to accept a filter that was put into a variable first, whose inferred
type is `dict[str, object]`.
"""

Dedupe: TypeAlias = Literal["exact"]
"""The records that a write skips; `"exact"` skips those whose content is stored already."""

Vector: TypeAlias = NDArray[np.float32]
"""A vector of shape (dim,), float32."""

_SHOWN_CHARS = 60

Matrix: TypeAlias = NDArray[np.float32]
"""Vectors of shape (n, dim), float32, C-contiguous, one in each row."""


def shortened(text: str) -> str:
    """Return the beginning of a text, at most 60 characters, for representations."""
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 1] + "…"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Record:
    """Hold one record of a vector store: a vector, its metadata and a unique id.

    Attributes:
        uid: unique within `namespace`; a UUIDv7 when the store made it.
        vector: (dim,) float32, as it was added.
        metadata: the JSON object it was added with.
        namespace: the namespace that the record belongs to.
        model_id: the embedding model that made the vector; None when the caller brought the vector.
        source: where it came from (a file, a URL), or None.
        session: the conversation it is a turn of, or None.
        created_at: seconds since the epoch, kept when the record is replaced.
        updated_at: seconds since the epoch of the last write.
        expires_at: seconds since the epoch after which it is never returned, or None.
        priority: how much it matters, a finite number, or None.
        place: its position among the turns of its session; later turns have greater ones. Positions are counted over
            the whole store that it came from, and `put` restores them. None outside sessions; for `put`, None also
            means the end of the session.
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
    priority: float | None = None
    place: int | None = None

    def __repr__(self) -> str:
        text = "" if self.text is None else f", text={shortened(self.text)!r}"
        return f"Record(uid={self.uid!r}, namespace={self.namespace!r}{text})"

    @property
    def text(self) -> str | None:
        """The text of the record; None if the record has a vector but no text."""
        text = self.metadata.get("text")
        return text if isinstance(text, str) else None

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """Return the pydantic schema that reads and writes records as JSON objects.

        Vectors are lists of numbers.
        """
        return object_schema(cls, RECORD_MEMBERS, handler, to_object=_record_to_object, of_object=_record_from_object)


def _record_to_object(record: Record) -> dict[str, object]:
    return {field.name: getattr(record, field.name) for field in fields(Record)} | {"vector": record.vector.tolist()}


def _record_from_object(value: dict[str, Any]) -> Record:
    return Record(**{**value, "vector": np.array(value["vector"], dtype=np.float32)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Describe one text to store as a memory, with its type and other optional fields.

    Attributes:
        text: the text that is embedded and searched.
        memory_type: a label such as `"fact"`, stored as `metadata["type"]`.
        uid: the uid; replaces the memory that has it. A new one is made when None.
        extra: further metadata.
        expires_in_s: seconds after which the memory is never returned, or None.
        source: where it came from, or None.
        session: the conversation it is a turn of, or None; its neighbours there help to find it.
        priority: how much it matters, in searches whose `Weights` count it, or None.
    """

    text: str
    memory_type: str = "fact"
    uid: str | None = None
    extra: Mapping[str, JSONValue] = field(default_factory=dict)
    expires_in_s: float | None = None
    source: str | None = None
    session: str | None = None
    priority: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """Describe one turn of a conversation, which is stored as the text `"{speaker}: {text}"`.

    Attributes:
        speaker: the name of the speaker.
        text: the words of the turn, without the speaker.
        uid: the turn's uid; a new one is made when None.
        created_at: the time of the turn as the caller writes it (ISO 8601 or epoch seconds); stored in the metadata.
        extra: further metadata.
    """

    speaker: str
    text: str
    uid: str | None = None
    created_at: str | float | None = None
    extra: Mapping[str, JSONValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Relocation:
    """Describe the new place of a stored memory, whose text and vector stay as they are.

    Attributes:
        uid: the memory.
        source: where it comes from now, or None.
        session: the conversation that it is a turn of now, or None.
        extra: a merge patch (RFC 7396) of its further metadata, such as its lines in a file.
        created_at: the time of its creation, in seconds since the epoch; the stored one when None.
    """

    uid: str
    source: str | None = None
    session: str | None = None
    extra: Mapping[str, JSONValue] = field(default_factory=dict)
    created_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionInfo:
    """Describe a server's collection: a named set of records with vectors of equal length.

    Attributes:
        name: 1 to 64 letters, digits, `_` or `-`; unique within its tenant.
        dim: the length of its vectors.
        metric: `"cosine"` or `"dot"`.
        index: `"auto"`, `"flat"`, `"hnsw"` or `"ivf"` (see `stores.options`).
        storage: the number format of sealed vectors in memory: `"fp32"`, `"fp16"` or `"sq8"`.
        created_at: seconds since the epoch.
    """

    name: str
    dim: int
    metric: str
    index: str
    storage: str
    created_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentInfo:
    """Hold one agent's own settings; agents without such settings use the server's defaults.

    Attributes:
        name: 1 to 256 characters without control characters; unique within its tenant.
        description: the knowledge of the agent in plain words, for people and for routing questions to agents.
        namespace: the namespace of its memories; agents with the same namespace share them.
        answer_tokens: the maximum length of an answer, in tokens.
        context_chars: the maximum number of characters of memories in a prompt.
        rerank: whether the language model re-ranks the best matches of each search.
        declared: whether the server's configuration file declares it; it can then be changed only there.
        updated_at: seconds since the epoch of the last change; None for a declared agent.
    """

    name: str
    description: str
    namespace: str
    answer_tokens: int
    context_chars: int
    rerank: bool
    declared: bool
    updated_at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatMessage:
    """Hold one message of a chat with a language model: its role and its text.

    Attributes:
        role: `"system"`, `"user"` or `"assistant"`.
        content: the text of the message.
    """

    role: str
    content: str
