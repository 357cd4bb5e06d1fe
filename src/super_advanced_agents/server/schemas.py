"""The shapes of requests and responses; what the values may be is the library's business."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, JsonValue, Tag

from super_advanced_agents.config import Limits
from super_advanced_agents.types import Match, Memory, Record, Turn

_BATCH = Limits().batch_records


class _Request(BaseModel):
    """Takes exactly what is named: no other members, no numbers in strings."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Query(BaseModel):
    """The body of `POST /search`, as the specification shows it."""

    query: str
    top_k: int = 5


class SearchRequest(_Request):
    """The body of a search in one agent's memories."""

    query: str
    top_k: int = 5
    mode: Literal["hybrid", "vector", "keyword"] = "hybrid"
    where: dict[str, JsonValue] | None = None
    memory_type: str | None = None


class AskRequest(_Request):
    """The body of a question."""

    question: str
    top_k: int = 5
    stream: bool = False


class MemoryIn(_Request):
    """One text to remember."""

    text: str
    memory_type: str = "fact"
    uid: str | None = None
    extra: dict[str, JsonValue] = Field(default_factory=dict)
    expires_in_s: float | None = None
    source: str | None = None
    session: str | None = None

    def memory(self) -> Memory:
        """The library's value."""
        return Memory(**dict(self))


class MemoriesIn(_Request):
    """A batch of texts to remember: all or none."""

    memories: list[MemoryIn] = Field(max_length=_BATCH)


class TurnIn(_Request):
    """One turn of a conversation."""

    speaker: str
    text: str
    uid: str | None = None
    created_at: str | float | None = None
    extra: dict[str, JsonValue] = Field(default_factory=dict)

    def turn(self) -> Turn:
        """The library's value."""
        return Turn(**dict(self))


class TurnsIn(_Request):
    """A conversation to remember: all or none."""

    turns: list[TurnIn] = Field(max_length=_BATCH)
    session: str | None = None


def _shape(body: object) -> str:
    if isinstance(body, dict):
        return "<batch>" if "memories" in body else "<turns>" if "turns" in body else "<one>"
    return "<one>"


Remember = Annotated[
    Annotated[MemoryIn, Tag("<one>")] | Annotated[MemoriesIn, Tag("<batch>")] | Annotated[TurnsIn, Tag("<turns>")],
    Discriminator(_shape),
]
"""One memory, a batch, or a conversation; which one, its members tell. The tags stay out of error messages."""


class Found(BaseModel):
    """One search result."""

    uid: str
    text: str | None
    score: float
    metadata: dict[str, JsonValue]

    @classmethod
    def of(cls, match: Match) -> Self:
        """From the library's value."""
        text = match.metadata.get("text")
        # What comes out of the store was checked on its way in; checking it again would cost more than the search.
        return cls.model_construct(
            uid=match.uid, text=text if isinstance(text, str) else None, score=match.score, metadata=match.metadata
        )


class Results(BaseModel):
    """What a search found, best first."""

    results: list[Found]

    @classmethod
    def of(cls, matches: list[Match]) -> Self:
        """From the library's values."""
        return cls.model_construct(results=[Found.of(match) for match in matches])


class Stored(BaseModel):
    """The names of what was stored, in order; the answer means that it is durable."""

    uids: list[str]


class MemoryOut(BaseModel):
    """One stored memory; times are seconds since the epoch."""

    uid: str
    text: str | None
    metadata: dict[str, JsonValue]
    source: str | None
    session: str | None
    model_id: str | None
    created_at: float
    updated_at: float
    expires_at: float | None

    @classmethod
    def of(cls, record: Record) -> Self:
        """From the library's value; the vector stays behind."""
        return cls.model_construct(
            uid=record.uid,
            text=record.text,
            metadata=record.metadata,
            source=record.source,
            session=record.session,
            model_id=record.model_id,
            created_at=record.created_at,
            updated_at=record.updated_at,
            expires_at=record.expires_at,
        )


class Page(BaseModel):
    """Some of an agent's memories in the order of their uids; `next` goes into `after` for the following page."""

    memories: list[MemoryOut]
    next: str | None


class AnswerOut(BaseModel):
    """An answer, and the memories it was made from, best first."""

    text: str
    sources: list[Found]


class Health(BaseModel):
    """The process is up."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Whether searches will be answered at once, and what is missing."""

    ready: bool
    store: Literal["open"] = "open"
    embedding_model: str
    language_model: str
    reason: str | None = None
