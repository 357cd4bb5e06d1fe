"""Test the operations `parallel` and `collaborate` of an orchestrator."""

from __future__ import annotations

import asyncio

import pytest
from small_agents import AnsweringAgent, FailingAgent, WaitingAgent, memory

from super_advanced_agents import AsyncLLMWrapper, Orchestrator
from super_advanced_agents.agents.prompt import NOTHING_KNOWN
from super_advanced_agents.errors import (
    AgentError,
    AgentNotFoundError,
    AgentTimeoutError,
    ConfigurationError,
    InvalidInputError,
)


def _orchestrator(pipeline=None, **agents):
    orchestrator = Orchestrator(embedding_pipeline=pipeline, failures=5, timeout_s=30)
    for name, agent in agents.items():
        orchestrator.register_agent(name, agent)
    return orchestrator


def _statuses(outcome):
    return [step.status for step in outcome.steps]


async def test_parallel_returns_the_first_answer_and_cancels_the_other_agents():
    """Failures and empty answers do not win, and no task runs on when the call returns."""
    waiting = [WaitingAgent(), WaitingAgent()]
    others = {
        "a": waiting[0],
        "bad": FailingAgent(OSError()),
        "empty": AnsweringAgent(NOTHING_KNOWN),
        "b": waiting[1],
        "good": AnsweringAgent("Yes."),
    }
    before = asyncio.all_tasks()
    outcome = await _orchestrator(**others).aparallel("q")
    assert (outcome.text, outcome.agent) == ("Yes.", "good")
    assert _statuses(outcome) == ["cancelled", "failed", "empty", "cancelled", "answered"]
    assert [(agent.active, agent.cleaned_up) for agent in waiting] == [(0, True), (0, True)]
    assert asyncio.all_tasks() == before


async def test_parallel_with_wait_all_waits_for_every_agent():
    """The text is that of the first agent, and each answer or failure is a step."""
    slow = WaitingAgent("slow")
    orchestrator = _orchestrator(slow=slow, quick=AnsweringAgent("quick"), bad=FailingAgent(OSError()))
    task = asyncio.create_task(orchestrator.aparallel("q", wait="all"))
    await slow.begun.wait()
    assert not task.done()
    slow.go.set()
    outcome = await task
    assert (outcome.text, outcome.agents, _statuses(outcome)) == (
        "slow", ("slow", "quick"), ["answered", "answered", "failed"]
    )  # fmt: skip


async def test_parallel_with_a_quorum_ends_when_it_is_reached_or_impossible():
    """The other agents are cancelled in both cases."""
    slow = WaitingAgent()
    orchestrator = _orchestrator(
        slow=slow, a=AnsweringAgent("a"), b=AnsweringAgent("b"), x=FailingAgent(OSError()), y=FailingAgent(OSError())
    )
    outcome = await orchestrator.aparallel("q", ["slow", "a", "b"], wait=2)
    assert (outcome.text, _statuses(outcome)) == ("a", ["cancelled", "answered", "answered"])
    with pytest.raises(AgentError, match="1 of the 3"):
        await orchestrator.aparallel("q", ["slow", "a", "x", "y"], wait=3)
    assert (slow.active, slow.cleaned_up) == (0, True)


async def test_parallel_returns_the_answers_that_came_before_the_deadline():
    """A late agent is a step that timed out; when all are late, the call raises."""
    late = [WaitingAgent(), WaitingAgent()]
    orchestrator = _orchestrator(late=late[0], later=late[1], quick=AnsweringAgent("quick"))
    outcome = await orchestrator.aparallel("q", wait="all", deadline_s=0.5)
    assert (outcome.text, _statuses(outcome)) == ("quick", ["timed_out", "timed_out", "answered"])
    with pytest.raises(AgentTimeoutError, match=r"late \(AgentTimeoutError\), later"):
        await orchestrator.aparallel("q", ["late", "later"], wait="all", deadline_s=0.02)
    assert (late[0].active, late[1].active) == (0, 0)


@pytest.mark.parametrize("way", ["parallel", "majority", "consensus"])
async def test_cancelling_a_call_cancels_all_its_agents_and_waits_for_them(way):
    """No task is left."""
    agents = {f"a{i}": WaitingAgent() for i in range(5)}
    orchestrator = _orchestrator(**agents)
    before = asyncio.all_tasks()
    operation = (
        orchestrator.aparallel("q") if way == "parallel" else orchestrator.acollaborate("q", list(agents), voting=way)
    )
    task = asyncio.create_task(operation)
    for agent in agents.values():
        await agent.begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert all(agent.active == 0 and agent.cleaned_up for agent in agents.values())
    assert asyncio.all_tasks() == before


