"""Imports of conversations: texts embedded and stored durably."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from benchmarks.locomo import Conversation
from benchmarks.measure import Bench, Rates, Row, alternate, rate
from benchmarks.references import RawOnnx
from super_advanced_agents import AsyncLLMAgent, EmbeddingPipeline, FAISSVectorStore
from super_advanced_agents.types import Turn


def rows(bench: Bench) -> Iterator[Row]:
    """Yield the rates of one call a conversation, and of turns by session, beside embedding."""
    raw = RawOnnx()
    raw.embed_all([turn.memory for turn in bench.conversations[0].turns[:64]])
    chosen = bench.conversations[:1] if bench.quick else bench.conversations
    texts = sum(len(conversation.turns) for conversation in chosen)
    with (
        FAISSVectorStore(384, bench.folder / "imports") as store,
        EmbeddingPipeline(cache_entries=0) as embedder,
    ):
        agent = AsyncLLMAgent("imports", store, embedder)
        agent.add_text_memory("ready")
        at_once, in_sessions = Rates([], []), Rates([], [])
        for conversation in chosen:
            memories = [turn.memory for turn in conversation.turns]

            def ours(memories: list[str] = memories) -> float:
                return rate(len(memories), lambda: bench.loop.run(agent.aadd_text_memories(memories)))

            def sessions(conversation: Conversation = conversation) -> float:
                return rate(len(conversation.turns), lambda: bench.loop.run(_by_session(agent, conversation)))

            def reference(memories: list[str] = memories) -> float:
                return rate(len(memories), lambda: raw.embed_all(memories))

            _extend(at_once, alternate(2, ours, reference))
            _extend(in_sessions, alternate(1, sessions, reference))
        yield at_once.row(f"import of {texts:,} memories, durable", "raw ONNX Runtime, embed", 0.85)
        yield in_sessions.row("same by add_turns, all sessions at once", "raw ONNX Runtime, embed")


async def _by_session(agent: AsyncLLMAgent, conversation: Conversation) -> None:
    async with asyncio.TaskGroup() as group:
        for session, session_turns in conversation.sessions().items():
            turns = [Turn(speaker=turn.speaker, text=turn.text) for turn in session_turns]
            group.create_task(agent.aadd_turns(turns, session=session))


def _extend(rates: Rates, more: Rates) -> None:
    rates.ours.extend(more.ours)
    rates.reference.extend(more.reference)
