"""Test that an agent finds nothing where nothing is similar, with a real embedding model."""

from __future__ import annotations

import pytest

from super_advanced_agents import AsyncLLMAgent, FAISSVectorStore
from super_advanced_agents.errors import InvalidInputError

FACTS = ["The Louvre is a museum in Paris.", "Bread is baked in an oven.", "Python is a programming language."]
NOTHING_KNOWN = "Which enzyme breaks down lactose in Paris?"
"""It shares a word with a fact."""


@pytest.fixture
def agent(embedder):
    with FAISSVectorStore(dim=384) as store:
        made = AsyncLLMAgent("tester", store, embedder)
        made.add_text_memories(FACTS)
        yield made


@pytest.mark.parametrize("mode", ["hybrid", "vector", "keyword"])
async def test_question_about_nothing_known_returns_nothing_with_a_least_similarity(agent, mode):
    """Without one the nearest memory is returned, whatever it says."""
    assert await agent.asearch_text(NOTHING_KNOWN, mode=mode)
    assert await agent.asearch_text(NOTHING_KNOWN, mode=mode, min_similarity=0.3) == []
    [found] = await agent.asearch_text("a museum in Paris", mode=mode, min_similarity=0.3)
    assert (found.text, found.similarity >= 0.3) == (FACTS[0], True)


async def test_least_similarity_holds_for_predicates_keywords_and_explained_matches(agent):
    """Each way to search leaves the same memories out."""
    assert await agent.asearch_text(NOTHING_KNOWN, filter_fn=lambda _: True, min_similarity=0.3) == []
    assert await agent.ahybrid_search(NOTHING_KNOWN, keyword="paris", min_similarity=0.3) == []
    assert len(await agent.ahybrid_search("museum", keyword="paris", min_similarity=0.3)) == 1
    [found] = await agent.asearch_text("museum in Paris", mode="keyword", min_similarity=0.3, explain=True)
    assert [signal.name for signal in found.explanation.signals] == ["keyword"]


async def test_ask_with_a_least_similarity_says_that_nothing_is_known(agent):
    """The answer has no sources; what is similar is quoted, as this agent has no language model."""
    answer = await agent.aask(NOTHING_KNOWN, min_similarity=0.3)
    assert (answer.sources, "do not know" in answer.text) == ([], True)
    answer = await agent.aask("a museum in Paris", min_similarity=0.3)
    assert [source.text for source in answer.sources] == [FACTS[0]]


@pytest.mark.parametrize("least", [1.5, -2, 30, "0.3", float("nan")])
async def test_least_similarity_of_an_agent_is_a_cosine(agent, least):
    """A percentage would leave out everything without a word."""
    with pytest.raises(InvalidInputError) as refused:
        await agent.asearch_text("museum", min_similarity=least)
    assert refused.value.field == "min_similarity"
