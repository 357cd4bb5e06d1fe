"""Pydantic models of responses, most of them only for the OpenAPI document."""

from __future__ import annotations

import dataclasses
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, Field, JsonValue, create_model

from super_advanced_agents.orchestration import Outcome
from super_advanced_agents.protocol.requests import OrchestratorInfo
from super_advanced_agents.server.http.schemas.bodies import Vector
from super_advanced_agents.server.http.schemas.examples import DESCRIPTIONS
from super_advanced_agents.types import (
    AgentInfo,
    Answer,
    CollectionInfo,
    Explanation,
    JobInfo,
    Match,
    Record,
    ScheduleInfo,
    UploadInfo,
)

Object = dict[str, JsonValue]

_MODELS: dict[type[Any], type[BaseModel]] = {}


class SignalOut(BaseModel):
    """One part of a search result's score, such as recency: its value, weight and share."""

    name: str
    value: float
    scaled: float
    weight: float
    added: float


class ExplanationOut(BaseModel):
    """The parts, such as similarity and recency, of which a search result's score is made."""

    signals: list[SignalOut]
    retrieved: ExplanationOut | None


class MatchOut(BaseModel):
    """One search result; `explanation` is present if it was requested. The text is not repeated in the metadata."""

    uid: str
    text: str | None
    score: float
    similarity: float | None = Field(description="of the vectors; null for a match that only keywords found")
    metadata: Object
    source: str | None
    session: str | None
    created_at: float | None
    updated_at: float | None
    explanation: ExplanationOut | None = None


def model_of(
    dataclass: type[Any], name: str, doc: str, *, without: tuple[str, ...] = (), **others: Any
) -> type[BaseModel]:
    """Create the pydantic model of a response from a result dataclass.

    Args:
        dataclass: the type of the result.
        name: the name of the model in the OpenAPI document.
        doc: its description there.
        without: fields that the response leaves out.
        others: further members, each `(type, default)`.
    """
    hints = get_type_hints(dataclass)
    members = {
        field.name: (_member_type(hints[field.name]), Field(description=DESCRIPTIONS.get(field.name)))
        for field in dataclasses.fields(dataclass)
        if field.name not in without
    }
    model: type[BaseModel] = create_model(name, __doc__=doc, __module__=__name__, **{**members, **others})
    _MODELS[dataclass] = model
    return model


def _member_type(hint: Any) -> Any:
    if hint in _MODELS:
        return _MODELS[hint]
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return Union[tuple(map(_member_type, get_args(hint)))]  # noqa: UP007  # their number varies
    if origin in (list, tuple):
        return list[_member_type(get_args(hint)[0])]  # type: ignore[misc]  # computed at run time
    if origin is dict:
        return Object
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return model_of(hint, f"{hint.__name__}Out", (hint.__doc__ or "").partition("\n")[0])
    return hint


def envelope(name: str, doc: str, **members: Any) -> type[BaseModel]:
    """Create the pydantic model of a response: a JSON object with the given required fields."""
    fields: dict[str, Any] = {member: (member_type, ...) for member, member_type in members.items()}
    return create_model(name, __doc__=doc, __module__=__name__, **fields)


_MODELS[Match] = MatchOut
_MODELS[Explanation] = ExplanationOut
CollectionOut = model_of(CollectionInfo, "CollectionOut", "A collection and its settings.")
AgentOut = model_of(AgentInfo, "AgentOut", "An agent that has settings of its own.")
AnswerOut = model_of(Answer, "AnswerOut", "An answer, and the memories in its prompt, best first.")
OutcomeOut = model_of(Outcome, "OutcomeOut", "The answer of an orchestrator, and the steps that led to it.")
OrchestratorOut = model_of(OrchestratorInfo, "OrchestratorOut", "An orchestrator, and the names of its agents.")
MemoryOut = model_of(
    Record,
    "MemoryOut",
    "A stored memory; with its vector, as base64 of little-endian float32, where it was asked for.",
    without=("vector", "namespace", "place"),
    text=(str | None, ...),
    vector=(str | None, None),
)
RecordOut = model_of(Record, "RecordOut", "A stored record.", without=("vector",), vector=(Vector | None, ...))

