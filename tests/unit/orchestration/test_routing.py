"""Test which agent an orchestrator's `route` chooses."""

from __future__ import annotations

import pytest
from small_agents import AnsweringAgent, FailingAgent

from super_advanced_agents import Orchestrator
from super_advanced_agents.errors import AgentNotFoundError, AgentUnavailableError, ConfigurationError

COOKING = "Answers questions about cooking, recipes and food"
TRAVEL = "Knows the company's travel policy, flights and hotels"
CODE = "Helps with Python programming and debugging"


@pytest.fixture
def orchestrator(embedder):
    orchestrator = Orchestrator(embedding_pipeline=embedder, failures=1, cool_down_s=900)
    for name, description in (("cook", COOKING), ("travel", TRAVEL), ("coder", CODE)):
        orchestrator.register_agent(name, AnsweringAgent(f"{name} speaking"), description=description)
    return orchestrator


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("How long do I bake bread?", "cook"),
        ("Can I book a business class flight?", "travel"),
        ("Why do I get a TypeError?", "coder"),
    ],
)
async def test_route_chooses_the_agent_with_the_most_similar_description(orchestrator, query, name):
    """The reason of the outcome is similarity."""
    outcome = await orchestrator.aroute(query)
    assert (outcome.agent, outcome.text, outcome.reason) == (name, f"{name} speaking", "similarity")
    assert outcome.agents == (name,)


async def test_route_without_a_similar_description_raises_or_uses_the_default(orchestrator, embedder):
    """The message has the best similarity, and the default also replaces a sick agent."""
    with pytest.raises(AgentNotFoundError, match=r"best similarity is 0\.\d\d, below 0\.10.*default"):
        await orchestrator.aroute("How old is the universe?")
    other = Orchestrator(embedding_pipeline=embedder, default="host", failures=1)
    other.register_agent("cook", FailingAgent(OSError()), description=COOKING)
    other.register_agent("host", AnsweringAgent("Welcome."), description="Welcomes guests at the door")
    assert (await other.aroute("How old is the universe?")).reason == "default"
    with pytest.raises(Exception, match="OSError"):
        await other.aroute("How long do I bake bread?")
    assert (await other.aroute("How long do I bake bread?")).agent == "host"


async def test_route_chooses_agents_of_the_task_first():
    """Agents without tasks come next; case does not matter, and no agent for a task is an error."""
    orchestrator = Orchestrator()
    orchestrator.register_agent("bills", AnsweringAgent("b"), tasks=["Billing"])
    orchestrator.register_agent("second", AnsweringAgent("s"), tasks=["billing", "refunds"])
    assert (await orchestrator.aroute("q", task="BILLING ")).agent == "bills"
    assert (await orchestrator.aroute("q", task="refunds")).reason == "task"
    with pytest.raises(AgentNotFoundError, match="task and user"):
        await orchestrator.aroute("q", task="cooking")
    orchestrator.register_agent("anything", AnsweringAgent("a"))
    outcome = await orchestrator.aroute("q", task="cooking")
    assert (outcome.agent, outcome.reason) == ("anything", "only")


async def test_route_chooses_an_agent_of_a_user_for_that_user_only():
    """It comes before agents that serve every user."""
    orchestrator = Orchestrator()
    orchestrator.register_agent("house", AnsweringAgent("h"), tasks=["notes"])
    orchestrator.register_agent("ann", AnsweringAgent("a"), users=["ann@x"], tasks=["notes"])
    assert (await orchestrator.aroute("q", task="notes", user_id="ann@x")).agent == "ann"
    assert (await orchestrator.aroute("q", task="notes", user_id="bob")).agent == "house"
    assert (await orchestrator.aroute("q", task="notes")).agent == "house"
    orchestrator.unregister_agent("house")
    with pytest.raises(AgentNotFoundError):
        await orchestrator.aroute("q")


async def test_route_prefers_the_first_registered_of_equal_agents(embedder):
    """Names do not matter."""
    orchestrator = Orchestrator(embedding_pipeline=embedder)
    for name in ("zoe", "abe", "moe"):
        orchestrator.register_agent(name, AnsweringAgent(name), description=COOKING)
    for _ in range(3):
        assert (await orchestrator.aroute("How long do I bake bread?")).agent == "zoe"


async def test_route_skips_a_sick_agent_for_the_next_similar_one(orchestrator):
    """When none is left, the error has a `retry_after_s`."""
    orchestrator.register_agent(
        "baker", FailingAgent(OSError("down")), description="How long to bake bread: baking, bread"
    )
    with pytest.raises(Exception, match="'baker' failed with OSError"):
        await orchestrator.aroute("How long do I bake bread?")
    assert (await orchestrator.aroute("How long do I bake bread?")).agent == "cook"
    orchestrator.unregister_agent("cook")
    with pytest.raises(AgentUnavailableError) as caught:
        await orchestrator.aroute("How long do I bake bread?")
    assert 800 < caught.value.retry_after_s <= 900


async def test_route_by_description_without_a_pipeline_raises():
    """The message names the missing argument."""
    orchestrator = Orchestrator()
    orchestrator.register_agent("one", AnsweringAgent("1"))
    assert (await orchestrator.aroute("q")).reason == "only"
    orchestrator.register_agent("two", AnsweringAgent("2"))
    with pytest.raises(ConfigurationError, match="embedding_pipeline"):
        await orchestrator.aroute("q")


async def test_orchestrator_can_be_an_agent_of_another_orchestrator(orchestrator):
    """Its answer is that of the agent it chose."""
    outer = Orchestrator()
    outer.register_agent("inner", orchestrator)
    assert (await outer.aroute("Why do I get a TypeError?")).text == "coder speaking"
