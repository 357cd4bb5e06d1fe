"""The shapes of requests and responses; what the values may be is the library's business."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, JsonValue, Tag

from super_advanced_agents.config import LIMITS
from super_advanced_agents.server.schemas_collections import ExplanationOut, WeightsIn, match_out
from super_advanced_agents.types import Match, Memory, Record, Turn

_BATCH = LIMITS.batch_records
_UID = "0199b3a0-3f9c-7c7e-8a51-5d1c2b3a4f5e"  # of examples


def shown(*examples: dict[str, Any]) -> ConfigDict:
    """For answers: what one looks like."""
    return ConfigDict(json_schema_extra={"examples": [*examples]})


def _taken(*examples: dict[str, Any]) -> ConfigDict:
    """For requests: exactly what is named, no other members, no numbers in strings."""
    return ConfigDict(json_schema_extra={"examples": [*examples]}, extra="forbid", strict=True)


class Query(BaseModel):
    """The body of `POST /search`, as the specification shows it."""

    model_config = shown({"query": "art gallery", "top_k": 3})

    query: str = Field(description="a question or a topic, in plain words")
    top_k: int = Field(default=5, description="1 to 1,000")


class _Finding(BaseModel):
    """How memories are found."""

    model_config = ConfigDict(extra="forbid", strict=True)

    top_k: int = Field(default=5, description="1 to 1,000")
    mode: Literal["hybrid", "vector", "keyword"] = "hybrid"
    where: dict[str, JsonValue] | None = Field(default=None, description="a filter over metadata")
    memory_type: str | None = Field(default=None, description="only memories of this type")
    weights: WeightsIn | None = Field(default=None, description="what counts in a hybrid search")
    rerank: bool | None = Field(
        default=None,
        description="whether the language model looks again at the best (needs the scope `generate`); as the agent is "
        "set when null",
    )

    def options(self) -> dict[str, Any]:
        """Arguments of `asearch_text`, but for `rerank`."""
        return {
            "top_k": self.top_k,
            "mode": self.mode,
            "where": self.where,
            "memory_type": self.memory_type,
            "weights": None if self.weights is None else self.weights.weights(),
        }


class SearchRequest(_Finding):
    """The body of a search in one agent's memories."""

    model_config = _taken({"query": "art gallery", "top_k": 3, "where": {"city": "Paris"}, "explain": True})

    query: str = Field(description="a question or a topic, in plain words")
    explain: bool = Field(default=False, description="tell what each score is made of")


class AskRequest(_Finding):
    """The body of a question."""

    model_config = _taken({"question": "Where is the Louvre?", "top_k": 3})

    question: str = Field(description="in plain words")
    answer_tokens: int | None = Field(
        default=None, ge=1, le=LIMITS.answer_tokens, description="the answer's length, at most; as the agent is set"
    )
    stream: bool = Field(default=False, description="answer with server-sent events: sources, text..., done or error")


class MemoryIn(BaseModel):
    """One text to remember."""

    model_config = _taken(
        {"text": "The Louvre is a museum", "memory_type": "fact", "extra": {"city": "Paris"}, "priority": 0.5}
    )

    text: str = Field(description="not blank, at most 64 KiB as UTF-8")
    memory_type: str = Field(default="fact", description="a label; `type` in the metadata")
    uid: str | None = Field(default=None, description="replaces the memory of that name; made when null")
    extra: dict[str, JsonValue] = Field(default_factory=dict, description="further metadata")
    expires_in_s: float | None = Field(default=None, description="a lifetime in seconds")
    source: str | None = None
    session: str | None = Field(default=None, description="the conversation it is a turn of")
    priority: float | None = Field(default=None, description="how much it matters")

    def memory(self) -> Memory:
        """The library's value."""
        return Memory(**{name: getattr(self, name) for name in MemoryIn.model_fields})


class OneMemoryIn(MemoryIn):
    """One text to remember, perhaps only if it is new."""

    dedupe: Literal["exact"] | None = Field(default=None, description="`exact`: not stored if the same one is there")


class MemoriesIn(BaseModel):
    """A batch of texts to remember: all or none."""

    model_config = _taken({"memories": [{"text": "The Louvre is a museum"}, {"text": "Cats sleep all day"}]})

    memories: list[MemoryIn] = Field(max_length=_BATCH)
    dedupe: Literal["exact"] | None = None


class TurnIn(BaseModel):
    """One turn of a conversation."""

    model_config = _taken({"speaker": "Ann", "text": "Where shall we go?"})

    speaker: str
    text: str
    uid: str | None = None
    created_at: str | float | None = Field(default=None, description="when it was said, as the caller writes times")
    extra: dict[str, JsonValue] = Field(default_factory=dict)

    def turn(self) -> Turn:
        """The library's value."""
        return Turn(**dict(self))


class TurnsIn(BaseModel):
    """A conversation to remember: all or none."""

    model_config = _taken({"turns": [{"speaker": "Ann", "text": "Where shall we go?"}], "session": "trip"})

    turns: list[TurnIn] = Field(max_length=_BATCH)
    session: str | None = None


def _shape(body: object) -> str:
    if isinstance(body, dict):
        return "<batch>" if "memories" in body else "<turns>" if "turns" in body else "<one>"
    return "<one>"


