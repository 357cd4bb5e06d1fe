"""Code as users write it; type checkers read it, nothing runs it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import assert_type

import numpy as np

from super_advanced_agents import (
    AsyncLLMAgent,
    EmbeddingPipeline,
    ExplainedMatch,
    FAISSVectorStore,
    LLMAgent,
    Match,
    Record,
    RemoteAgent,
    Weights,
)
from super_advanced_agents.stores import VectorStore

where = {"type": "fact", "day": {"$gte": 5}, "$or": [{"city": "Paris"}, {"city": {"$exists": False}}]}
flat_where = {"type": "fact"}


def search(agent: LLMAgent) -> str:
    """Search with the blocking form; a match has its text."""
    assert_type(agent.search_text("Where do they live?"), list[Match])
    assert_type(agent.search_text("Where?", 3, "fact", where=where, mode="vector", weights=Weights()), list[Match])
    assert_type(agent.search_text("Where?", where=flat_where), list[Match])
    assert_type(agent.search_text("Where?", explain=True, where=where), list[ExplainedMatch])
    assert_type(agent.search_text("Where?", explain=True)[0].explanation.total, float)
    for metadata, score, uid in agent.search_text("Where?"):
        print(metadata, score, uid)
    return agent.search_text("Where?")[0].text.upper()


async def asearch(agent: AsyncLLMAgent) -> str:
    """Search with the asynchronous form."""
    assert_type(await agent.asearch_text("Where?", where=where), list[Match])
    assert_type(await agent.asearch_text("Where?", explain=True), list[ExplainedMatch])
    pieces: AsyncIterator[str] = agent.astream_answer("Where?")
    assert_type([piece async for piece in pieces], list[str])
    return (await agent.asearch_text("Where?"))[0].text


async def search_remotely(agent: RemoteAgent) -> str:
    """Search an agent of a server, with the same types."""
    assert_type(await agent.asearch_text("Where?", explain=True), list[ExplainedMatch])
    assert_type(agent.search_text("Where?", where=where, rerank=True), list[Match])
    return agent.search_text("Where?")[0].text


def remember(agent: LLMAgent) -> None:
    """Write, count, delete; a filter may stand in a variable."""
    assert_type(agent.add_text_memory("They live in Paris.", extra={"city": "Paris", "tags": ["home"]}), str)
    assert_type(agent.count(where), int)
    assert_type(agent.forget(where=flat_where), int)
    pieces: Iterator[str] = agent.stream_answer("Where?")
    assert_type(list(pieces), list[str])


async def use_store(store: VectorStore) -> None:
    """Use any store through its base class."""
    vector = np.ones(384, np.float32)
    assert_type(store.search(vector, where=where), list[Match])
    assert_type(store.search_hybrid(vector, "Paris", where=where, namespace="trips"), list[Match])
    assert_type(store.search_hybrid(vector, "Paris", explain=True)[0], ExplainedMatch)
    assert_type(await store.asearch_hybrid(vector, "Paris", explain=True), list[ExplainedMatch])
    assert_type(await store.ascan(where), list[Record])
    assert_type(store.delete(where=flat_where), int)


def make() -> AsyncLLMAgent:
    """Make an agent of the parts that README shows."""
    return AsyncLLMAgent("guide", FAISSVectorStore(384), EmbeddingPipeline())