async def test_parallel_calls_an_agent_of_a_user_only_when_it_is_named():
    """A call without names goes to the agents that serve every user."""
    orchestrator = _orchestrator()
    orchestrator.register_agent("ann", AnsweringAgent("private"), users=["ann"])
    with pytest.raises(AgentNotFoundError):
        await orchestrator.aparallel("q")
    assert (await orchestrator.aparallel("q", ["ann"])).text == "private"


async def test_majority_counts_paraphrases_as_one_answer(embedder):
    """Agents that fail or know nothing have no vote, and the sources are the winners'."""
    agents = {
        "odd": AnsweringAgent("The disk of the server was full.", sources=[memory("x", "odd")]),
        "a": AnsweringAgent("The server crashed because it ran out of memory.", sources=[memory("m", "1")]),
        "b": AnsweringAgent(
            "It ran out of memory, which crashed the server.", sources=[memory("m", "1"), memory("n", "2")]
        ),
        "empty": AnsweringAgent(NOTHING_KNOWN),
        "bad": FailingAgent(OSError()),
    }
    outcome = await _orchestrator(embedder, **agents).acollaborate("Why?", list(agents))
    assert (outcome.agent, outcome.agents) == ("a", ("a", "b"))
    assert outcome.agreement == pytest.approx(2 / 3)
    assert [match.uid for match in outcome.sources] == ["1", "2"]


async def test_majority_tie_goes_to_the_agent_named_first():
    """The order of registration does not matter."""
    orchestrator = _orchestrator(
        a=AnsweringAgent("Lyon"), b=AnsweringAgent("Paris"), c=AnsweringAgent("paris."), d=AnsweringAgent("lyon")
    )
    assert (await orchestrator.acollaborate("q", ["b", "a", "c", "d"])).text == "Paris"
    assert (await orchestrator.acollaborate("q", ["d", "c", "b", "a"])).text == "lyon"


async def test_collaborate_answers_nothing_known_when_no_agent_knows_anything():
    """Agreement is 0; the call raises when all agents failed."""
    orchestrator = _orchestrator(a=AnsweringAgent(NOTHING_KNOWN), b=AnsweringAgent(""), c=FailingAgent(OSError()))
    outcome = await orchestrator.acollaborate("q", ["c", "a", "b"])
    assert (outcome.text, outcome.agent, outcome.agreement) == (NOTHING_KNOWN, "a", 0.0)
    with pytest.raises(AgentError):
        await orchestrator.acollaborate("q", ["c"])


async def test_critic_chooses_the_answer_and_gives_the_reason():
    """It sees numbered answers as data, without the names of their agents."""
    critic = AnsweringAgent("2. It names the year.")
    orchestrator = _orchestrator(
        a=AnsweringAgent("Long ago."), bad=FailingAgent(OSError()), b=AnsweringAgent("In 1889."), judge=critic
    )
    outcome = await orchestrator.acollaborate("When?", ["a", "bad", "b"], "critic", critic="judge")
    assert (outcome.text, outcome.agent, outcome.reason) == ("In 1889.", "b", "2. It names the year.")
    assert "<answers>\n[1] Long ago.\n[2] In 1889.\n</answers>" in critic.questions[0]
    assert critic.questions[0].endswith("Question: When?")
    assert [step.agent for step in outcome.steps] == ["a", "bad", "b", "judge"]


@pytest.mark.parametrize(
    ("critic", "reason"),
    [(AnsweringAgent("None of the 7 is good."), "named none"), (FailingAgent(OSError()), "did not answer (OSError)")],
)
async def test_majority_decides_when_the_critic_gives_no_verdict(critic, reason):
    """The reason says so."""
    orchestrator = _orchestrator(a=AnsweringAgent("Lyon"), b=AnsweringAgent("Paris"), c=AnsweringAgent("paris"))
    outcome = await orchestrator.acollaborate("q", ["a", "b", "c"], "critic", critic=critic)
    assert outcome.text == "Paris"
    assert reason in outcome.reason
    assert outcome.steps[-1].agent == "critic"


async def test_language_model_can_be_the_critic(llm):
    """Without any critic the message names the argument."""
    orchestrator = _orchestrator(a=AnsweringAgent("Lyon"), b=AnsweringAgent("Paris"))
    outcome = await orchestrator.acollaborate("q", ["a", "b"], "critic", critic=AsyncLLMWrapper(llm))
    assert outcome.steps[-1].status == "answered"
    assert outcome.text in {"Lyon", "Paris"}
    with pytest.raises(ConfigurationError, match="critic"):
        await orchestrator.acollaborate("q", ["a", "b"], "critic")
    with pytest.raises(ConfigurationError, match="cannot be a critic"):
        Orchestrator(critic="me")


