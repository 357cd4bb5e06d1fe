"""The budget of bytes for all answers of one operation."""

from __future__ import annotations

from super_advanced_agents.config import LIMITS, Limits
from super_advanced_agents.orchestration.outcome import Step
from super_advanced_agents.stores.records.answer_sizes import ITEM_BYTES, answer_too_large, text_bytes


class AnswerBudget:
    """Bound the size of an orchestrator's outcome, by the bytes of the answers that agents give.

    Texts and sources count twice, since an outcome holds them in its steps and again as its own answer.

    Args:
        limits: the limits; `answer_bytes` is the budget.
    """

    def __init__(self, limits: Limits = LIMITS) -> None:
        self._limits = limits
        self._left = limits.answer_bytes

    def charge(self, step: Step) -> None:
        """Charge the answer and the sources of one call.

        Raises:
            InvalidInputError: the outcome would be too large with them.
        """
        self._left -= ITEM_BYTES + 2 * text_bytes(step.text)
        for match in step.sources:
            size = ITEM_BYTES + text_bytes(match.stored_text, match.source) + len(match.metadata_json)
            self._left -= 2 * size
            if self._left < 0:
                break
        if self._left < 0:
            raise answer_too_large(self._limits, "top_k", "ask for fewer memories, or ask fewer agents in one call")
