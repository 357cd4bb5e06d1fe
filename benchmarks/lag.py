"""Event loop lag: sampled in all asynchronous benchmarks, and with all work at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from itertools import cycle, islice
from typing import TYPE_CHECKING, TypeVar

from benchmarks.measure import Bench, Row

if TYPE_CHECKING:
    from super_advanced_agents import AsyncLLMAgent, LLMGenerator

T = TypeVar("T")

_TARGET_MS = 20.0


def rows(bench: Bench) -> Iterator[Row]:
    """Yield the lag with searches, single writes, an import and generation at once."""
    from super_advanced_agents import AsyncLLMAgent, EmbeddingPipeline, FAISSVectorStore, LLMGenerator

    with (
        FAISSVectorStore(384, bench.folder / "everything") as store,
        EmbeddingPipeline(cache_entries=0) as embedder,
        LLMGenerator() as llm,
    ):
        llm.load()
        embedder.embed("ready")
        since = len(bench.loop.lags_ms)
        agent = AsyncLLMAgent("everything", store, embedder, llm)
        bench.loop.run(_everything(bench, agent, llm, seconds=3.0 if bench.quick else 15.0))
    yield lag_row("event loop lag, everything at once", bench.loop.lags_ms[since:])


def lag_row(work: str, lags_ms: list[float]) -> Row:
    """Return the row of the table for some samples."""
    from benchmarks.measure import Row, percentile

    half, late, worst = percentile(lags_ms, 0.5), percentile(lags_ms, 0.99), max(lags_ms)
    return Row(
        work,
        f"p50 {half:.1f}, p99 {late:.1f}, max {worst:.0f} ms",
        target=f"p99 <= {_TARGET_MS:g} ms",
        reached=late <= _TARGET_MS,
        details={"p50_ms": half, "p99_ms": late, "max_ms": worst, "samples": len(lags_ms)},
    )


async def _everything(bench: Bench, agent: AsyncLLMAgent, llm: LLMGenerator, seconds: float) -> None:
    turns = cycle(turn.memory for conversation in bench.conversations for turn in conversation.turns)
    questions = cycle(question.text for conversation in bench.conversations for question in conversation.questions)
    work: list[tuple[int, Callable[[], Awaitable[object]]]] = [
        (16, lambda: agent.asearch_text(next(questions), mode="vector")),
        (16, lambda: agent.aadd_text_memory(next(turns))),
        (1, lambda: agent.aadd_text_memories(list(islice(turns, 500)))),
        (4, lambda: llm.agenerate("Tell a long story about a museum.", 32)),
    ]
    until = time.perf_counter() + seconds
    async with asyncio.TaskGroup() as group:
        for callers, call in work:
            for _ in range(callers):
                group.create_task(_repeat(call, until))


async def _repeat(call: Callable[[], Awaitable[object]], until: float) -> None:
    while time.perf_counter() < until:
        await call()
