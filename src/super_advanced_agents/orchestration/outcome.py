"""What comes out of an orchestrator: the text, and how it came about."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from super_advanced_agents.types import Match

StepStatus: TypeAlias = Literal["answered", "empty", "failed", "timed_out", "cancelled", "skipped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One agent, asked once.

    Attributes:
        agent: its name in the orchestrator; `"critic"` for a critic that is not one of its agents.
        status: `"answered"`; `"empty"`, it said that it knows nothing; `"failed"`; `"timed_out"`; `"cancelled"`, others
            were quicker; `"skipped"`, it failed too often of late and was not asked.
        text: what it said.
        sources: the memories it was shown, best first.
        latency_s: seconds from asking to its answer, or to its end.
        error: the class of what it raised, or None.
        round: of a consensus, from 1.
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
    """What several agents, or the right one of them, made of a question.

    Attributes:
        text: the answer.
        agent: whose words it is.
        agents: all whose answers are in it: the links of a chain, those who agree with it, or `agent` alone.
        sources: the memories that `agents` were shown for it, each once, best first within each agent.
        steps: everything that was asked, in the order of the agents, round by round; failures too.
        reason: why this answer: of a route `"task"`, `"user"`, `"similarity"`, `"only"` or `"default"`; a critic's words.
        agreement: which part of the answers says the same as `text`, from 0 to 1; None where nothing was compared.
        rounds: how often the agents were asked; more than 1 for a consensus only.
        latency_s: seconds for all of it.
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
