"""What an orchestrator wants of an agent."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from super_advanced_agents.types import Answer


@runtime_checkable
class SupportsAsk(Protocol):
    """Answers questions: an `AsyncLLMAgent`, an agent of another server (`RemoteAgent`), an `Orchestrator`, or yours.

    Cancelling `aask` must end its work: an orchestrator cancels whom it no longer waits for, and waits until that has
    ended. What it raises counts against the agent's health, `InvalidInputError` and `RateLimitedError` apart, which are
    the caller's doing. A blank text, or `NOTHING_KNOWN` of `agents.prompt`, says that it has no answer.
    """

    async def aask(self, question: str, top_k: int = 5) -> Answer:
        """Answer `question`, looking at `top_k` memories where the agent has any."""


@runtime_checkable
class SupportsAskAbout(SupportsAsk, Protocol):
    """An agent that can be told what to look for apart from what it is asked; that it can is optional.

    A question that carries other agents' answers says much that no memory is about. An `AsyncLLMAgent` is asked so
    without this method.
    """

    async def aask_about(self, question: str, about: str, top_k: int = 5) -> Answer:
        """Answer `question` from the memories that are found with `about`."""
