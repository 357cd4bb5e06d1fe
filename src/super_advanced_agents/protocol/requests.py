"""What is asked of a served agent, collection or orchestrator, as values; requests of a store are `stores.requests`.

One frozen dataclass for each operation: its fields are the members of the JSON body and the fields of the message, and
its defaults hold for both. What the values may be is checked where they are used: by the agent, the orchestrator, the
catalogue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import EllipsisType
from typing import Any, Generic, Literal, TypeAlias, TypeVar, get_args, get_origin

from super_advanced_agents.orchestration.outcome import Outcome
from super_advanced_agents.stores.requests import Request
from super_advanced_agents.types import (
    AgentInfo,
    Answer,
    CollectionInfo,
    Dedupe,
    JSONValue,
    Match,
    Memory,
    Record,
    Turn,
    Weights,
    Where,
)

SearchMode: TypeAlias = Literal["hybrid", "vector", "keyword"]
Wait: TypeAlias = Literal["first", "all"]
Voting: TypeAlias = Literal["majority", "critic", "consensus"]

R = TypeVar("R", covariant=True)  # noqa: PLC0105  # the result


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedRequest(Generic[R]):
    """Ask a server for one operation, whose result is an `R`."""


def result_type(request: type[Any]) -> Any:
    """Return the type of the result of a request: what its class says in the brackets of its base."""
    for base in request.__mro__:
        for generic in getattr(base, "__orig_bases__", ()):
            if get_origin(generic) in (Request, ServedRequest):
                return get_args(generic)[0]
    raise TypeError(f"{request.__name__} does not say what its result is")


# -- collections ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateCollectionRequest(ServedRequest[CollectionInfo]):
    """Make a collection; see `Workspace.acreate_collection`."""

    name: str
    dim: int
    metric: str = "cosine"
    index: str = "auto"
    storage: str = "fp32"
    exist_ok: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GetCollectionRequest(ServedRequest[CollectionInfo]):
    """Read what a collection was made with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListCollectionsRequest(ServedRequest[list[CollectionInfo]]):
    """List the tenant's collections."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteCollectionRequest(ServedRequest[None]):
    """Delete a collection with all that is in it."""


# -- agents -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RememberRequest(ServedRequest[list[str]]):
    """Remember texts, all or none; see `AsyncLLMAgent.aadd_text_memories`."""

    memories: Sequence[Memory]
    dedupe: Dedupe | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RememberTurnsRequest(ServedRequest[list[str]]):
    """Remember a conversation; see `AsyncLLMAgent.aadd_turns`."""

    turns: Sequence[Turn]
    session: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateMemoryRequest(ServedRequest[bool]):
    """Change one memory in place; see `AsyncLLMAgent.aupdate_memory`. `...` stands for what stays as it is."""

    uid: str
    text: str | None = None
    memory_type: str | None = None
    extra: Mapping[str, JSONValue] | None = None
    source: str | EllipsisType | None = ...
    expires_in_s: float | EllipsisType | None = ...
    priority: float | EllipsisType | None = ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchMemoriesRequest(ServedRequest[list[Match]]):
    """Find an agent's memories; see `AsyncLLMAgent.asearch_text`.

    Attributes:
        rerank: whether the language model looks again at the best matches; as the agent is set when None.
    """

    query: str
    top_k: int = 5
    mode: SearchMode = "hybrid"
    where: Where | None = None
    memory_type: str | None = None
    weights: Weights | None = None
    explain: bool = False
    rerank: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetMemoryRequest(ServedRequest[Record | None]):
    """Read one memory."""

    uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListMemoriesRequest(ServedRequest[list[Record]]):
    """Read one page of memories in the order of their uids; see `AsyncLLMAgent.ascan`."""

    where: Where | None = None
    after: str | None = None
    limit: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetRequest(ServedRequest[int]):
    """Delete memories by uid, by filter, or by both; see `AsyncLLMAgent.aforget`."""

    uids: Sequence[str] | None = None
    where: Where | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CountMemoriesRequest(ServedRequest[int]):
    """Count the memories that match a filter."""

    where: Where | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AskRequest(ServedRequest[Answer]):
    """Answer a question from an agent's memories; see `AsyncLLMAgent.aask`.

    Attributes:
        answer_tokens: the length of the answer, at most; as the agent is set when None.
    """

    question: str
    top_k: int = 5
    mode: SearchMode = "hybrid"
    where: Where | None = None
    memory_type: str | None = None
    weights: Weights | None = None
    rerank: bool | None = None
    answer_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerEvent:
    """A part of an answer: the memories it is made from first, then pieces of text, at last the whole text."""

    sources: list[Match] | None = None
    text: str | None = None
    done: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListAgentsRequest(ServedRequest[list[AgentInfo]]):
    """List the agents that were given settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GetAgentRequest(ServedRequest[AgentInfo]):
    """Read an agent's settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PutAgentRequest(ServedRequest[AgentInfo]):
    """Give an agent settings, in place of those it had; None stands for the default."""

    description: str | None = None
    namespace: str | None = None
    answer_tokens: int | None = None
    context_chars: int | None = None
    rerank: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteAgentRequest(ServedRequest[None]):
    """Give an agent the defaults again; its memories stay."""


# -- orchestrators ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class OrchestratorInfo:
    """One orchestrator of a tenant, and the names of its agents."""

    name: str
    agents: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question(ServedRequest[Outcome]):
    """Ask several agents; what every such request says.

    Attributes:
        top_k: how many memories each agent looks at.
        timeout_s: how long one agent may take; as it is set when None.
        deadline_s: how long all of it may take.
    """

    query: str
    top_k: int = 5
    timeout_s: float | None = None
    deadline_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteRequest(Question):
    """Ask the one agent that fits best; see `Orchestrator.aroute`."""

    task: str | None = None
    user_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainRequest(Question):
    """Ask agents one after another; see `Orchestrator.achain`."""

    names: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class FallbackRequest(Question):
    """Ask one agent, and others if it has no answer; see `Orchestrator.afallback`."""

    primary: str
    backups: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ParallelRequest(Question):
    """Ask several agents at once; see `Orchestrator.aparallel`.

    Attributes:
        names: every agent that serves everybody when None.
        wait: for the first answer, or for all.
        quorum: how many answers are enough, in place of `wait`.
    """

    names: Sequence[str] | None = None
    wait: Wait = "first"
    quorum: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CollaborateRequest(Question):
    """Ask several agents and make one answer of theirs; see `Orchestrator.acollaborate`."""

    names: Sequence[str]
    voting: Voting = "majority"
    critic: str | None = None
    max_rounds: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class SuperviseRequest(ServedRequest[dict[str, JSONValue]]):
    """Read the health, counts and latencies of an orchestrator's agents."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOrchestratorsRequest(ServedRequest[list[OrchestratorInfo]]):
    """List the tenant's orchestrators with the names of their agents."""
