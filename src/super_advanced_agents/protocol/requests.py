"""The requests to a server's agents, orchestrators and collections, as frozen dataclasses.

There is one class for each operation; requests of a store are in `stores.requests`. The fields are the members of the
JSON body and of the message, and the defaults hold for both. Values are validated where they are used: by the agent,
the orchestrator or the catalog.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import EllipsisType
from typing import Any, Generic, Literal, TypeAlias, TypeVar, get_args, get_origin

from super_advanced_agents.agents.chatting import DEFAULT_SESSION
from super_advanced_agents.orchestration.outcome import Outcome
from super_advanced_agents.stores.requests import QueryRequest, Request, WriteRequest
from super_advanced_agents.types import (
    AgentInfo,
    Answer,
    ChatMessage,
    CollectionInfo,
    Dedupe,
    JSONValue,
    Match,
    Memory,
    Record,
    Relocation,
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
    """The base class of requests to a server; `R` is the type of the operation's result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryWrite(ServedRequest[R]):
    """The base class of requests that change an agent's memories.

    Attributes:
        write_id: identifies the write, as in `stores.requests.WriteRequest`.
    """

    write_id: str | None = None


def result_type(request: type[Any]) -> Any:
    """Return the result type of a request class: the type argument of its generic base.

    Raises:
        TypeError: no base of the class names a result type.
    """
    for base in request.__mro__:
        for generic in getattr(base, "__orig_bases__", ()):
            if get_origin(generic) in _BASES:
                return get_args(generic)[0]
    raise TypeError(f"{request.__name__} names no result type")


_BASES = (Request, WriteRequest, QueryRequest, ServedRequest, MemoryWrite)

# -- collections ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateCollectionRequest(ServedRequest[CollectionInfo]):
    """A request to create a collection, a named set of vector records.

    `Workspace.acreate_collection` describes the operation.
    """

    name: str
    dim: int
    metric: str = "cosine"
    index: str = "auto"
    storage: str = "fp32"
    exist_ok: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GetCollectionRequest(ServedRequest[CollectionInfo]):
    """A request to read the settings of a collection of vector records."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListCollectionsRequest(ServedRequest[list[CollectionInfo]]):
    """A request to list the caller's collections of vector records with their settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteCollectionRequest(ServedRequest[None]):
    """A request to delete a collection with all its vector records."""