JobOut = model_of(
    JobInfo, "JobOut", "A background job, its progress, and its result or error.", result=(JsonValue, None)
)
UploadOut = model_of(UploadInfo, "UploadOut", "An upload, the bytes that were added to it, and the job that uses it.")
ScheduleOut = model_of(ScheduleInfo, "ScheduleOut", "A schedule of background jobs, and its next five times.")

_DURABLE = "The change is durable before the response is sent."
Matches = envelope("Matches", "The results of a search, best first.", results=list[MatchOut])
ManyMatches = envelope(
    "ManyMatches", "The results of each search of a batch, best first.", results=list[list[MatchOut]]
)
StoredUids = envelope("StoredUids", f"The uids of the stored records, in order. {_DURABLE}", uids=list[str])
Stored = envelope("Stored", f"The number of stored records. {_DURABLE}", stored=int)
Updated = envelope("Updated", f"True if the record exists. {_DURABLE}", updated=bool)
Relocated = envelope("Relocated", f"The number of memories that were changed. {_DURABLE}", relocated=int)
Deleted = envelope("Deleted", f"The number of deleted records. {_DURABLE}", deleted=int)
Counted = envelope("Counted", "The number of records or memories.", count=int)
Records = envelope("Records", "A list of records.", records=list[RecordOut])  # type: ignore[valid-type]
_NEXT = "Send `next` as `after` to read the next page."
RecordPage = envelope("RecordPage", f"A page of records. {_NEXT}", records=list[RecordOut], next=str | None)  # type: ignore[valid-type]
Page = envelope("Page", f"A page of memories. {_NEXT}", memories=list[MemoryOut], next=str | None)  # type: ignore[valid-type]
Collections = envelope("Collections", "The tenant's collections, by name.", collections=list[CollectionOut])  # type: ignore[valid-type]
Agents = envelope("Agents", "The agents that have settings of their own, by name.", agents=list[AgentOut])  # type: ignore[valid-type]
OrchestratorsOut = envelope(
    "OrchestratorsOut",
    "The tenant's orchestrators, by name.",
    orchestrators=list[OrchestratorOut],  # type: ignore[valid-type]
)
JobPage = envelope("JobPage", f"A page of background jobs, newest first. {_NEXT}", jobs=list[JobOut], next=str | None)  # type: ignore[valid-type]
Retried = envelope("Retried", "The number of background jobs that wait again.", retried=int)
Uploads = envelope("Uploads", "The tenant's uploads, the oldest first.", uploads=list[UploadOut])  # type: ignore[valid-type]
Schedules = envelope("Schedules", "The tenant's schedules, by name.", schedules=list[ScheduleOut])  # type: ignore[valid-type]


class Supervision(BaseModel):
    """The number of healthy, recovering and sick agents, and the details of each agent by name."""

    healthy: int
    recovering: int
    sick: int
    agents: dict[str, Object]


class StoreStats(BaseModel):
    """The engine and settings of the vector store that all agents share."""

    engine: str
    dim: int
    metric: str
    index: str


class Stats(BaseModel):
    """The counts of a tenant's agents and collections, and the server's model and vector store."""

    agents: int = Field(description="agents that have settings of their own")
    collections: int
    embedding_model: str
    store: StoreStats


class Health(BaseModel):
    """The response of the liveness check, which a running server always gives."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """The response of the readiness check: the state of the store and models."""

    ready: bool
    store: Literal["open", "unreachable", "failed"] = "open"
    embedding_model: str
    language_model: str
    reason: str | None = None
    degraded: list[str] = Field(default=[], description="what works less well than it should, while ready")
