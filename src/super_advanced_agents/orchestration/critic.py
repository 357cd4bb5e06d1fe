"""A critic: picks one of several answers, and says why."""

from __future__ import annotations

import re
from typing import TypeAlias

from super_advanced_agents.errors import ConfigurationError
from super_advanced_agents.generation import AsyncLLMWrapper, LLMGenerator
from super_advanced_agents.orchestration.circuit_breaker import CircuitBreaker
from super_advanced_agents.orchestration.members import Member
from super_advanced_agents.orchestration.prompt import CRITIC
from super_advanced_agents.orchestration.protocols import SupportsAsk
from super_advanced_agents.types import Answer, ChatMessage

Critic: TypeAlias = SupportsAsk | LLMGenerator | AsyncLLMWrapper
"""An agent, or a language model that is asked directly, without memories."""

CRITIC_TOKENS = 120
"""The length of a verdict, at most."""

_NUMBER = re.compile(r"\d+")


class LLMCritic:
    """A language model as an agent without memories."""

    def __init__(self, llm: LLMGenerator) -> None:
        self._llm = llm

    async def aask(self, question: str, top_k: int = 5) -> Answer:
        """What the model says to it, greedily decoded."""
        del top_k
        text = await self._llm.achat([CRITIC, ChatMessage(role="user", content=question)], CRITIC_TOKENS)
        return Answer(text=text.strip(), sources=[])


def as_critic(critic: Critic) -> Member:
    """A critic that is not one of the orchestrator's agents, ready to be asked.

    Raises:
        ConfigurationError: it is neither an agent nor a language model.
    """
    if isinstance(critic, AsyncLLMWrapper):
        critic = critic.llm
    if isinstance(critic, LLMGenerator):
        critic = LLMCritic(critic)
    if not isinstance(critic, SupportsAsk):
        raise ConfigurationError(
            f"a {type(critic).__name__} cannot be a critic", hint="give an agent with `aask`, or an LLMGenerator"
        )
    return Member(name="critic", agent=critic, breaker=CircuitBreaker(failures=1, cool_down_s=0.0))


def picked(verdict: str, answers: int) -> int | None:
    """Which answer a verdict names, counted from 0: the first number that is one of an answer; None without any."""
    numbers = (int(number) for number in _NUMBER.findall(verdict) if len(number) <= 3)
    return next((number - 1 for number in numbers if 1 <= number <= answers), None)
