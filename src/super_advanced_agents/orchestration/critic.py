"""A critic, an agent or a language model that picks the best of several answers."""

from __future__ import annotations

import re
from typing import TypeAlias

from super_advanced_agents._runtime.remote.circuit_breaker import CircuitBreaker
from super_advanced_agents.errors import ConfigurationError
from super_advanced_agents.generation import AsyncLLMWrapper, LLMGenerator
from super_advanced_agents.orchestration.members import Member
from super_advanced_agents.orchestration.prompt import CRITIC
from super_advanced_agents.orchestration.protocols import SupportsAsk
from super_advanced_agents.types import Answer, ChatMessage

Critic: TypeAlias = SupportsAsk | LLMGenerator | AsyncLLMWrapper
"""An agent, or a language model, which is asked without memories."""

CRITIC_TOKENS = 120
"""The maximal length of a critic's reply, in tokens."""

_NUMBER = re.compile(r"\d+")


class LLMCritic:
    """Adapt a language model to the interface of an agent, so that it can judge answers."""

    def __init__(self, llm: LLMGenerator) -> None:
        self._llm = llm

    async def aask(self, question: str, top_k: int = 5) -> Answer:
        """Ask the language model a question, without any memories, and return its reply.

        The reply is decoded greedily; `top_k` is ignored.
        """
        del top_k
        text = await self._llm.achat([CRITIC, ChatMessage(role="user", content=question)], CRITIC_TOKENS)
        return Answer(text=text.strip(), sources=[])


def as_critic(critic: Critic) -> Member:
    """Wrap an agent or a language model so that an orchestrator can ask it to judge answers.

    Its circuit breaker has no cool-down: after a failure, one call at a time tries it again.

    Raises:
        ConfigurationError: `critic` is neither an agent nor a language model.
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


def parse_verdict(verdict: str, answer_count: int) -> int | None:
    """Find the answer that a critic's reply picks by number; return its 0-based index or None.

    Answers are numbered from 1 in the verdict; the first number that is one of theirs counts.
    """
    numbers = (int(number) for number in _NUMBER.findall(verdict) if len(number) <= 3)
    return next((number - 1 for number in numbers if 1 <= number <= answer_count), None)
