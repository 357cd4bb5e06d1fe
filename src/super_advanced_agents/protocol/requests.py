"""What is asked of a served agent, collection or orchestrator, as values; requests of a store are `stores.requests`.

One frozen dataclass for each operation: its fields are the members of the JSON body and the fields of the message, and
its defaults hold for both. What the values may be is checked where they are used: by the agent, the orchestrator, the
catalogue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import EllipsisType
from typing import Literal, TypeAlias

from super_advanced_agents.types import Dedupe, JSONValue, Memory, Turn, Weights, Where

SearchMode: TypeAlias = Literal["hybrid", "vector", "keyword"]
Wait: TypeAlias = Literal["first", "all"]
Voting: TypeAlias = Literal["majority", "critic", "consensus"]

# -- collections ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateCollectionRequest:
    """Make a collection; see `Workspace.acreate_collection`."""

    name: str
    dim: int
    metric: str = "cosine"
    index: str = "auto"
    storage: str = "fp32"
    exist_ok: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GetCollectionRequest:
    """Read what a collection was made with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListCollectionsRequest:
    """List the tenant's collections."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteCollectionRequest:
    """Delete a collection with all that is in it."""


# -- agents -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RememberRequest:
    """Remember texts, all or none; see `AsyncLLMAgent.aadd_text_memories`."""

    memories: Sequence[Memory]
    dedupe: Dedupe | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RememberTurnsRequest:
    """Remember a conversation; see `AsyncLLMAgent.aadd_turns`."""

    turns: Sequence[Turn]
    session: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateMemoryRequest:
    """Change one memory in place; see `AsyncLLMAgent.aupdate_memory`. `...` stands for what stays as it is."""

    uid: str
    text: str | None = None
    memory_type: str | None = None
    extra: Mapping[str, JSONValue] | None = None
    source: str | EllipsisType | None = ...
    expires_in_s: float | EllipsisType | None = ...
    priority: float | EllipsisType | None = ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchMemoriesRequest:
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
class GetMemoryRequest:
    """Read one memory."""

    uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListMemoriesRequest:
    """Read one page of memories in the order of their uids; see `AsyncLLMAgent.ascan`."""

    where: Where | None = None
    after: str | None = None
    limit: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetRequest:
    """Delete memories by uid, by filter, or by both; see `AsyncLLMAgent.aforget`."""

    uids: Sequence[str] | None = None
    where: Where | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CountMemoriesRequest:
    """Count the memories that match a filter."""

    where: Where | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AskRequest:
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
class ListAgentsRequest:
    """List the agents that were given settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GetAgentRequest:
    """Read an agent's settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PutAgentRequest:
    """Give an agent settings, in place of those it had; None stands for the default."""

    description: str | None = None
    namespace: str | None = None
    answer_tokens: int | None = None
    context_chars: int | None = None
    rerank: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteAgentRequest:
    """Give an agent the defaults again; its memories stay."""


# -- orchestrators ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
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
class SuperviseRequest:
    """Read the health, counts and latencies of an orchestrator's agents."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOrchestratorsRequest:
    """List the tenant's orchestrators with the names of their agents."""
