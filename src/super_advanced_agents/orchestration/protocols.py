"""Interfaces of the agents that an orchestrator can ask."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from super_advanced_agents.types import Answer


@runtime_checkable
class SupportsAsk(Protocol):
    """Define the interface of an agent: the method `aask`, which answers a question.

    An `AsyncLLMAgent`, an agent of another server (`RemoteAgent`), an `Orchestrator` and any class of the caller's own
    can implement it.

    Cancelling `aask` must end its work: an orchestrator cancels the agents that it no longer waits for, and waits until
    they have ended. Errors count against the agent's health, except `InvalidInputError` and `RateLimitedError`, which
    the caller caused. A blank text, or `NOTHING_KNOWN` of `agents.prompt`, means that the agent has no answer.
    """

    async def aask(self, question: str, top_k: int = 5) -> Answer:
        """Answer a question, using up to `top_k` stored memories if the agent has any."""


@runtime_checkable
class SupportsAskAbout(SupportsAsk, Protocol):
    """Define an agent that can search its memories for another text than the question.

    Optional for an agent. A question that quotes other agents' answers holds words that no memory is about. An
    `AsyncLLMAgent` does not need this method: the orchestrator searches its memories with `asearch_text`.
    """

    async def aask_about(self, question: str, about: str, top_k: int = 5) -> Answer:
        """Answer a question from the agent's memories that match the text `about` best."""
