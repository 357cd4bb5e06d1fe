"""Test that all answers of one operation of an orchestrator are bounded together."""

from __future__ import annotations

import asyncio

import pytest
from small_agents import AnsweringAgent, WaitingAgent, memory

from super_advanced_agents import Orchestrator
from super_advanced_agents.config import LIMITS
from super_advanced_agents.errors import InvalidInputError

_THIRD = "x" * (LIMITS.answer_bytes // 6)  # a text counts twice


def _orchestrator(**agents):
    orchestrator = Orchestrator(failures=2, cool_down_s=900, timeout_s=30)
    for name, agent in agents.items():
        orchestrator.register_agent(name, agent)
    return orchestrator


def _large():
    return AnsweringAgent(_THIRD)


def _with_many_sources():
    return AnsweringAgent("Yes.", sources=[memory("m" * 60_000, str(n)) for n in range(100)])


@pytest.mark.parametrize("agent", [_large, _with_many_sources])
async def test_parallel_answers_that_are_too_large_together_end_the_call(agent):
    """The error says what to ask less of; agents that are still asked are cancelled, and none counts as failed."""
    slow = WaitingAgent()
    orchestrator = _orchestrator(a=agent(), b=agent(), c=agent(), slow=slow)
    before = asyncio.all_tasks()
    with pytest.raises(InvalidInputError, match="answer_bytes") as caught:
        await orchestrator.aparallel("q", wait="all", top_k=100)
    assert "fewer memories" in str(caught.value)
    assert (slow.active, slow.cleaned_up) == (0, True)
    assert asyncio.all_tasks() == before
    assert all(report["failed"] == 0 for report in (await orchestrator.asupervise())["agents"].values())


async def test_answers_one_after_another_are_counted_together():
    """A chain of two is within the limit, one of three is not; each operation begins anew."""
    orchestrator = _orchestrator(a=_large())
    for _ in range(2):
        assert (await orchestrator.achain("q", ["a", "a"])).text == _THIRD
    with pytest.raises(InvalidInputError, match="answer_bytes"):
        await orchestrator.achain("q", ["a", "a", "a"])


async def test_rounds_of_a_consensus_are_counted_together():
    """Every round adds its answers to the steps of the outcome."""
    orchestrator = _orchestrator(a=AnsweringAgent(_THIRD, "no"), b=AnsweringAgent("no", _THIRD, "yes" + _THIRD))
    with pytest.raises(InvalidInputError, match="answer_bytes"):
        await orchestrator.acollaborate("q", ["a", "b"], "consensus", max_rounds=3)
