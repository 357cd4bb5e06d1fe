"""Test how tenants share the embedding pipeline: whose texts run first, and that none learns of another's."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np

from super_advanced_agents._runtime.queues.shares import active_share
from super_advanced_agents.embeddings import EmbeddingPipeline
from super_advanced_agents.types import Vector

LONG = "lorem ipsum dolor sit amet " * 40


async def _wait_until_running(engine: Any) -> None:
    """Wait until the engine has begun a batch."""
    while not engine.entered.acquire(blocking=False):  # noqa: ASYNC110 - the engine runs in a thread
        await asyncio.sleep(0)


def _embed(pipeline: EmbeddingPipeline, share: str, text: str) -> asyncio.Task[Vector]:
    with active_share(share):
        return asyncio.create_task(pipeline.aembed(text))


def _embed_batch(pipeline: EmbeddingPipeline, share: str, texts: list[str]) -> asyncio.Task[Any]:
    with active_share(share):
        return asyncio.create_task(pipeline.aembed_batch(texts))


async def test_question_of_one_tenant_is_embedded_before_waiting_bulk_of_another(engine: Any) -> None:
    """It waits for the running chunk alone, however many calls for many texts came before it."""
    async with EmbeddingPipeline(engine=engine) as pipeline:
        bulk = [_embed_batch(pipeline, "hostile", [f"{call} {i}" for i in range(8)]) for call in range(20)]
        await _wait_until_running(engine)
        question = _embed(pipeline, "late", "question")
        await asyncio.sleep(0)
        engine.may_run.set()
        await asyncio.gather(question, *bulk)
        assert engine.batches[1] == ["question"]


async def test_bulk_of_two_tenants_is_embedded_in_turn(engine: Any) -> None:
    """The later tenant's chunk is among the first, and not behind all of the other's."""
    async with EmbeddingPipeline(engine=engine) as pipeline:
        bulk = [_embed_batch(pipeline, "hostile", [f"{call} {i}" for i in range(8)]) for call in range(20)]
        await _wait_until_running(engine)
        late = _embed_batch(pipeline, "late", [f"late {i}" for i in range(8)])
        await asyncio.sleep(0)
        engine.may_run.set()
        await asyncio.gather(late, *bulk)
        assert any("late 0" in batch for batch in engine.batches[:4])


async def test_equal_texts_of_two_tenants_are_computed_for_each(engine: Any) -> None:
    """Neither the cache, nor the running batch, nor a shared batch makes one of them faster."""
    async with EmbeddingPipeline(engine=engine) as pipeline:
        first = _embed(pipeline, "a", "secret")
        await _wait_until_running(engine)
        waiting = [_embed(pipeline, share, "secret") for share in ("a", "b", "c")]
        await asyncio.sleep(0)
        engine.may_run.set()
        rows = await asyncio.gather(first, *waiting)
        assert sum(batch.count("secret") for batch in engine.batches) == 3
        again = [await _embed(pipeline, share, "secret") for share in ("a", "b", "c")]
        batch = await _embed_batch(pipeline, "d", ["secret", "secret"])
        assert sum(batch.count("secret") for batch in engine.batches) == 4
    for row in [*rows, *again, *batch]:
        np.testing.assert_array_equal(row, rows[0])


def test_long_texts_are_computed_in_small_chunks(engine: Any) -> None:
    """A chunk has as many tokens as `batch_texts` short texts, so that nobody waits long for one."""
    engine.may_run.set()
    engine.batch_tokens = 32 * engine.batch_texts
    with EmbeddingPipeline(engine=engine) as pipeline:
        pipeline.embed_batch([f"{LONG}{i}" for i in range(32)])
        pipeline.embed_batch([f"short {i}" for i in range(32)])
    assert {len(batch) for batch in engine.batches[:32]} == {1}
    assert {len(batch) for batch in engine.batches[32:]} == {engine.batch_texts}


async def test_chunks_of_a_cancelled_call_leave_the_queue_at_once(engine: Any) -> None:
    """Their room is free before the running batch has ended."""
    async with EmbeddingPipeline(engine=engine) as pipeline:
        call = _embed_batch(pipeline, "a", [f"text {i}" for i in range(800)])
        await _wait_until_running(engine)
        assert pipeline.stats()["queued_texts"] > 0
        call.cancel()
        await asyncio.wait([call])
        assert pipeline.stats()["queued_texts"] == 0
        engine.may_run.set()
