"""Test the embedding pipeline with a fake engine: batches, order, bounds, cancellation and errors."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from super_advanced_agents.config import Limits
from super_advanced_agents.embeddings import EmbeddingPipeline
from super_advanced_agents.errors import (
    ConfigurationError,
    EmbeddingError,
    InvalidInputError,
    ModelNotFoundError,
    OverloadedError,
    ResourceClosedError,
)


async def _wait_until_running(engine: Any) -> None:
    """Wait until the engine has begun a batch."""
    while not engine.entered.acquire(blocking=False):  # noqa: ASYNC110 - the engine runs in a thread
        await asyncio.sleep(0)


async def test_concurrent_embed_calls_share_a_batch(engine: Any) -> None:
    """Texts queued while the engine is busy run together; the first text does not wait."""
    async with EmbeddingPipeline(engine=engine) as pipeline:
        first = asyncio.create_task(pipeline.aembed("first"))
        await _wait_until_running(engine)
        others = [asyncio.create_task(pipeline.aembed(f"text {i}")) for i in range(8)]
        await asyncio.sleep(0)
        engine.may_run.set()
        rows = await asyncio.gather(first, *others)
        assert engine.batches == [["first"], [f"text {i}" for i in range(8)]]
        assert [row.shape for row in rows] == [(8,)] * 9
        assert pipeline.stats()["batches"] == 2
        assert pipeline.stats()["texts"] == 9


async def test_threads_and_coroutines_share_an_embedding_batch(engine: Any) -> None:
    """Both get the same vectors as alone."""
    with ThreadPoolExecutor(1) as pool:
        async with EmbeddingPipeline(engine=engine, cache_entries=0) as pipeline:
            first = asyncio.create_task(pipeline.aembed("first"))
            await _wait_until_running(engine)
            blocking = asyncio.wrap_future(pool.submit(pipeline.embed, "from a thread"))
            native = asyncio.create_task(pipeline.aembed("from the loop"))
            while pipeline.stats()["queued_texts"] < 2:  # noqa: ASYNC110 - the thread sets no event
                await asyncio.sleep(0)
            engine.may_run.set()
            rows = await asyncio.gather(first, blocking, native)
            assert sorted(engine.batches[1]) == ["from a thread", "from the loop"]
            np.testing.assert_array_equal(rows[1], await pipeline.aembed("from a thread"))


async def test_identical_texts_in_flight_are_computed_once(engine: Any) -> None:
    """This holds within a batch, and between the running batch and the next."""
    async with EmbeddingPipeline(engine=engine) as pipeline:
        first = asyncio.create_task(pipeline.aembed("same"))
        await _wait_until_running(engine)
        others = [asyncio.create_task(pipeline.aembed(text)) for text in ["same", "other", "other", "same"]]
        await asyncio.sleep(0)
        engine.may_run.set()
        rows = await asyncio.gather(first, *others)
        assert engine.batches == [["same"], ["other"]]
        np.testing.assert_array_equal(rows[0], rows[4])
        np.testing.assert_array_equal(rows[2], rows[3])


def test_embed_batch_keeps_order_and_computes_repeated_texts_once(engine: Any) -> None:
    """The engine may compute the texts in another order."""
    engine.may_run.set()
    texts = [("word " * (1 + i * 7 % 13)).strip() + f" {i % 20}" for i in range(100)]
    with EmbeddingPipeline(engine=engine) as pipeline:
        rows = pipeline.embed_batch(texts)
        assert rows.shape == (100, 8)
        assert rows.dtype == np.float32
        assert sum(map(len, engine.batches)) == len(set(texts))
        assert max(map(len, engine.batches)) <= engine.batch_texts
        for i in (0, 17, 99):
            np.testing.assert_array_equal(rows[i], pipeline.embed(texts[i]))


def test_changing_a_returned_vector_affects_no_other_result(engine: Any) -> None:
    """Each caller gets a copy."""
    engine.may_run.set()
    with EmbeddingPipeline(engine=engine) as pipeline:
        original = pipeline.embed("a text").copy()
        for row in (pipeline.embed("a text"), pipeline.embed_batch(["a text"])[0], pipeline.embed("a text")):
            np.testing.assert_array_equal(row, original)
            row[:] = 0


async def test_single_text_runs_between_the_chunks_of_a_large_embed_batch(engine: Any) -> None:
    """It waits for a few chunks at most, and the queue stays short."""
    async with EmbeddingPipeline(engine=engine, max_queue_texts=64) as pipeline:
        large = asyncio.create_task(pipeline.aembed_batch([f"bulk {i}" for i in range(800)]))
        await _wait_until_running(engine)
        single = asyncio.create_task(pipeline.aembed("single"))
        await asyncio.sleep(0)
        assert pipeline.stats()["queued_texts"] <= 2 * engine.batch_texts + 1
        engine.may_run.set()
        await single
        assert not large.done()
        assert (await large).shape == (800, 8)
        position = next(i for i, batch in enumerate(engine.batches) if "single" in batch)
        assert position <= 3


async def test_embed_raises_overloaded_when_the_queue_is_full(engine: Any) -> None:
    """The error has a `retry_after_s`, and the accepted calls are served."""
    async with EmbeddingPipeline(engine=engine, max_queue_texts=4) as pipeline:
        first = asyncio.create_task(pipeline.aembed("first"))
        await _wait_until_running(engine)
        waiting = [asyncio.create_task(pipeline.aembed(f"waiting {i}")) for i in range(4)]
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError) as caught:
            await pipeline.aembed("too many")
        assert caught.value.retry_after_s > 0
        engine.may_run.set()
        await asyncio.gather(first, *waiting)
        assert (await pipeline.aembed("room again")).shape == (8,)


async def test_embed_batch_with_more_texts_than_the_queue_holds_succeeds(engine: Any) -> None:
    """Its own chunks never overload the queue."""
    engine.may_run.set()
    async with EmbeddingPipeline(engine=engine, max_queue_texts=1) as pipeline:
        assert (await pipeline.aembed_batch([f"text {i}" for i in range(100)])).shape == (100, 8)


async def test_texts_of_cancelled_embed_calls_are_not_computed(engine: Any) -> None:
    """Other calls are served, and no task or queued text is left."""
    async with EmbeddingPipeline(engine=engine) as pipeline:
        first = asyncio.create_task(pipeline.aembed("first"))
        await _wait_until_running(engine)
        cancelled = [
            asyncio.create_task(pipeline.aembed("cancelled")),
            asyncio.create_task(pipeline.aembed_batch(["cancelled 1", "cancelled 2"])),
        ]
        served = asyncio.create_task(pipeline.aembed("served"))
        await asyncio.sleep(0)
        for task in cancelled:
            task.cancel()
        assert all(
            isinstance(each, asyncio.CancelledError)
            for each in await asyncio.gather(*cancelled, return_exceptions=True)
        )
        engine.may_run.set()
        await asyncio.gather(first, served)
        assert engine.batches == [["first"], ["served"]]
        assert pipeline.stats()["queued_texts"] == 0
        assert len(asyncio.all_tasks()) == 1


async def test_text_that_the_engine_refuses_fails_only_its_caller(engine: Any) -> None:
    """The other texts of its batch are computed."""
    async with EmbeddingPipeline(engine=engine) as pipeline:
        first = asyncio.create_task(pipeline.aembed("first"))
        await _wait_until_running(engine)
        tasks = [asyncio.create_task(pipeline.aembed(text)) for text in ["a", "b", "poison", "c", "d"]]
        await asyncio.sleep(0)
        engine.may_run.set()
        results = await asyncio.gather(first, *tasks, return_exceptions=True)
        assert [isinstance(result, InvalidInputError) for result in results] == [
            False,
            False,
            False,
            True,
            False,
            False,
        ]


async def test_failing_engine_fails_every_call_of_its_batch_and_runs_again(engine: Any) -> None:
    """Each caller gets its own exception object."""
    engine.broken = True
    engine.may_run.set()
    async with EmbeddingPipeline(engine=engine) as pipeline:
        results = await asyncio.gather(*(pipeline.aembed(f"text {i}") for i in range(20)), return_exceptions=True)
        assert all(isinstance(result, EmbeddingError) for result in results)
        assert len({id(result) for result in results}) == 20
        with pytest.raises(EmbeddingError):
            await pipeline.aembed_batch([f"text {i}" for i in range(50)])
        engine.broken = False
        assert (await pipeline.aembed("text 0")).shape == (8,)
        assert pipeline.stats()["queued_texts"] == 0


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        (" \n\t", "empty"),
        ("a\0b", "NUL"),
        ("half \ud800 pair", "surrogate"),
        ("x" * 65_537, "text_bytes"),
        ("é" * 40_000, "text_bytes"),
        ("y" * 10_000_000, "text_bytes"),
        (b"bytes", "bytes"),
        (None, "NoneType"),
        (3, "int"),
    ],
)
async def test_embed_refuses_an_invalid_text_and_names_its_field_and_the_reason(
    engine: Any, text: Any, why: str
) -> None:
    """This holds alone and within a batch, and the engine does not run."""
    async with EmbeddingPipeline(engine=engine) as pipeline:
        with pytest.raises(InvalidInputError, match=why) as alone:
            await pipeline.aembed(text)
        assert alone.value.field == "text"
        with pytest.raises(InvalidInputError, match=why) as among:
            await pipeline.aembed_batch(["fine", text])
        assert among.value.field == "texts[1]"
        assert len(str(among.value)) < 200
    assert engine.batches == []


def test_limit_of_text_bytes_counts_utf8_bytes(engine: Any) -> None:
    """A text of exactly that length is accepted."""
    engine.may_run.set()
    with EmbeddingPipeline(engine=engine, limits=Limits(text_bytes=4)) as pipeline:
        assert pipeline.embed("éé").shape == (8,)
        with pytest.raises(InvalidInputError):
            pipeline.embed("ééé")


def test_embed_batch_refuses_a_single_str(engine: Any) -> None:
    """It would be embedded letter by letter."""
    with EmbeddingPipeline(engine=engine) as pipeline, pytest.raises(InvalidInputError, match="not one str"):
        pipeline.embed_batch("a text")


async def test_recent_vectors_are_cached_up_to_cache_entries(engine: Any) -> None:
    """The least recently used vector is evicted, and a large batch evicts nothing."""
    engine.may_run.set()
    async with EmbeddingPipeline(engine=engine, cache_entries=8) as pipeline:
        for text in ["a", "b", "a"]:
            await pipeline.aembed(text)
        assert pipeline.stats()["cache_hits"] == 1
        await pipeline.aembed_batch([f"import {i}" for i in range(50)])
        assert pipeline.stats()["cache_entries"] == 2
        for i in range(7):
            await pipeline.aembed(f"new {i}")
        assert pipeline.stats()["cache_entries"] == 8
        batches_before = len(engine.batches)
        await pipeline.aembed("a")
        assert len(engine.batches) == batches_before
        await pipeline.aembed("b")
        assert len(engine.batches) == batches_before + 1


async def test_closing_a_pipeline_serves_accepted_calls_and_refuses_later_ones(engine: Any) -> None:
    """Closing again does nothing."""
    pipeline = EmbeddingPipeline(engine=engine)
    waiting = asyncio.create_task(pipeline.aembed("waiting"))
    await _wait_until_running(engine)
    threading.Timer(0.01, engine.may_run.set).start()
    await pipeline.aclose()
    assert (await waiting).shape == (8,)
    await pipeline.aclose()
    for call in (pipeline.aembed("a"), pipeline.aembed_batch(["a"]), pipeline.aembed_batch([])):
        with pytest.raises(ResourceClosedError):
            await call


def test_pipeline_constructor_refuses_invalid_settings(tmp_path: Path) -> None:
    """The message names the setting or its value."""
    precision: Any = "int4"
    with pytest.raises(ConfigurationError, match="int4"):
        EmbeddingPipeline(precision=precision)
    with pytest.raises(ConfigurationError, match="max_queue_texts"):
        EmbeddingPipeline(max_queue_texts=0)
    with pytest.raises(ConfigurationError, match="-1"):
        EmbeddingPipeline(cache_entries=-1)
    with pytest.raises(ModelNotFoundError, match="all-MiniLM-L6-v2"):
        EmbeddingPipeline("no-such-model")
    with pytest.raises(ModelNotFoundError, match="cannot embed"):
        EmbeddingPipeline("SmolLM2-135M-Instruct")
