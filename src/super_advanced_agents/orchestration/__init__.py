"""Orchestrators, which answer a question by routing, chaining or voting among agents.

Choosing agents, calling them and combining their answers belong here; an agent's memories and its own answers belong
to `agents`.
"""

from super_advanced_agents.orchestration.orchestrator import Orchestrator, Voting, Wait
from super_advanced_agents.orchestration.outcome import Outcome, Step
from super_advanced_agents.orchestration.protocols import SupportsAsk

__all__ = ["Orchestrator", "Outcome", "Step", "SupportsAsk", "Voting", "Wait"]
