"""Races, quorums, votes, critics and consensus."""

from __future__ import annotations

import asyncio

import pytest
from small_agents import Fails, Says, Waits, memory

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
    made = Orchestrator(embedding_pipeline=pipeline, failures=5, timeout_s=30)
    for name, agent in agents.items():
        made.register_agent(name, agent)
    return made


def _statuses(outcome):
    return [step.status for step in outcome.steps]


async def test_the_first_answer_wins_and_the_losers_are_cancelled_to_the_end():
    """Failures and empty answers do not win; when the call returns, nothing of it runs any more."""
    losers = [Waits(), Waits()]
    others = {
        "a": losers[0],
        "bad": Fails(OSError()),
        "empty": Says(NOTHING_KNOWN),
        "b": losers[1],
        "good": Says("Yes."),
    }
    before = asyncio.all_tasks()
    outcome = await _orchestrator(**others).aparallel("q")
    assert (outcome.text, outcome.agent) == ("Yes.", "good")
    assert _statuses(outcome) == ["cancelled", "failed", "empty", "cancelled", "answered"]
    assert [(loser.active, loser.cleaned_up) for loser in losers] == [(0, True), (0, True)]
    assert asyncio.all_tasks() == before


async def test_all_are_waited_for():
    """The text is the first one's; every answer and failure is a step."""
    slow = Waits("slow")
    orchestrator = _orchestrator(slow=slow, quick=Says("quick"), bad=Fails(OSError()))
    task = asyncio.create_task(orchestrator.aparallel("q", wait="all"))
    await slow.begun.wait()
    assert not task.done()
    slow.go.set()
    outcome = await task
    assert (outcome.text, outcome.agents, _statuses(outcome)) == (
        "slow", ("slow", "quick"), ["answered", "answered", "failed"]
    )  # fmt: skip


async def test_a_quorum_is_enough_and_given_up_when_out_of_reach():
    """The rest is cancelled, both times."""
    slow = Waits()
    orchestrator = _orchestrator(slow=slow, a=Says("a"), b=Says("b"), x=Fails(OSError()), y=Fails(OSError()))
    outcome = await orchestrator.aparallel("q", ["slow", "a", "b"], wait=2)
    assert (outcome.text, _statuses(outcome)) == ("a", ["cancelled", "answered", "answered"])
    with pytest.raises(AgentError, match="1 of the 3"):
        await orchestrator.aparallel("q", ["slow", "a", "x", "y"], wait=3)
    assert (slow.active, slow.cleaned_up) == (0, True)


async def test_what_came_by_the_deadline_counts():
    """Who is late is a step that timed out; when all are, that is the error."""
    waits = [Waits(), Waits()]
    orchestrator = _orchestrator(late=waits[0], later=waits[1], quick=Says("quick"))
    outcome = await orchestrator.aparallel("q", wait="all", deadline_s=0.02)
    assert (outcome.text, _statuses(outcome)) == ("quick", ["timed_out", "timed_out", "answered"])
    with pytest.raises(AgentTimeoutError, match=r"late \(AgentTimeoutError\), later"):
        await orchestrator.aparallel("q", ["late", "later"], wait="all", deadline_s=0.02)
    assert (waits[0].active, waits[1].active) == (0, 0)


@pytest.mark.parametrize("way", ["parallel", "majority", "consensus"])
async def test_cancelling_cancels_every_agent_and_waits_for_their_end(way):
    """No task is left, whatever the operation."""
    agents = {f"a{i}": Waits() for i in range(5)}
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


async def test_agents_of_users_take_no_part_unless_named():
    """In a call to everybody."""
    orchestrator = _orchestrator()
    orchestrator.register_agent("ann", Says("private"), users=["ann"])
    with pytest.raises(AgentNotFoundError):
        await orchestrator.aparallel("q")
    assert (await orchestrator.aparallel("q", ["ann"])).text == "private"


async def test_the_majority_wins_in_whatever_words(embedder):
    """Paraphrases vote together; who knows nothing or fails has no vote; sources are those of the winners."""
    agents = {
        "odd": Says("The disk of the server was full.", sources=[memory("x", "odd")]),
        "a": Says("The server crashed because it ran out of memory.", sources=[memory("m", "1")]),
        "b": Says("It ran out of memory, which crashed the server.", sources=[memory("m", "1"), memory("n", "2")]),
        "empty": Says(NOTHING_KNOWN),
        "bad": Fails(OSError()),
    }
    outcome = await _orchestrator(embedder, **agents).acollaborate("Why?", list(agents))
    assert (outcome.agent, outcome.agents) == ("a", ("a", "b"))
    assert outcome.agreement == pytest.approx(2 / 3)
    assert [match.uid for match in outcome.sources] == ["1", "2"]


async def test_a_tie_goes_to_who_is_named_first():
    """Whoever was registered first, or answered first."""
    orchestrator = _orchestrator(a=Says("Lyon"), b=Says("Paris"), c=Says("paris."), d=Says("lyon"))
    assert (await orchestrator.acollaborate("q", ["b", "a", "c", "d"])).text == "Paris"
    assert (await orchestrator.acollaborate("q", ["d", "c", "b", "a"])).text == "lyon"


