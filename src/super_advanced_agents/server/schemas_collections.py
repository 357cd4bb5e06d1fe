"""The shapes of requests and responses about collections; members are named as the library names its arguments."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import asdict
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Discriminator, Field, JsonValue, Tag

from super_advanced_agents.config import LIMITS
from super_advanced_agents.server.packed_vectors import FLOAT_BYTES, unpacked
from super_advanced_agents.types import CollectionInfo, ExplainedMatch, Explanation, JSONValue, Match, Record, Weights

_BATCH = LIMITS.batch_records

VectorFormat: TypeAlias = Literal["numbers", "base64", "none"]
"""How vectors are told: lists of numbers, base64 of little-endian float32, or not at all."""


class _Body(BaseModel):
    """Takes exactly what is named: no other members, no numbers in strings."""

    model_config = ConfigDict(extra="forbid", strict=True)


def _form(vector: object) -> str:
    return "<base64>" if isinstance(vector, str) else "<numbers>"


Vector = Annotated[
    Annotated[list[float], Field(max_length=LIMITS.dim), Tag("<numbers>")]
    | Annotated[str, Field(max_length=LIMITS.dim * FLOAT_BYTES * 2), Tag("<base64>")],
    Discriminator(_form),
    Field(description="Numbers, or base64 of them as little-endian float32: a fifth of the size, and exact."),
]
"""One vector as it travels. The tags stay out of error messages."""

Object: TypeAlias = dict[str, JsonValue]


class CollectionIn(_Body):
    """A collection to make."""

    name: str = Field(description="1 to 64 letters, digits, `_` or `-`")
    dim: int = Field(ge=1, le=LIMITS.dim, description="the length of every vector")
    metric: Literal["cosine", "dot"] = "cosine"
    index: Literal["auto", "flat", "hnsw", "ivf"] = "auto"
    storage: Literal["fp32", "fp16", "sq8"] = "fp32"
    exist_ok: bool = Field(default=False, description="one of the same name and settings is as good")


class CollectionOut(BaseModel):
    """One collection; the time is in seconds since the epoch."""

    name: str
    dim: int
    metric: str
    index: str
    storage: str
    created_at: float

    @classmethod
    def of(cls, info: CollectionInfo) -> Self:
        """From the library's value."""
        return cls.model_construct(**asdict(info))


class Collections(BaseModel):
    """All of them, by name."""

    collections: list[CollectionOut]


class RecordsIn(_Body):
    """Records to add or replace, all or none, column by column: the n-th of each list belongs to the n-th vector."""

    vectors: list[Vector] = Field(max_length=_BATCH)
    metadatas: list[Object | None] | None = None
    uids: list[str | None] | None = None
    namespace: str | None = None
    model_id: str | None = None
    sources: list[str | None] | None = None
    sessions: list[str | None] | None = None
    expires_in_s: list[float | None] | None = None
    priorities: list[float | None] | None = None
    dedupe: Literal["exact"] | None = None


class RecordIn(_Body):
    """One whole record, as a page or `:get` gave it."""

    uid: str
    vector: Vector
    metadata: Object
    namespace: str
    model_id: str | None
    source: str | None
    session: str | None
    created_at: float
    updated_at: float
    expires_at: float | None
    priority: float | None = None
    place: int | None = None

    def record(self, field: str) -> Record:
        """The library's value; `field` is its name in the body."""
        vector = unpacked(self.vector, f"{field}.vector")
        return Record(**{**dict(self), "vector": vector})


class WholeRecordsIn(_Body):
    """Whole records to put back, of any namespaces, all or none."""

    records: list[RecordIn] = Field(max_length=_BATCH)


class UpdateIn(_Body):
    """Changes of one record; what is not named stays."""

    uid: str
    changes: Object | None = Field(default=None, description="a merge patch of the metadata (RFC 7396)")
    namespace: str | None = None
    vector: Vector | None = None
    model_id: str | None = None
    source: str | None = None
    expires_in_s: float | None = None
    priority: float | None = None


class _Narrowed(_Body):
    where: Object | None = Field(default=None, examples=[{"type": "fact", "day": {"$gte": 5}}])
    namespace: str | None = Field(default=None, description="every namespace when null")


class _Search(_Narrowed):
    top_k: int = Field(default=5, description="1 to 1,000")


class SearchIn(_Search):
    """One search by likeness."""

    query_vector: Vector
    model_id: str | None = None
    return_scores: bool = True


class SearchBatchIn(_Search):
    """Many searches by likeness at once."""

    query_vectors: list[Vector] = Field(max_length=_BATCH)
    model_id: str | None = None
    return_scores: bool = True