async def test_consensus_repeats_rounds_until_all_answers_agree():
    """Each agent sees the others' answers of the round before, and not its own."""
    a, b, c = AnsweringAgent("Lyon", "Paris"), AnsweringAgent("Paris"), AnsweringAgent("Nice", "Paris.")
    outcome = await _orchestrator(a=a, b=b, c=c).acollaborate("Which city?", ["a", "b", "c"], "consensus")
    assert (outcome.text, outcome.agreement, outcome.rounds) == ("Paris", 1.0, 2)
    assert outcome.agents == ("a", "b", "c")
    assert a.questions[1].startswith("Which city?\n\nOther agents")
    assert "<answers>\n[1] Paris\n[2] Nice\n</answers>" in a.questions[1]
    assert [(step.agent, step.round) for step in outcome.steps] == [(n, r) for r in (1, 2) for n in "abc"]


async def test_majority_of_the_last_round_decides_without_consensus():
    """A round in which no agent answers is ignored."""
    a, b, c = AnsweringAgent("x", "y", "z"), AnsweringAgent("z"), AnsweringAgent("w", "v", "u")
    outcome = await _orchestrator(a=a, b=b, c=c).acollaborate("q", ["a", "b", "c"], "consensus", max_rounds=3)
    assert (outcome.text, outcome.rounds, outcome.agreement) == ("z", 3, pytest.approx(2 / 3))
    a, b = AnsweringAgent("x", " "), AnsweringAgent("y", " ")
    outcome = await _orchestrator(a=a, b=b).acollaborate("q", ["a", "b"], "consensus")
    assert (outcome.text, outcome.rounds) == ("x", 2)


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda o: o.aroute(" "), "query"),
        (lambda o: o.aroute("x" * 40_000), "query"),
        (lambda o: o.aroute("q", task=" "), "task"),
        (lambda o: o.aroute("q", user_id=7), "user_id"),
        (lambda o: o.aroute("q", top_k=0), "top_k"),
        (lambda o: o.aroute("q", top_k=True), "top_k"),
        (lambda o: o.aroute("q", top_k=1_001), "top_k"),
        (lambda o: o.aroute("q", timeout_s=0), "timeout_s"),
        (lambda o: o.aroute("q", deadline_s=float("nan")), "deadline_s"),
        (lambda o: o.achain("q", []), "names"),
        (lambda o: o.achain("q", "a"), "names"),
        (lambda o: o.achain("q", ["a"] * 33), "names"),
        (lambda o: o.achain("q", ["a", "b\n"]), "names[1]"),
        (lambda o: o.aparallel("q", ["a", "a"]), "names[1]"),
        (lambda o: o.aparallel("q", wait=0), "wait"),
        (lambda o: o.aparallel("q", wait=2), "wait"),
        (lambda o: o.aparallel("q", wait=True), "wait"),
        (lambda o: o.aparallel("q", wait="some"), "wait"),
        (lambda o: o.afallback("q", "a", "a"), "backup"),
        (lambda o: o.afallback("q", "a", None), "backup"),
        (lambda o: o.afallback("q", "", ["a"]), "primary"),
        (lambda o: o.afallback("q", "a", ["b\tc"]), "backup[0]"),
        (lambda o: o.acollaborate("q", ["a"], "shouting"), "voting"),
        (lambda o: o.acollaborate("q", ["a"], "consensus", max_rounds=0), "max_rounds"),
    ],
)
async def test_orchestrator_names_an_invalid_argument_before_calling_any_agent(call, field):
    """The error's `field` is the argument."""
    agent = AnsweringAgent("never")
    with pytest.raises(InvalidInputError) as caught:
        await call(_orchestrator(a=agent))
    assert (caught.value.field, agent.questions) == (field, [])


async def test_orchestrator_refuses_an_unknown_agent_before_calling_any_agent():
    """This holds for each operation."""
    agent = AnsweringAgent("never")
    orchestrator = _orchestrator(a=agent)
    for call in (
        orchestrator.achain("q", ["a", "b"]),
        orchestrator.afallback("q", "a", "b"),
        orchestrator.aparallel("q", ["a", "b"]),
        orchestrator.acollaborate("q", ["a", "b"]),
        orchestrator.acollaborate("q", ["a"], "critic", critic="b"),
    ):
        with pytest.raises(AgentNotFoundError, match="'b'"):
            await call
    assert agent.questions == []