# -- agents -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RememberRequest(MemoryWrite[list[str]]):
    """A request to store texts as memories of an agent, all or none.

    `AsyncLLMAgent.aadd_text_memories` describes the operation.
    """

    memories: Sequence[Memory]
    dedupe: Dedupe | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RememberTurnsRequest(MemoryWrite[list[str]]):
    """A request to store the turns of a conversation as memories of an agent.

    `AsyncLLMAgent.aadd_turns` describes the operation.
    """

    turns: Sequence[Turn]
    session: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateMemoryRequest(MemoryWrite[bool]):
    """A request to change fields of one memory (a stored text) of an agent.

    `AsyncLLMAgent.aupdate_memory` describes the operation. A field that is `...` keeps its value.
    """

    uid: str
    text: str | None = None
    memory_type: str | None = None
    extra: Mapping[str, JSONValue] | None = None
    source: str | EllipsisType | None = ...
    expires_in_s: float | EllipsisType | None = ...
    priority: float | EllipsisType | None = ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RelocateMemoriesRequest(MemoryWrite[int]):
    """A request to change the places of an agent's memories (stored texts), not their texts.

    `AsyncLLMAgent.arelocate_memories` describes the operation.

    Attributes:
        memories: the new places.
        order: uids of turns, in the order that they are to have in their session.
    """

    memories: Sequence[Relocation] = ()
    order: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchMemoriesRequest(ServedRequest[list[Match]]):
    """A request to find an agent's memories (stored texts) that match a text best.

    `AsyncLLMAgent.asearch_text` describes the operation.

    Attributes:
        min_similarity: the least similarity of a match's vector to the query's; None for any.
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
    min_similarity: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetMemoryRequest(ServedRequest[Record | None]):
    """A request to read one memory (a stored text) of an agent by its uid."""

    uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListMemoriesRequest(ServedRequest[list[Record]]):
    """A request to read one page of an agent's memories (stored texts) in uid order.

    `AsyncLLMAgent.ascan` describes the operation.

    Attributes:
        with_vectors: whether the memories come with their vectors.
    """

    where: Where | None = None
    after: str | None = None
    limit: int = 100
    with_vectors: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetRequest(MemoryWrite[int]):
    """A request to delete memories of an agent by uids, a metadata filter, or both.

    With both, a memory is deleted if it has one of the uids and matches the filter.
    """

    uids: Sequence[str] | None = None
    where: Where | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CountMemoriesRequest(ServedRequest[int]):
    """A request to count an agent's memories that match a metadata filter."""

    where: Where | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AskRequest(ServedRequest[Answer]):
    """A request to answer a question from an agent's memories with a language model.

    `AsyncLLMAgent.aask` describes the operation.

    Attributes:
        min_similarity: the least similarity of a memory's vector to the question's; None for any.
        rerank: whether the language model re-ranks the best matches; the agent's setting when None.
        answer_tokens: the maximum length of the answer; the agent's setting when None.
        instructions: further instructions to the language model.
        history: the messages before the question, oldest first.
        llm: False for an answer that quotes the best memories, without the language model.
    """

    question: str
    top_k: int = 5
    mode: SearchMode = "hybrid"
    where: Where | None = None
    memory_type: str | None = None
    weights: Weights | None = None
    rerank: bool | None = None
    answer_tokens: int | None = None
    instructions: str | None = None
    history: Sequence[ChatMessage] | None = None
    llm: bool = True
    min_similarity: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest(ServedRequest[Answer]):
    """A request to answer a message of a conversation, and to remember both turns.

    `AsyncLLMAgent.achat` describes the operation.

    Attributes:
        answer_tokens: the maximum length of the answer; the agent's setting when None.
    """

    message: str
    session: str = DEFAULT_SESSION
    remember: bool = True
    instructions: str | None = None
    where: Where | None = None
    top_k: int = 5
    answer_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListAgentsRequest(ServedRequest[list[AgentInfo]]):
    """A request to list the agents that have settings of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GetAgentRequest(ServedRequest[AgentInfo]):
    """A request to read an agent's settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PutAgentRequest(ServedRequest[AgentInfo]):
    """A request to replace all settings of an agent; None resets a setting to its default."""

    description: str | None = None
    namespace: str | None = None
    answer_tokens: int | None = None
    context_chars: int | None = None
    rerank: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteAgentRequest(ServedRequest[None]):
    """A request to reset an agent to the default settings; its stored texts are kept."""


# -- orchestrators ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class OrchestratorInfo:
    """The name of an orchestrator, and the names of the agents that it distributes questions to."""

    name: str
    agents: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class OrchestrationRequest(ServedRequest[Outcome]):
    """The base class of requests that ask agents of an orchestrator a question.

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
    """A request to ask the one agent of an orchestrator that fits the question best.

    `Orchestrator.aroute` describes the operation.
    """

    task: str | None = None
    user_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainRequest(OrchestrationRequest):
    """A request to ask agents one after another, each with the previous agent's answer.

    `Orchestrator.achain` describes the operation.
    """

    names: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class FallbackRequest(OrchestrationRequest):
    """A request to ask one agent, then its backups in order, until an agent answers.

    `Orchestrator.afallback` describes the operation.
    """

    primary: str
    backups: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ParallelRequest(OrchestrationRequest):
    """A request to ask several agents at once and wait for the first answer, several or all.

    `Orchestrator.aparallel` describes the operation.

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
    """A request to ask several agents and combine their answers into one.

    `Orchestrator.acollaborate` describes the operation.
    """

    names: Sequence[str]
    voting: Voting = "majority"
    critic: str | None = None
    max_rounds: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class SuperviseRequest(ServedRequest[dict[str, JSONValue]]):
    """A request to read the health, call counts and latencies of an orchestrator's agents."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOrchestratorsRequest(ServedRequest[list[OrchestratorInfo]]):
    """A request to list the caller's orchestrators with the names of their agents."""
