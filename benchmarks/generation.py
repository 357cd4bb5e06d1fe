"""Text generation: eight concurrent callers beside one after another."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator

from benchmarks.measure import Bench, Row, alternate
from super_advanced_agents import LLMGenerator

CALLERS = 8
TOKENS = 64
_THINGS = ["a museum", "a violin", "a lost dog", "an old map", "the harbour", "a garden", "a letter", "the mountains"]


def rows(bench: Bench) -> Iterator[Row]:
    """Yield the tokens per second of concurrent and of consecutive generation."""
    prompts = [f"Write a long story about {thing}. Describe every detail." for thing in _THINGS[:CALLERS]]
    with LLMGenerator() as llm:
        llm.load()

        async def together() -> None:
            await asyncio.gather(*(llm.agenerate(prompt, TOKENS) for prompt in prompts))

        async def one_at_a_time() -> None:
            for prompt in prompts:
                await llm.agenerate(prompt, TOKENS)

        def tokens_per_s(work: Callable[[], Awaitable[None]]) -> float:
            before, began = llm.stats()["tokens"], time.perf_counter()
            bench.loop.run(work())
            return (llm.stats()["tokens"] - before) / (time.perf_counter() - began)

        llm.generate(prompts[0], 4)
        rates = alternate(1 if bench.quick else 3, lambda: tokens_per_s(together), lambda: tokens_per_s(one_at_a_time))
    yield rates.row(f"{CALLERS} agenerate of {TOKENS} tokens at once, tokens", "one at a time", 1.6)
