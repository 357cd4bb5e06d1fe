"""Between the library's values and the messages of the protocol, both ways.

What reads a message raises `InvalidInputError` for whatever is malformed, naming the field; what makes one expects
values that the library has checked, and says so where a value cannot travel.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields

import numpy as np
import orjson
from numpy.typing import NDArray

from super_advanced_agents.errors import FilterError, InvalidInputError
from super_advanced_agents.protocol.v1 import agents_pb2 as agents
from super_advanced_agents.protocol.v1 import common_pb2 as shared
from super_advanced_agents.protocol.v1 import vector_store_pb2 as stores
from super_advanced_agents.types import (
    AgentInfo,
    Answer,
    CollectionInfo,
    Dedupe,
    ExplainedMatch,
    Explanation,
    JSONValue,
    Match,
    Matrix,
    Memory,
    Metadata,
    Record,
    Signal,
    Turn,
    Vector,
    Weights,
    Where,
)

_FLOAT = np.dtype("<f4")
_WEIGHTS = tuple(each.name for each in fields(Weights))
_AGENT = tuple(each.name for each in fields(AgentInfo))
_MAX_EXPLAINED = 16


# -- JSON -------------------------------------------------------------------------------------------------------------


def json_bytes(value: object, *, field: str, error: type[InvalidInputError] = InvalidInputError) -> bytes:
    """A JSON value as bytes.

    Raises:
        InvalidInputError: it holds what JSON in UTF-8 cannot say.
    """
    try:
        return orjson.dumps(value, default=_as_dict)
    except TypeError as exc:
        raise error(
            f"{field} cannot be sent as JSON",
            field=field,
            hint="integers have at most 64 bits, texts no lone surrogates",
        ) from exc


def _as_dict(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError


def json_object(data: bytes, *, field: str, error: type[InvalidInputError] = InvalidInputError) -> Metadata:
    """The JSON object in `data`.

    Raises:
        InvalidInputError: it is none.
    """
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as exc:
        raise error(f"{field} is not JSON in UTF-8", field=field) from exc
    if type(value) is not dict:
        raise error(f"{field} must be a JSON object", field=field)
    return value


def metadata_of(data: bytes, *, field: str) -> Metadata:
    """A record's metadata; `{}` for nothing."""
    return json_object(data, field=field) if data else {}


def where_bytes(where: Where) -> bytes:
    """A filter as bytes. Numbers beyond 64 bits arrive as floats, which compare alike with whatever is stored."""
    try:
        return orjson.dumps(where, default=_as_dict)
    except TypeError:
        return json.dumps(where, default=_as_dict).encode()


def where_of(data: bytes) -> Where:
    """A filter; what it means is checked by whoever carries it out."""
    return json_object(data, field="where", error=FilterError)


# -- vectors ----------------------------------------------------------------------------------------------------------


def packed(vectors: NDArray[np.float32]) -> bytes:
    """A vector or a matrix as bytes, row by row."""
    return np.ascontiguousarray(vectors, dtype=_FLOAT).tobytes()


def vector_of(data: bytes, *, field: str) -> Vector:
    """The (dim,) vector in `data`: a view of it, not to be written to."""
    if len(data) % _FLOAT.itemsize:
        raise InvalidInputError(f"{field} is {len(data)} bytes, no whole number of float32", field=field)
    return np.frombuffer(data, dtype=_FLOAT).astype(np.float32, copy=False)


def matrix_of(data: bytes, dim: int, *, field: str) -> Matrix:
    """The (n, dim) matrix in `data`: a view of it, not to be written to.

    Raises:
        InvalidInputError: it is no whole number of vectors of that length.
    """
    if not data:
        return np.empty((0, dim), dtype=np.float32)
    if not dim:
        raise InvalidInputError(f"dim must say how long each of {field} is", field="dim")
    if len(data) % (_FLOAT.itemsize * dim):
        raise InvalidInputError(
            f"{field} is {len(data)} bytes, no whole number of vectors of {dim} float32", field=field
        )
    return vector_of(data, field=field).reshape(-1, dim)


# -- matches ----------------------------------------------------------------------------------------------------------


