"""The values that cross module borders: what goes into memory and what comes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from super_advanced_agents.types.objects import RECORD_MEMBERS, object_schema

JSONValue: TypeAlias = "str | int | float | bool | list[JSONValue] | dict[str, JSONValue] | None"
Metadata: TypeAlias = dict[str, JSONValue]
"""A record's JSON object. `metadata["text"]` holds a text memory's text."""

Where: TypeAlias = Mapping[str, JSONValue]
"""A filter such as `{"type": "fact", "day": {"$gte": 5}}`; the language is in `stores.filters`."""

Dedupe: TypeAlias = Literal["exact"]
"""What a write leaves out: `"exact"`, records whose content is there already."""

Vector: TypeAlias = NDArray[np.float32]
"""shape (dim,), float32."""

Matrix: TypeAlias = NDArray[np.float32]
"""shape (n, dim), float32, C-contiguous: one vector a row."""


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
        priority: how much it matters, a finite number; None when nobody said.
        place: its place among the turns of its session: a greater one was said later. Counted over the store it came
            from; `put` gives it back. None outside sessions; for `put` also the end of the session.
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

    @property
    def text(self) -> str | None:
        """The memory's text, or None for a bare vector."""
        text = self.metadata.get("text")
        return text if isinstance(text, str) else None

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """Let pydantic, and so FastAPI, take and give records as JSON objects; vectors are lists of numbers."""
        return object_schema(cls, RECORD_MEMBERS, handler, to_object=_record_object, of_object=_record_of_object)


def _record_object(record: Record) -> dict[str, object]:
    return {field.name: getattr(record, field.name) for field in fields(Record)} | {"vector": record.vector.tolist()}


def _record_of_object(value: dict[str, Any]) -> Record:
    return Record(**{**value, "vector": np.array(value["vector"], dtype=np.float32)})


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
        priority: how much it matters, for searches whose `Weights` count it; None for nothing said.
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
class CollectionInfo:
    """One collection of a server: vectors of one length, apart from all others.

    Attributes:
        name: 1 to 64 letters, digits, `_` or `-`; unique within its tenant.
        dim: the length of its vectors.
        metric: `"cosine"` or `"dot"`.
        index: `"auto"`, `"flat"`, `"hnsw"` or `"ivf"`; see `stores.options`.
        storage: what sealed vectors take in memory: `"fp32"`, `"fp16"` or `"sq8"`.
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
    """One agent of a server that was given settings; agents of all other names exist with the defaults.

    Attributes:
        name: 1 to 64 letters, digits, `_` or `-`; unique within its tenant.
        description: what it knows, in plain words, for people and for whoever routes questions to agents.
        namespace: whose memories it has; agents of the same one share them.
        answer_tokens: the length of an answer, at most, in tokens.
        context_chars: how many characters of memories an answer may be built from.
        rerank: whether the language model looks again at the best matches of each search.
        declared: whether the server's configuration file says all this; then it is changed there alone.
        updated_at: seconds since the epoch of the last change; None for a declared one.
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
    """One message of a chat: `role` is `"system"`, `"user"` or `"assistant"`."""

    role: str
    content: str
