"""Several agents behind one question: routing, chains, fallbacks, races and votes, with health watched."""

from super_advanced_agents.orchestration.orchestrator import Orchestrator, Voting, Wait
from super_advanced_agents.orchestration.outcome import Outcome, Step
from super_advanced_agents.orchestration.protocols import SupportsAsk

__all__ = ["Orchestrator", "Outcome", "Step", "SupportsAsk", "Voting", "Wait"]
