"""Results of an orchestrator: the answer, and the calls to agents that led to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from super_advanced_agents.types import Match

StepStatus: TypeAlias = Literal["answered", "empty", "failed", "timed_out", "cancelled", "skipped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Describe one call to one agent: its status, answer, sources and duration.

    Attributes:
        agent: the agent's name in the orchestrator; `"critic"` for a critic that is not one of its agents.
        status: `"answered"`; `"empty"`, the agent said that it knows nothing; `"failed"`; `"timed_out"`; `"cancelled"`,
            other agents were quicker; `"skipped"`, the agent failed too often recently and was not called.
        text: the agent's answer.
        sources: the memories that the agent was shown, best first.
        latency_s: seconds from the question to the answer, or to the end of the call.
        error: the class of the error that the agent raised, or None.
        round: the round of a consensus, from 1.
    """

    agent: str
    status: StepStatus
    text: str = ""
    sources: list[Match] = field(default_factory=list)
    latency_s: float = 0.0
    error: str | None = None
    round: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Hold an orchestrator's answer to a question, and the calls to agents that led to it.

    Attributes:
        text: the answer.
        agent: the agent that wrote `text`.
        agents: the agents whose answers are part of it: those of a chain, those that agree with it, or `agent` alone.
        sources: the memories that `agents` were shown for it, each once, best first within each agent.
        steps: every call that was made, failures included, in the order of the agents, round by round.
        reason: why this answer was chosen. Of a question routed to one agent: `"task"` or `"user"` (the agent was
            registered for it), `"similarity"` (its description is most similar to the question), `"only"` (no other
            agent is left) or `"default"` (no agent fits). Of a critic's choice: the critic's explanation. Else empty.
        agreement: the fraction of the answers that say the same as `text`, from 0 to 1; None if none were compared.
        rounds: the number of times that the agents were asked; more than 1 for a consensus only.
        latency_s: seconds for the whole operation.
    """

    text: str
    agent: str
    agents: tuple[str, ...]
    sources: list[Match]
    steps: tuple[Step, ...]
    reason: str = ""
    agreement: float | None = None
    rounds: int = 1
    latency_s: float = 0.0