def match_messages(matches: Iterable[Match]) -> list[shared.Match]:
    """Search results as messages, in order."""
    message, dumps = shared.Match, orjson.dumps
    made = []
    for match in matches:
        one = message(uid=match[2], score=match[1], metadata=dumps(match[0]))
        if isinstance(match, ExplainedMatch):
            one.explanation.CopyFrom(_explanation_message(match.explanation))
        made.append(one)
    return made


def matches_of(messages: Iterable[shared.Match]) -> list[Match]:
    """Search results, in order."""
    return [
        ExplainedMatch(
            metadata_of(each.metadata, field="matches"), each.score, each.uid, _explanation_of(each.explanation)
        )
        if each.HasField("explanation")
        else Match(metadata_of(each.metadata, field="matches"), each.score, each.uid)
        for each in messages
    ]


def _explanation_message(explanation: Explanation) -> shared.Explanation:
    return shared.Explanation(
        signals=[
            shared.Signal(name=each.name, value=each.value, scaled=each.scaled, weight=each.weight, added=each.added)
            for each in explanation.signals
        ],
        retrieved=None if explanation.retrieved is None else _explanation_message(explanation.retrieved),
    )


def _explanation_of(message: shared.Explanation, depth: int = 0) -> Explanation:
    if depth > _MAX_EXPLAINED:
        raise InvalidInputError("matches are explained too deeply", field="matches")
    return Explanation(
        signals=tuple(
            Signal(name=each.name, value=each.value, scaled=each.scaled, weight=each.weight, added=each.added)
            for each in message.signals
        ),
        retrieved=_explanation_of(message.retrieved, depth + 1) if message.HasField("retrieved") else None,
    )


def weights_message(weights: Weights) -> shared.Weights:
    """Weights as a message that leaves nothing to defaults."""
    return shared.Weights(**{name: getattr(weights, name) for name in _WEIGHTS})


def weights_of(message: shared.Weights) -> Weights:
    """Weights; what is absent has its default."""
    return Weights(**{name: getattr(message, name) for name in _WEIGHTS if message.HasField(name)})


# -- records ----------------------------------------------------------------------------------------------------------


def record_message(record: Record, *, vector: bool = True, field: str = "record") -> shared.Record:
    """A record as a message.

    Args:
        record: a checked one.
        vector: False leaves its vector behind.
        field: what to call it when its metadata cannot travel.
    """
    return shared.Record(
        uid=record.uid,
        vector=packed(record.vector) if vector else b"",
        metadata=json_bytes(record.metadata, field=f"{field}.metadata"),
        namespace=record.namespace,
        model_id=record.model_id,
        source=record.source,
        session=record.session,
        created_at=record.created_at,
        updated_at=record.updated_at,
        expires_at=record.expires_at,
        priority=record.priority,
        place=record.place,
    )


def record_of(message: shared.Record, *, field: str) -> Record:
    """A record; its vector is a copy."""
    has = message.HasField
    return Record(
        uid=message.uid,
        vector=vector_of(message.vector, field=f"{field}.vector").copy(),
        metadata=metadata_of(message.metadata, field=f"{field}.metadata"),
        namespace=message.namespace,
        model_id=message.model_id if has("model_id") else None,
        source=message.source if has("source") else None,
        session=message.session if has("session") else None,
        created_at=message.created_at,
        updated_at=message.updated_at,
        expires_at=message.expires_at if has("expires_at") else None,
        priority=message.priority if has("priority") else None,
        place=message.place if has("place") else None,
    )


def records_of(messages: Iterable[shared.Record], *, field: str = "records") -> list[Record]:
    """Records, in order."""
    return [record_of(message, field=f"{field}[{i}]") for i, message in enumerate(messages)]


def collection_message(info: CollectionInfo) -> stores.Collection:
    """A collection's description as a message."""
    return stores.Collection(
        name=info.name,
        dim=info.dim,
        metric=info.metric,
        index=info.index,
        storage=info.storage,
        created_at=info.created_at,
    )


def collection_of(message: stores.Collection) -> CollectionInfo:
    """A collection's description."""
    return CollectionInfo(
        name=message.name,
        dim=message.dim,
        metric=message.metric,
        index=message.index,
        storage=message.storage,
        created_at=message.created_at,
    )