Remember = Annotated[
    Annotated[OneMemoryIn, Tag("<one>")] | Annotated[MemoriesIn, Tag("<batch>")] | Annotated[TurnsIn, Tag("<turns>")],
    Discriminator(_shape),
]
"""One memory, a batch, or a conversation; which one, its members tell. The tags stay out of error messages."""


class MemoryChanges(BaseModel):
    """Changes of one memory; what is not named stays, and null clears."""

    model_config = _taken({"extra": {"country": "France"}, "priority": 0.9})

    text: str | None = Field(default=None, description="the new text, embedded anew")
    memory_type: str | None = None
    extra: dict[str, JsonValue] | None = Field(default=None, description="a merge patch (RFC 7396) of further metadata")
    source: str | None = None
    expires_in_s: float | None = Field(default=None, description="a lifetime in seconds from now; null for ever")
    priority: float | None = None

    def given(self) -> dict[str, Any]:
        """Arguments of `aupdate_memory`: what the body names."""
        return {name: getattr(self, name) for name in self.model_fields_set}


class ForgetIn(BaseModel):
    """Memories by name, by filter, or by both; `where: {}` means all of the agent's."""

    model_config = _taken({"where": {"city": "Paris"}})

    uids: list[str] | None = Field(default=None, max_length=_BATCH)
    where: dict[str, JsonValue] | None = None


class ChosenMemories(BaseModel):
    """Memories by filter; every one when there is none."""

    model_config = _taken({"where": {"city": "Paris"}})

    where: dict[str, JsonValue] | None = None


class ScanMemories(ChosenMemories):
    """One page of the memories that match, in the order of their uids."""

    model_config = _taken({"where": {"city": "Paris"}, "limit": 50})

    after: str | None = Field(default=None, description="the last uid of the page before")
    limit: int = Field(default=100, ge=1, le=_BATCH)


_FOUND = {
    "uid": _UID,
    "text": "The Louvre is a museum",
    "score": 0.61,
    "metadata": {"text": "The Louvre is a museum", "type": "fact", "city": "Paris"},
}


class Found(BaseModel):
    """One search result; `explanation` is there when it was asked for."""

    model_config = shown(_FOUND)

    uid: str
    text: str | None
    score: float
    metadata: dict[str, JsonValue]
    explanation: ExplanationOut | None = None

    @classmethod
    def of(cls, match: Match) -> Self:
        """From the library's value."""
        # What comes out of the store was checked on its way in; checking it again would cost more than the search.
        return cls.model_construct(**found_out(match))


def found_out(match: Match) -> dict[str, Any]:
    """As `Found` shows it."""
    text = match.metadata.get("text")
    return {"text": text if isinstance(text, str) else None, **match_out(match)}


class Results(BaseModel):
    """What a search found, best first."""

    model_config = shown({"results": [_FOUND]})

    results: list[Found]


def results_out(matches: list[Match]) -> dict[str, Any]:
    """As `Results` shows them."""
    return {"results": [found_out(match) for match in matches]}


class Remembered(BaseModel):
    """The names of what was stored, in order; the answer means that it is durable."""

    model_config = shown({"uids": [_UID]})

    uids: list[str]


_MEMORY = {
    "uid": _UID,
    "text": "The Louvre is a museum",
    "metadata": {"text": "The Louvre is a museum", "type": "fact"},
    "source": "museums.md",
    "session": "trip",
    "model_id": "all-MiniLM-L6-v2@int8",
    "created_at": 1767225600.0,
    "updated_at": 1767225600.0,
    "expires_at": 1798761600.0,
    "priority": 0.5,
}


class MemoryOut(BaseModel):
    """One stored memory; times are seconds since the epoch."""

    model_config = shown(_MEMORY)

    uid: str
    text: str | None
    metadata: dict[str, JsonValue]
    source: str | None
    session: str | None
    model_id: str | None
    created_at: float
    updated_at: float
    expires_at: float | None
    priority: float | None


def memory_out(record: Record) -> dict[str, Any]:
    """As `MemoryOut` shows it; the vector stays behind."""
    return {
        "uid": record.uid,
        "text": record.text,
        "metadata": record.metadata,
        "source": record.source,
        "session": record.session,
        "model_id": record.model_id,
        "created_at": record.created_at,
        "updated_at": record.updated_at,
        "expires_at": record.expires_at,
        "priority": record.priority,
    }


class Page(BaseModel):
    """Some of an agent's memories in the order of their uids; `next` goes into `after` for the following page."""

    model_config = shown({"memories": [_MEMORY], "next": _UID})

    memories: list[MemoryOut]
    next: str | None


def page_out(records: list[Record], limit: int) -> dict[str, Any]:
    """As `Page` shows it."""
    following = records[-1].uid if len(records) == limit else None
    return {"memories": [memory_out(record) for record in records], "next": following}


class AnswerOut(BaseModel):
    """An answer, and the memories it was made from, best first."""

    model_config = shown({"text": "The Louvre is in Paris.", "sources": [_FOUND]})

    text: str
    sources: list[Found]


class Health(BaseModel):
    """The process is up."""

    model_config = shown({"status": "ok"})

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Whether searches will be answered at once, and what is missing."""

    model_config = shown({"ready": True, "store": "open", "embedding_model": "ready", "language_model": "ready"})

    ready: bool
    store: Literal["open"] = "open"
    embedding_model: str
    language_model: str
    reason: str | None = None