class WeightsIn(_Body):
    """What counts in a hybrid search."""

    vector: float = 1.0
    keyword: float = 1.0
    nearby: float = 0.5
    recency: float = 0.0
    priority: float = 0.0
    half_life_s: float = 30 * 86_400.0

    def weights(self) -> Weights:
        """The library's value."""
        return Weights(**dict(self))


class HybridIn(_Search):
    """One search by likeness and words together."""

    query_vector: Vector
    query_text: str
    model_id: str | None = None
    weights: WeightsIn | None = None
    explain: bool = False


class KeywordsIn(_Search):
    """One search by words."""

    query_text: str


class NamesIn(_Body):
    """Records by name."""

    uids: list[str] = Field(max_length=_BATCH)
    namespace: str | None = None
    vectors: VectorFormat = "numbers"


class ChosenIn(_Narrowed):
    """Records by filter; every one when there is none."""


class DeleteIn(_Narrowed):
    """Records by name, by filter, or by both; `where: {}` means every one of the namespace."""

    uids: list[str] | None = Field(default=None, max_length=_BATCH)


class ScanIn(_Narrowed):
    """One page of records in the order of their uids."""

    after: str | None = Field(default=None, description="the last uid of the page before")
    limit: int = Field(default=100, description="1 to 1,000")
    vectors: VectorFormat = "numbers"


class PageQuery(BaseModel):
    """Which page of all records."""

    model_config = ConfigDict(extra="forbid")

    after: str | None = Field(default=None, description="the last uid of the page before")
    limit: int = Field(default=100, ge=1, le=_BATCH)
    namespace: str | None = Field(default=None, description="every namespace when left out")
    vectors: VectorFormat = "numbers"


class SignalOut(BaseModel):
    """One reason for a score."""

    name: str
    value: float
    scaled: float
    weight: float
    added: float


class ExplanationOut(BaseModel):
    """Why a match has its score."""

    signals: list[SignalOut]
    retrieved: ExplanationOut | None


class MatchOut(BaseModel):
    """One search result; `explanation` is there when it was asked for."""

    uid: str
    score: float
    metadata: Object
    explanation: ExplanationOut | None = None


class Matches(BaseModel):
    """What a search found, best first."""

    results: list[MatchOut]


class ManyMatches(BaseModel):
    """What each of many searches found, in the order of the queries."""

    results: list[list[MatchOut]]


class RecordOut(BaseModel):
    """One whole record; times are seconds since the epoch."""

    uid: str
    vector: Vector | None
    metadata: Object
    namespace: str
    model_id: str | None
    source: str | None
    session: str | None
    created_at: float
    updated_at: float
    expires_at: float | None
    priority: float | None
    place: int | None


class Records(BaseModel):
    """Some records."""

    records: list[RecordOut]


class RecordPage(Records):
    """A page of them; `next` goes into `after` for the following one."""

    next: str | None


class StoredUids(BaseModel):
    """The names of what was stored, in order; the answer means that it is durable."""

    uids: list[str]


class Stored(BaseModel):
    """How many were stored; the answer means that they are durable."""

    stored: int


class Updated(BaseModel):
    """Whether there was such a record; the answer means that the change is durable."""

    updated: bool


class Deleted(BaseModel):
    """How many were deleted; the answer means that it is durable."""

    deleted: int


class Counted(BaseModel):
    """How many there are."""

    count: int


def match_out(match: Match) -> dict[str, object]:
    """As `MatchOut` shows it."""
    shown: dict[str, object] = {"uid": match.uid, "score": match.score, "metadata": match.metadata}
    if isinstance(match, ExplainedMatch):
        shown["explanation"] = _explanation_out(match.explanation)
    return shown


def _explanation_out(explanation: Explanation) -> dict[str, object]:
    retrieved = explanation.retrieved
    return {
        "signals": [asdict(signal) for signal in explanation.signals],
        "retrieved": None if retrieved is None else _explanation_out(retrieved),
    }


def records_out(records: Iterable[Record], vectors: VectorFormat) -> list[dict[str, object]]:
    """As `RecordOut` shows them."""
    return [
        {
            "uid": record.uid,
            "vector": _vector_out(record, vectors),
            "metadata": record.metadata,
            "namespace": record.namespace,
            "model_id": record.model_id,
            "source": record.source,
            "session": record.session,
            "created_at": record.created_at,
            "updated_at": record.updated_at,
            "expires_at": record.expires_at,
            "priority": record.priority,
            "place": record.place,
        }
        for record in records
    ]


def _vector_out(record: Record, vectors: VectorFormat) -> JSONValue | object:
    if vectors == "none":
        return None
    if vectors == "base64":
        return base64.b64encode(record.vector.astype("<f4", copy=False).tobytes()).decode("ascii")
    return record.vector  # orjson writes numpy's arrays itself
