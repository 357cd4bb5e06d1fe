"""The requests to agents, orchestrators and the catalog, as frozen dataclasses.

There is one class for each operation; requests of a store are in `stores.requests`. The fields are the members of the
JSON body and of the message, and the defaults hold for both. Values are validated where they are used: by the agent,
the orchestrator or the catalog.
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
    """The base of requests for one operation of a server; `R` is the type of its result."""


def result_type(request: type[Any]) -> Any:
    """Return the result type of a request class: the type argument of its generic base.

    Raises:
        TypeError: no base of the class names a result type.
    """
    for base in request.__mro__:
        for generic in getattr(base, "__orig_bases__", ()):
            if get_origin(generic) in (Request, ServedRequest):
                return get_args(generic)[0]
    raise TypeError(f"{request.__name__} names no result type")


# -- collections ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateCollectionRequest(ServedRequest[CollectionInfo]):
    """Create a collection; see `Workspace.acreate_collection`."""

    name: str
    dim: int
    metric: str = "cosine"
    index: str = "auto"
    storage: str = "fp32"
    exist_ok: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GetCollectionRequest(ServedRequest[CollectionInfo]):
    """Read the settings of a collection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListCollectionsRequest(ServedRequest[list[CollectionInfo]]):
    """List the tenant's collections."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteCollectionRequest(ServedRequest[None]):
    """Delete a collection with all its records."""


# -- agents -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RememberRequest(ServedRequest[list[str]]):
    """Store texts as memories, all or none; see `AsyncLLMAgent.aadd_text_memories`."""

    memories: Sequence[Memory]
    dedupe: Dedupe | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RememberTurnsRequest(ServedRequest[list[str]]):
    """Store the turns of a conversation as memories; see `AsyncLLMAgent.aadd_turns`."""

    turns: Sequence[Turn]
    session: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateMemoryRequest(ServedRequest[bool]):
    """Change one memory in place; see `AsyncLLMAgent.aupdate_memory`. A field that is `...` keeps its value."""

    uid: str
    text: str | None = None
    memory_type: str | None = None
    extra: Mapping[str, JSONValue] | None = None
    source: str | EllipsisType | None = ...
    expires_in_s: float | EllipsisType | None = ...
    priority: float | EllipsisType | None = ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchMemoriesRequest(ServedRequest[list[Match]]):
    """Find an agent's memories that match a text best; see `AsyncLLMAgent.asearch_text`.

    Attributes:
        rerank: whether the language model re-ranks the best matches; the agent's setting when None.
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
    """Read one memory by its uid."""

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
        rerank: whether the language model re-ranks the best matches; the agent's setting when None.
        answer_tokens: the maximum length of the answer; the agent's setting when None.
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
    """One event of a streamed answer: the sources, then pieces of text, then the whole text.

    Attributes:
        sources: the memories in the prompt, best first; in the first event only.
        text: the next piece of the answer.
        done: the whole answer; in the last event only.
    """

    sources: list[Match] | None = None
    text: str | None = None
    done: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListAgentsRequest(ServedRequest[list[AgentInfo]]):
    """List the agents that have settings of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GetAgentRequest(ServedRequest[AgentInfo]):
    """Read an agent's settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PutAgentRequest(ServedRequest[AgentInfo]):
    """Replace all settings of an agent; a field that is None resets its setting to the default."""

    description: str | None = None
    namespace: str | None = None
    answer_tokens: int | None = None
    context_chars: int | None = None
    rerank: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteAgentRequest(ServedRequest[None]):
    """Reset an agent to the default settings; its memories stay."""


# -- orchestrators ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class OrchestratorInfo:
    """An orchestrator of a tenant, with the names of its agents."""

    name: str
    agents: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class OrchestrationRequest(ServedRequest[Outcome]):
    """The base of the requests that ask agents of an orchestrator, one class for each pattern.

    Attributes:
        query: the question.
        top_k: the number of memories that each agent retrieves.
        timeout_s: the limit for each agent; the configured one when None.
        deadline_s: the limit for the whole request.
    """

    query: str
    top_k: int = 5
    timeout_s: float | None = None
    deadline_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteRequest(OrchestrationRequest):
    """Ask the agent that fits the question best; see `Orchestrator.aroute`."""

    task: str | None = None
    user_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainRequest(OrchestrationRequest):
    """Ask agents in turn, each with the previous agent's answer; see `Orchestrator.achain`."""

    names: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class FallbackRequest(OrchestrationRequest):
    """Ask an agent, then its backups until an agent answers; see `Orchestrator.afallback`."""

    primary: str
    backups: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ParallelRequest(OrchestrationRequest):
    """Ask several agents at once; see `Orchestrator.aparallel`.

    Attributes:
        names: the agents; every agent that is registered for no user in particular when None.
        wait: return at the first answer, or after all of them.
        quorum: the number of answers to wait for, in place of `wait`.
    """

    names: Sequence[str] | None = None
    wait: Wait = "first"
    quorum: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CollaborateRequest(OrchestrationRequest):
    """Ask several agents and combine their answers into one; see `Orchestrator.acollaborate`."""

    names: Sequence[str]
    voting: Voting = "majority"
    critic: str | None = None
    max_rounds: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class SuperviseRequest(ServedRequest[dict[str, JSONValue]]):
    """Read the health, call counts and latencies of an orchestrator's agents."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOrchestratorsRequest(ServedRequest[list[OrchestratorInfo]]):
    """List the tenant's orchestrators with the names of their agents."""