# -- columns of a batch -----------------------------------------------------------------------------------------------


def texts_column(values: Sequence[str | None]) -> list[str]:
    """A column of texts; "" stands for None."""
    return ["" if value is None else value for value in values]


def texts_of(column: Sequence[str]) -> list[str | None] | None:
    """A column of texts; None where there is no column."""
    return [value or None for value in column] if column else None


def numbers_column(values: Sequence[float | None]) -> list[float]:
    """A column of numbers; NaN stands for None."""
    return [np.nan if value is None else value for value in values]


def numbers_of(column: Sequence[float]) -> list[float | None] | None:
    """A column of numbers; None where there is no column."""
    return [None if value != value else value for value in column] if column else None  # noqa: PLR0124  # only NaN is not itself


def dedupe_message(dedupe: Dedupe | None) -> shared.Dedupe:
    """What a write leaves out, as an enum."""
    return shared.DEDUPE_UNSPECIFIED if dedupe is None else shared.DEDUPE_EXACT


def dedupe_of(message: shared.Dedupe) -> Dedupe | None:
    """What a write leaves out."""
    if message == shared.DEDUPE_UNSPECIFIED:
        return None
    if message == shared.DEDUPE_EXACT:
        return "exact"
    raise InvalidInputError(f"dedupe has no meaning {int(message)}", field="dedupe")


# -- agents -----------------------------------------------------------------------------------------------------------


def memory_message(memory: Memory, *, field: str) -> agents.Memory:
    """A text to remember, as a message."""
    return agents.Memory(
        text=memory.text,
        memory_type=memory.memory_type,
        uid=memory.uid,
        extra=json_bytes(memory.extra, field=f"{field}.extra") if memory.extra else b"",
        expires_in_s=memory.expires_in_s,
        source=memory.source,
        session=memory.session,
        priority=memory.priority,
    )


def memory_of(message: agents.Memory, *, field: str) -> Memory:
    """A text to remember."""
    has = message.HasField
    return Memory(
        text=message.text,
        memory_type=message.memory_type if has("memory_type") else "fact",
        uid=message.uid if has("uid") else None,
        extra=metadata_of(message.extra, field=f"{field}.extra"),
        expires_in_s=message.expires_in_s if has("expires_in_s") else None,
        source=message.source if has("source") else None,
        session=message.session if has("session") else None,
        priority=message.priority if has("priority") else None,
    )


def turn_message(turn: Turn, *, field: str) -> agents.Turn:
    """A turn of a conversation, as a message."""
    said = turn.created_at
    return agents.Turn(
        speaker=turn.speaker,
        text=turn.text,
        uid=turn.uid,
        said_at=said if isinstance(said, str) else None,
        said_at_s=said if isinstance(said, int | float) else None,
        extra=json_bytes(turn.extra, field=f"{field}.extra") if turn.extra else b"",
    )


def turn_of(message: agents.Turn, *, field: str) -> Turn:
    """A turn of a conversation."""
    said: dict[str | None, str | float | None] = {"said_at": message.said_at, "said_at_s": message.said_at_s}
    return Turn(
        speaker=message.speaker,
        text=message.text,
        uid=message.uid if message.HasField("uid") else None,
        created_at=said.get(message.WhichOneof("created_at")),
        extra=metadata_of(message.extra, field=f"{field}.extra"),
    )


def answer_message(answer: Answer) -> agents.Answer:
    """An answer with its sources, as a message."""
    return agents.Answer(text=answer.text, sources=match_messages(answer.sources))


def answer_of(message: agents.Answer) -> Answer:
    """An answer with its sources."""
    return Answer(text=message.text, sources=matches_of(message.sources))


def agent_message(info: AgentInfo) -> agents.Agent:
    """An agent's settings as a message."""
    return agents.Agent(**{name: getattr(info, name) for name in _AGENT})


def agent_of(message: agents.Agent) -> AgentInfo:
    """An agent's settings."""
    given = {name: getattr(message, name) for name in _AGENT}
    return AgentInfo(**{**given, "updated_at": message.updated_at if message.HasField("updated_at") else None})


def stats_of(message: stores.StatsResponse) -> dict[str, JSONValue]:
    """Counters and sizes."""
    return json_object(message.stats, field="stats")
