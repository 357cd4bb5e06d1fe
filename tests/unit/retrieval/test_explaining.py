"""Test the explanations of an agent's matches in every mode and over every store."""

from __future__ import annotations

import pytest

from super_advanced_agents import AsyncLLMAgent, DistributedVectorStoreStub, FAISSVectorStore, Weights
from super_advanced_agents.types import ExplainedMatch, Match


@pytest.fixture(params=["direct", "stub"])
def agent(request, embedder):
    with FAISSVectorStore(dim=384) as store:
        served = store if request.param == "direct" else DistributedVectorStoreStub(store)
        agent = AsyncLLMAgent("tester", served, embedder)
        turns = [("Ann", "Where did you buy the piano?"), ("Bob", "In a shop in Lyon."), ("Ann", "It sounds lovely.")]
        agent.add_turns([{"speaker": speaker, "text": text} for speaker, text in turns], session="monday")
        yield agent


@pytest.mark.parametrize(
    ("options", "signals"),
    [
        ({}, ["vector", "nearby", "keyword"]),
        ({"weights": Weights(nearby=0, recency=0.5)}, ["vector", "keyword", "recency"]),
        ({"weights": Weights(keyword=0, nearby=0)}, ["vector"]),
        ({"mode": "vector"}, ["vector"]),
        ({"mode": "keyword"}, ["keyword"]),
        ({"mode": "keyword", "filter_fn": bool}, ["vector"]),
        ({"filter_fn": bool}, ["vector"]),
    ],
)
async def test_signals_of_an_explained_match_add_up_to_its_score(agent, options, signals):
    """The matches are the same with and without explanations."""
    found = await agent.asearch_text("Who sold the piano?", 3, explain=True, **options)
    assert found
    for match in found:
        assert isinstance(match, ExplainedMatch)
        assert [signal.name for signal in match.explanation.signals] == signals
        assert match.explanation.total == pytest.approx(match.score, abs=1e-6)
        assert match.explanation.retrieved is None
    plain = await agent.asearch_text("Who sold the piano?", 3, **options)
    assert {type(match) for match in plain} == {Match}
    assert [match.uid for match in plain] == [match.uid for match in found]