async def test_when_nobody_knows_there_is_no_agreement():
    """The answer says that nothing is known; when all failed, the error says so."""
    orchestrator = _orchestrator(a=Says(NOTHING_KNOWN), b=Says(""), c=Fails(OSError()))
    outcome = await orchestrator.acollaborate("q", ["c", "a", "b"])
    assert (outcome.text, outcome.agent, outcome.agreement) == (NOTHING_KNOWN, "a", 0.0)
    with pytest.raises(AgentError):
        await orchestrator.acollaborate("q", ["c"])


async def test_the_critic_picks_and_explains():
    """It sees numbered answers as data, not who gave them; its words are the reason."""
    critic = Says("2. It names the year.")
    orchestrator = _orchestrator(a=Says("Long ago."), bad=Fails(OSError()), b=Says("In 1889."), judge=critic)
    outcome = await orchestrator.acollaborate("When?", ["a", "bad", "b"], "critic", critic="judge")
    assert (outcome.text, outcome.agent, outcome.reason) == ("In 1889.", "b", "2. It names the year.")
    assert "<answers>\n[1] Long ago.\n[2] In 1889.\n</answers>" in critic.asked[0]
    assert critic.asked[0].endswith("Question: When?")
    assert [step.agent for step in outcome.steps] == ["a", "bad", "b", "judge"]


@pytest.mark.parametrize(
    ("critic", "reason"),
    [(Says("None of the 7 is good."), "named none"), (Fails(OSError()), "did not answer (OSError)")],
)
async def test_without_a_verdict_the_majority_decides(critic, reason):
    """And the reason says so."""
    orchestrator = _orchestrator(a=Says("Lyon"), b=Says("Paris"), c=Says("paris"))
    outcome = await orchestrator.acollaborate("q", ["a", "b", "c"], "critic", critic=critic)
    assert outcome.text == "Paris"
    assert reason in outcome.reason
    assert outcome.steps[-1].agent == "critic"


async def test_a_language_model_can_be_the_critic(llm):
    """Given here or to the orchestrator, wrapped or not; without any the error says what to give."""
    orchestrator = _orchestrator(a=Says("Lyon"), b=Says("Paris"))
    outcome = await orchestrator.acollaborate("q", ["a", "b"], "critic", critic=AsyncLLMWrapper(llm))
    assert outcome.steps[-1].status == "answered"
    assert outcome.text in {"Lyon", "Paris"}
    with pytest.raises(ConfigurationError, match="critic"):
        await orchestrator.acollaborate("q", ["a", "b"], "critic")
    with pytest.raises(ConfigurationError, match="cannot be a critic"):
        Orchestrator(critic="me")


async def test_consensus_goes_on_until_all_say_the_same():
    """In each round everybody sees what the others said in the one before, and not its own answer."""
    a, b, c = Says("Lyon", "Paris"), Says("Paris"), Says("Nice", "Paris.")
    outcome = await _orchestrator(a=a, b=b, c=c).acollaborate("Which city?", ["a", "b", "c"], "consensus")
    assert (outcome.text, outcome.agreement, outcome.rounds) == ("Paris", 1.0, 2)
    assert outcome.agents == ("a", "b", "c")
    assert a.asked[1].startswith("Which city?\n\nOther agents")
    assert "<answers>\n[1] Paris\n[2] Nice\n</answers>" in a.asked[1]
    assert [(step.agent, step.round) for step in outcome.steps] == [(n, r) for r in (1, 2) for n in "abc"]


async def test_without_consensus_the_majority_of_the_last_round_decides():
    """After `max_rounds`; a round in which nobody answers takes nothing back."""
    a, b, c = Says("x", "y", "z"), Says("z"), Says("w", "v", "u")
    outcome = await _orchestrator(a=a, b=b, c=c).acollaborate("q", ["a", "b", "c"], "consensus", max_rounds=3)
    assert (outcome.text, outcome.rounds, outcome.agreement) == ("z", 3, pytest.approx(2 / 3))
    a, b = Says("x", " "), Says("y", " ")
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
        (lambda o: o.achain("q", ["a", "../b"]), "names[1]"),
        (lambda o: o.aparallel("q", ["a", "a"]), "names[1]"),
        (lambda o: o.aparallel("q", wait=0), "wait"),
        (lambda o: o.aparallel("q", wait=2), "wait"),
        (lambda o: o.aparallel("q", wait=True), "wait"),
        (lambda o: o.aparallel("q", wait="some"), "wait"),
        (lambda o: o.afallback("q", "a", "a"), "backup"),
        (lambda o: o.afallback("q", "a", None), "backup"),
        (lambda o: o.afallback("q", " ", ["a"]), "primary"),
        (lambda o: o.afallback("q", "a", ["b c"]), "backup[0]"),
        (lambda o: o.acollaborate("q", ["a"], "shouting"), "voting"),
        (lambda o: o.acollaborate("q", ["a"], "consensus", max_rounds=0), "max_rounds"),
    ],
)
async def test_wrong_arguments_are_refused_by_name(call, field):
    """Before any agent is asked."""
    agent = Says("never")
    with pytest.raises(InvalidInputError) as caught:
        await call(_orchestrator(a=agent))
    assert (caught.value.field, agent.asked) == (field, [])


async def test_unknown_names_are_refused_before_anybody_is_asked():
    """Whatever the operation."""
    agent = Says("never")
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
    assert agent.asked == []
