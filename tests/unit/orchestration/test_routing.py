"""Which agent is asked."""

from __future__ import annotations

import pytest
from small_agents import Fails, Says

from super_advanced_agents import Orchestrator
from super_advanced_agents.errors import AgentNotFoundError, AgentUnavailableError, ConfigurationError

COOKING = "Answers questions about cooking, recipes and food"
TRAVEL = "Knows the company's travel policy, flights and hotels"
CODE = "Helps with Python programming and debugging"


@pytest.fixture
def orchestrator(embedder):
    made = Orchestrator(embedding_pipeline=embedder, failures=1, cool_down_s=900)
    for name, description in (("cook", COOKING), ("travel", TRAVEL), ("coder", CODE)):
        made.register_agent(name, Says(f"{name} speaking"), description=description)
    return made


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("How long do I bake bread?", "cook"),
        ("Can I book a business class flight?", "travel"),
        ("Why do I get a TypeError?", "coder"),
    ],
)
async def test_a_question_goes_to_the_agent_that_says_it_does_such_things(orchestrator, query, name):
    """By similarity of question and description."""
    outcome = await orchestrator.aroute(query)
    assert (outcome.agent, outcome.text, outcome.reason) == (name, f"{name} speaking", "similarity")
    assert outcome.agents == (name,)


async def test_a_question_that_nothing_fits_is_refused_or_goes_to_the_default(orchestrator, embedder):
    """The refusal says how near the best one came; the default may also be the last resort for sick agents."""
    with pytest.raises(AgentNotFoundError, match=r"best similarity is 0\.\d\d, below 0\.10.*default"):
        await orchestrator.aroute("How old is the universe?")
    other = Orchestrator(embedding_pipeline=embedder, default="host", failures=1)
    other.register_agent("cook", Fails(OSError()), description=COOKING)
    other.register_agent("host", Says("Welcome."), description="Welcomes guests at the door")
    assert (await other.aroute("How old is the universe?")).reason == "default"
    with pytest.raises(Exception, match="OSError"):
        await other.aroute("How long do I bake bread?")
    assert (await other.aroute("How long do I bake bread?")).agent == "host"


async def test_the_task_comes_before_everything_else():
    """Those for the task, else those for any task; case does not count, and nobody for it is an error."""
    orchestrator = Orchestrator()
    orchestrator.register_agent("bills", Says("b"), tasks=["Billing"])
    orchestrator.register_agent("second", Says("s"), tasks=["billing", "refunds"])
    assert (await orchestrator.aroute("q", task="BILLING ")).agent == "bills"
    assert (await orchestrator.aroute("q", task="refunds")).reason == "task"
    with pytest.raises(AgentNotFoundError, match="task and user"):
        await orchestrator.aroute("q", task="cooking")
    orchestrator.register_agent("anything", Says("a"))
    outcome = await orchestrator.aroute("q", task="cooking")
    assert (outcome.agent, outcome.reason) == ("anything", "only")


async def test_an_agent_of_a_user_serves_nobody_else():
    """It comes before agents for everybody when that user asks, and is out when another does."""
    orchestrator = Orchestrator()
    orchestrator.register_agent("house", Says("h"), tasks=["notes"])
    orchestrator.register_agent("ann", Says("a"), users=["ann@x"], tasks=["notes"])
    assert (await orchestrator.aroute("q", task="notes", user_id="ann@x")).agent == "ann"
    assert (await orchestrator.aroute("q", task="notes", user_id="bob")).agent == "house"
    assert (await orchestrator.aroute("q", task="notes")).agent == "house"
    orchestrator.unregister_agent("house")
    with pytest.raises(AgentNotFoundError):
        await orchestrator.aroute("q")


async def test_equals_go_to_the_first_one_registered(embedder):
    """Also when the others have been registered since, whatever their names."""
    orchestrator = Orchestrator(embedding_pipeline=embedder)
    for name in ("zoe", "abe", "moe"):
        orchestrator.register_agent(name, Says(name), description=COOKING)
    for _ in range(3):
        assert (await orchestrator.aroute("How long do I bake bread?")).agent == "zoe"


async def test_a_sick_agent_is_passed_over(orchestrator):
    """For the next that fits; if none does, the error says when to come back."""
    orchestrator.register_agent("baker", Fails(OSError("down")), description="How long to bake bread: baking, bread")
    with pytest.raises(Exception, match="'baker' failed with OSError"):
        await orchestrator.aroute("How long do I bake bread?")
    assert (await orchestrator.aroute("How long do I bake bread?")).agent == "cook"
    orchestrator.unregister_agent("cook")
    with pytest.raises(AgentUnavailableError) as caught:
        await orchestrator.aroute("How long do I bake bread?")
    assert 800 < caught.value.retry_after_s <= 900


async def test_similarity_needs_something_that_compares():
    """Without a pipeline a choice by description is refused, with what to do."""
    orchestrator = Orchestrator()
    orchestrator.register_agent("one", Says("1"))
    assert (await orchestrator.aroute("q")).reason == "only"
    orchestrator.register_agent("two", Says("2"))
    with pytest.raises(ConfigurationError, match="embedding_pipeline"):
        await orchestrator.aroute("q")


async def test_an_orchestrator_can_be_another_ones_agent(orchestrator):
    """Its answer is that of the agent it chose."""
    outer = Orchestrator()
    outer.register_agent("inner", orchestrator)
    assert (await outer.aroute("Why do I get a TypeError?")).text == "coder speaking"
