"""The values that cross module borders: what goes into memory and what comes out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from super_advanced_agents.errors import InvalidInputError

_LARGEST_WEIGHT = 1_000_000

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
class Answer:
    """What a language model said, and the memories it was shown, best first."""

    text: str
    sources: list[Match]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """What counts in a hybrid search; checked when made.

    Attributes:
        vector: likeness of meaning.
        keyword: words in common.
        nearby: how much of a turn's likeness its neighbours in the session lend it; 0 for none.
        recency: how new a record is: 1 when written just now, half of that after each `half_life_s` since its last
            write (`updated_at`: what replaces a memory is news, whatever the age of its name).
        priority: the record's own priority, cut off at 0 and 1; none counts as 0.
        half_life_s: seconds in which half of a record's recency is gone.

    Recency and priority rank what meaning and words have found (100 of each, or `top_k`); they find nothing by
    themselves.

    Raises:
        InvalidInputError: one is not a number from 0 to a million, nothing counts, or the half-life is not positive.
    """

    vector: float = 1.0
    keyword: float = 1.0
    nearby: float = 0.5
    recency: float = 0.0
    priority: float = 0.0
    half_life_s: float = 30 * 86_400.0

    def __post_init__(self) -> None:
        for name in ("vector", "keyword", "nearby", "recency", "priority"):
            value = getattr(self, name)
            if not _is_number(value) or not 0 <= value <= _LARGEST_WEIGHT:
                raise InvalidInputError(
                    f"weights.{name} must be a finite number from 0 to {_LARGEST_WEIGHT}, not {value!r}",
                    field=f"weights.{name}",
                )
        if not _is_number(self.half_life_s) or not 0 < self.half_life_s < math.inf:
            raise InvalidInputError(
                f"weights.half_life_s must be a positive number of seconds, not {self.half_life_s!r}",
                field="weights.half_life_s",
            )
        if self.total == 0:
            raise InvalidInputError(
                "weights leave nothing to count", field="weights", hint="give vector, keyword, recency or priority one"
            )

    @property
    def total(self) -> float:
        """What the weighed sum is divided by, so that no score is above 1; `nearby` is a part of `vector`."""
        return self.vector + self.keyword + self.recency + self.priority


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """One reason for a score.

    Attributes:
        name: `"vector"`, `"nearby"`, `"keyword"`, `"recency"` or `"priority"`, as in `Weights`; `"rerank"` for what a
            re-ranker gave.
        value: as measured: a cosine, the mean cosine of a turn and its neighbours, BM25, or a number from 0 to 1.
        scaled: on the common scale: likeness and words are divided by what the best candidate has of them.
        weight: its share of all weights together.
        added: what it added to the score: `scaled * weight`.
    """

    name: str
    value: float
    scaled: float
    weight: float
    added: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a match has its score.

    Attributes:
        signals: what was added up; what a search does not weigh is not listed.
        retrieved: how it had been found, if a re-ranker has given it another score since.
    """

    signals: tuple[Signal, ...]
    retrieved: Explanation | None = None

    @property
    def total(self) -> float:
        """The sum of what the signals added: the match's score, to 1e-6 of it."""
        return math.fsum(signal.added for signal in self.signals)


class ExplainedMatch(Match):
    """A `Match` that tells why it has its score; it unpacks and compares like any other.

    Attributes:
        explanation: what added up to the score.
    """

    explanation: Explanation

    def __new__(cls, metadata: Metadata, score: float, uid: str, explanation: Explanation) -> Self:
        """A match of these three, with its explanation beside them."""
        match = super().__new__(cls, metadata, score, uid)
        match.explanation = explanation
        return match

    @classmethod
    def _make(cls, iterable: Iterable[object]) -> Match:  # type: ignore[override]  # what `_replace` changed is its own
        """A plain match: an explanation of other values would be wrong."""
        return Match._make(iterable)

    def __reduce__(self) -> tuple[type[Self], tuple[Metadata, float, str, Explanation]]:
        return type(self), (*self, self.explanation)

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, explanation={self.explanation!r})"
