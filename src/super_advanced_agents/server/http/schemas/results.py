"""The shapes of answers, for the OpenAPI document; what is answered is `protocol.json_codec`'s."""

from __future__ import annotations

import dataclasses
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, Field, JsonValue, create_model

from super_advanced_agents.orchestration import Outcome
from super_advanced_agents.protocol.requests import OrchestratorInfo
from super_advanced_agents.server.http.schemas.bodies import Vector
from super_advanced_agents.server.http.schemas.examples import DESCRIPTIONS
from super_advanced_agents.types import AgentInfo, Answer, CollectionInfo, Explanation, Match, Record

Object = dict[str, JsonValue]

_SHAPES: dict[type[Any], type[BaseModel]] = {}


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
    """One search result; `explanation` is there when it was asked for. The text is not in the metadata too."""

    uid: str
    text: str | None
    score: float
    similarity: float | None = Field(description="of the vectors; null for what words alone have found")
    metadata: Object
    source: str | None
    session: str | None
    created_at: float | None
    updated_at: float | None
    explanation: ExplanationOut | None = None


def shape_of(kind: type[Any], name: str, *, without: tuple[str, ...] = (), **others: Any) -> type[BaseModel]:
    """Make the shape of a dataclass that is answered."""
    hints = get_type_hints(kind)
    members = {
        each.name: (_form(hints[each.name]), Field(description=DESCRIPTIONS.get(each.name)))
        for each in dataclasses.fields(kind)
        if each.name not in without
    }
    doc = (kind.__doc__ or "").partition("\n")[0]
    shape: type[BaseModel] = create_model(name, __doc__=doc, __module__=__name__, **{**members, **others})
    _SHAPES[kind] = shape
    return shape


def _form(hint: Any) -> Any:
    if hint in _SHAPES:
        return _SHAPES[hint]
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return Union[tuple(map(_form, get_args(hint)))]  # noqa: UP007  # of as many as there are
    if origin in (list, tuple):
        return list[_form(get_args(hint)[0])]  # type: ignore[misc]  # made of a value
    if origin is dict:
        return Object
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return shape_of(hint, f"{hint.__name__}Out")
    return hint


def told(name: str, doc: str, **members: Any) -> type[BaseModel]:
    """Make the shape of an answer that holds its result in a member."""
    stated: dict[str, Any] = {member: (form, ...) for member, form in members.items()}
    return create_model(name, __doc__=doc, __module__=__name__, **stated)


_SHAPES[Match] = MatchOut
_SHAPES[Explanation] = ExplanationOut
CollectionOut = shape_of(CollectionInfo, "CollectionOut")
AgentOut = shape_of(AgentInfo, "AgentOut")
AnswerOut = shape_of(Answer, "AnswerOut")
OutcomeOut = shape_of(Outcome, "OutcomeOut")
OrchestratorOut = shape_of(OrchestratorInfo, "OrchestratorOut")
MemoryOut = shape_of(Record, "MemoryOut", without=("vector", "namespace", "place"), text=(str | None, ...))
RecordOut = shape_of(Record, "RecordOut", without=("vector",), vector=(Vector | None, ...))

_DURABLE = "the answer means that it is durable."
Matches = told("Matches", "What a search found, best first.", results=list[MatchOut])
ManyMatches = told("ManyMatches", "What each of many searches found.", results=list[list[MatchOut]])
StoredUids = told("StoredUids", f"The names of what was stored, in order; {_DURABLE}", uids=list[str])
Stored = told("Stored", f"How many were stored; {_DURABLE}", stored=int)
Updated = told("Updated", f"Whether there was such a record; {_DURABLE}", updated=bool)
Deleted = told("Deleted", f"How many were deleted; {_DURABLE}", deleted=int)
Counted = told("Counted", "How many there are.", count=int)
Records = told("Records", "Some records.", records=list[RecordOut])  # type: ignore[valid-type]
_NEXT = "`next` goes into `after` for the following one."
RecordPage = told("RecordPage", f"A page of records; {_NEXT}", records=list[RecordOut], next=str | None)  # type: ignore[valid-type]
Page = told("Page", f"A page of memories; {_NEXT}", memories=list[MemoryOut], next=str | None)  # type: ignore[valid-type]
Collections = told("Collections", "All collections, by name.", collections=list[CollectionOut])  # type: ignore[valid-type]
Agents = told("Agents", "The agents that were given settings, by name.", agents=list[AgentOut])  # type: ignore[valid-type]
OrchestratorsOut = told("OrchestratorsOut", "The tenant's orchestrators, by name.", orchestrators=list[OrchestratorOut])  # type: ignore[valid-type]


class Supervision(BaseModel):
    """How an orchestrator's agents are doing, by their names."""

    healthy: int
    recovering: int
    sick: int
    agents: dict[str, Object]


class StoreStats(BaseModel):
    """The store that all agents share; nothing of what is in it."""

    engine: str
    dim: int
    metric: str
    index: str


class Stats(BaseModel):
    """What a tenant has, and what the server works with."""

    agents: int = Field(description="that were given settings")
    collections: int
    embedding_model: str
    store: StoreStats


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
