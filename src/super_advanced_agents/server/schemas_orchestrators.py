"""The shapes of what orchestrators are asked and answer."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from super_advanced_agents.orchestration import Outcome, Step
from super_advanced_agents.server.schemas import Found, found_out

_MOST_NAMES = 32
_Status = Literal["answered", "empty", "failed", "timed_out", "cancelled", "skipped"]


def _shown(*examples: dict[str, Any]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [*examples]})


def _taken(*examples: dict[str, Any]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [*examples]}, extra="forbid", strict=True)


class _Asking(BaseModel):
    """What every question says."""

    model_config = ConfigDict(extra="forbid", strict=True)

    query: str = Field(description="a question, in plain words; at most 32 KiB")
    top_k: int = Field(default=5, description="how many memories each agent looks at, 1 to 1,000")
    timeout_s: float | None = Field(default=None, description="how long one agent may take; as it is set when null")
    deadline_s: float | None = Field(default=None, description="how long all of it may take")

    def options(self) -> dict[str, Any]:
        """Keyword arguments of the library's operation that all share."""
        return {"top_k": self.top_k, "timeout_s": self.timeout_s, "deadline_s": self.deadline_s}


class RouteIn(_Asking):
    """A question for the one agent that fits best."""

    model_config = _taken({"query": "Where is the Louvre?", "task": "travel"})

    task: str | None = Field(default=None, description="what it is about; agents for other tasks are out")
    user_id: str | None = Field(default=None, description="who asks; agents for other users are out")


class ChainIn(_Asking):
    """A question for agents one after another."""

    model_config = _taken({"query": "Where is the Louvre?", "names": ["travel", "editor"]})

    names: list[str] = Field(max_length=_MOST_NAMES, description="one may come more than once")


class FallbackIn(_Asking):
    """A question for one agent, and for others if it has no answer."""

    model_config = _taken({"query": "Where is the Louvre?", "primary": "travel", "backup": ["general"]})

    primary: str
    backup: str | list[str] = Field(description="one name, or several in order")


class ParallelIn(_Asking):
    """A question for several agents at once."""

    model_config = _taken({"query": "Where is the Louvre?", "names": ["travel", "general"], "wait": "first"})

    names: list[str] | None = Field(
        default=None, max_length=_MOST_NAMES, description="all that serve everybody when null"
    )
    wait: Literal["first", "all"] | int = Field(default="first", description="how many answers are enough")


class CollaborateIn(_Asking):
    """A question for several agents, of whose answers one is made."""

    model_config = _taken({"query": "Where is the Louvre?", "names": ["travel", "general"], "voting": "consensus"})

    names: list[str] = Field(max_length=_MOST_NAMES, description="ties go to the first")
    voting: Literal["majority", "critic", "consensus"] = "majority"
    critic: str | None = Field(default=None, description="an agent; the server's language model when null")
    max_rounds: int = Field(default=3, description="of a consensus, 1 to 10")

    def voting_options(self) -> dict[str, Any]:
        """Keyword arguments of `acollaborate`."""
        return {**self.options(), "critic": self.critic, "max_rounds": self.max_rounds}


_STEP = {
    "agent": "travel",
    "status": "answered",
    "text": "The Louvre is in Paris.",
    "sources": [],
    "latency_s": 0.8,
    "error": None,
    "round": 1,
}


class StepOut(BaseModel):
    """One agent, asked once; `error` is the class of what it raised."""

    model_config = _shown(_STEP)

    agent: str
    status: _Status
    text: str
    sources: list[Found]
    latency_s: float
    error: str | None
    round: int


class OutcomeOut(BaseModel):
    """What was made of a question, and how."""

    model_config = _shown(
        {
            "text": "The Louvre is in Paris.",
            "agent": "travel",
            "agents": ["travel"],
            "sources": [],
            "steps": [_STEP],
            "reason": "likeness",
            "agreement": None,
            "rounds": 1,
            "latency_s": 0.8,
        }
    )

    text: str
    agent: str = Field(description="whose words it is")
    agents: list[str] = Field(description="all whose answers are in it")
    sources: list[Found]
    steps: list[StepOut] = Field(description="everything that was asked, failures too")
    reason: str = Field(description="why this answer")
    agreement: float | None = Field(description="which part of the answers says the same, where they were compared")
    rounds: int
    latency_s: float


def outcome_out(outcome: Outcome) -> dict[str, Any]:
    """As `OutcomeOut` shows it."""
    return {
        "text": outcome.text,
        "agent": outcome.agent,
        "agents": list(outcome.agents),
        "sources": [found_out(match) for match in outcome.sources],
        "steps": [_step_out(step) for step in outcome.steps],
        "reason": outcome.reason,
        "agreement": outcome.agreement,
        "rounds": outcome.rounds,
        "latency_s": outcome.latency_s,
    }


def _step_out(step: Step) -> dict[str, Any]:
    return {
        "agent": step.agent,
        "status": step.status,
        "text": step.text,
        "sources": [found_out(match) for match in step.sources],
        "latency_s": step.latency_s,
        "error": step.error,
        "round": step.round,
    }


class OrchestratorOut(BaseModel):
    """An orchestrator and its agents."""

    model_config = _shown({"name": "default", "agents": ["travel"]})

    name: str
    agents: list[str]


class OrchestratorsOut(BaseModel):
    """The tenant's orchestrators, by name."""

    model_config = _shown({"orchestrators": [{"name": "default", "agents": ["travel"]}]})

    orchestrators: list[OrchestratorOut]


class Supervision(BaseModel):
    """How an orchestrator's agents are doing, by their names."""

    model_config = _shown(
        {
            "healthy": 1,
            "recovering": 0,
            "sick": 0,
            "agents": {
                "travel": {"health": "healthy", "circuit": "closed", "calls": 3, "answered": 3, "latency_p50_s": 0.8}
            },
        }
    )

    healthy: int
    recovering: int
    sick: int
    agents: dict[str, dict[str, JsonValue]]
