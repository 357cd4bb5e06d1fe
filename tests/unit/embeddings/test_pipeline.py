"""The pipeline's promises that hold for every engine: batches, order, bounds, cancellation, faults."""

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


async def _entered(engine: Any) -> None:
    """Wait until the engine has begun a batch."""
    while not engine.entered.acquire(blocking=False):  # noqa: ASYNC110 - the engine runs in a thread
        await asyncio.sleep(0)


async def test_concurrent_callers_share_a_batch(engine: Any) -> None:
    """What queued while the engine was busy runs together; the first one did not wait."""
    async with EmbeddingPipeline(engine=engine) as pipeline:
        first = asyncio.create_task(pipeline.aembed("first"))
        await _entered(engine)
        others = [asyncio.create_task(pipeline.aembed(f"text {i}")) for i in range(8)]
        await asyncio.sleep(0)
        engine.blocked_run.set()
        rows = await asyncio.gather(first, *others)
        assert engine.batches == [["first"], [f"text {i}" for i in range(8)]]
        assert [row.shape for row in rows] == [(8,)] * 9
        assert pipeline.stats()["batches"] == 2
        assert pipeline.stats()["texts"] == 9


async def test_threads_and_coroutines_share_a_batch(engine: Any) -> None:
    """A blocking caller's text joins the batch of an asynchronous one, and both get the same as alone."""
    with ThreadPoolExecutor(1) as pool:
        async with EmbeddingPipeline(engine=engine, cache_entries=0) as pipeline:
            first = asyncio.create_task(pipeline.aembed("first"))
            await _entered(engine)
            blocking = asyncio.wrap_future(pool.submit(pipeline.embed, "from a thread"))
            native = asyncio.create_task(pipeline.aembed("from the loop"))
            while pipeline.stats()["queued_texts"] < 2:  # noqa: ASYNC110 - the thread has no event to give
                await asyncio.sleep(0)
            engine.blocked_run.set()
            rows = await asyncio.gather(first, blocking, native)
            assert sorted(engine.batches[1]) == ["from a thread", "from the loop"]
            np.testing.assert_array_equal(rows[1], await pipeline.aembed("from a thread"))


async def test_identical_texts_in_flight_are_computed_once(engine: Any) -> None:
    """Within a batch, and between the running batch and the next one."""
    async with EmbeddingPipeline(engine=engine) as pipeline:
        first = asyncio.create_task(pipeline.aembed("same"))
        await _entered(engine)
        others = [asyncio.create_task(pipeline.aembed(text)) for text in ["same", "other", "other", "same"]]
        await asyncio.sleep(0)
        engine.blocked_run.set()
        rows = await asyncio.gather(first, *others)
        assert engine.batches == [["same"], ["other"]]
        np.testing.assert_array_equal(rows[0], rows[4])
        np.testing.assert_array_equal(rows[2], rows[3])


def test_a_batch_keeps_its_order_and_computes_repeats_once(engine: Any) -> None:
    """Rows stand where their texts stood, whatever order they were computed in."""
    engine.blocked_run.set()
    texts = [("word " * (1 + i * 7 % 13)).strip() + f" {i % 20}" for i in range(100)]
    with EmbeddingPipeline(engine=engine) as pipeline:
        rows = pipeline.embed_batch(texts)
        assert rows.shape == (100, 8)
        assert rows.dtype == np.float32
        assert sum(map(len, engine.batches)) == len(set(texts))
        assert max(map(len, engine.batches)) <= engine.batch_texts
        for i in (0, 17, 99):
            np.testing.assert_array_equal(rows[i], pipeline.embed(texts[i]))


def test_rows_belong_to_the_caller(engine: Any) -> None:
    """Writing into a result changes nobody else's."""
    engine.blocked_run.set()
    with EmbeddingPipeline(engine=engine) as pipeline:
        kept = pipeline.embed("a text").copy()
        for row in (pipeline.embed("a text"), pipeline.embed_batch(["a text"])[0], pipeline.embed("a text")):
            np.testing.assert_array_equal(row, kept)
            row[:] = 0


async def test_a_large_batch_lets_others_in_between(engine: Any) -> None:
    """While a long batch call runs, a single text waits for a few chunks at most, and the queue stays short."""
    async with EmbeddingPipeline(engine=engine, max_queue_texts=64) as pipeline:
        large = asyncio.create_task(pipeline.aembed_batch([f"bulk {i}" for i in range(800)]))
        await _entered(engine)
        single = asyncio.create_task(pipeline.aembed("single"))
        await asyncio.sleep(0)
        assert pipeline.stats()["queued_texts"] <= 2 * engine.batch_texts + 1
        engine.blocked_run.set()
        await single
        assert not large.done()
        assert (await large).shape == (800, 8)
        place = next(i for i, batch in enumerate(engine.batches) if "single" in batch)
        assert place <= 3


async def test_a_full_queue_refuses_and_says_when_to_come_back(engine: Any) -> None:
    """Past `max_queue_texts` a call fails at once; the ones accepted are served."""
    async with EmbeddingPipeline(engine=engine, max_queue_texts=4) as pipeline:
        first = asyncio.create_task(pipeline.aembed("first"))
        await _entered(engine)
        waiting = [asyncio.create_task(pipeline.aembed(f"waiting {i}")) for i in range(4)]
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError) as caught:
            await pipeline.aembed("too many")
        assert caught.value.retry_after_s > 0
        engine.blocked_run.set()
        await asyncio.gather(first, *waiting)
        assert (await pipeline.aembed("room again")).shape == (8,)


async def test_a_large_batch_fits_through_a_small_queue(engine: Any) -> None:
    """Its own chunks never overload the queue, whatever their number."""
    engine.blocked_run.set()
    async with EmbeddingPipeline(engine=engine, max_queue_texts=1) as pipeline:
        assert (await pipeline.aembed_batch([f"text {i}" for i in range(100)])).shape == (100, 8)


async def test_cancelled_callers_leave_nothing_behind(engine: Any) -> None:
    """Cancelled singles and batches are never computed, and their neighbours are served."""
    async with EmbeddingPipeline(engine=engine) as pipeline:
        first = asyncio.create_task(pipeline.aembed("first"))
        await _entered(engine)
        gone = [
            asyncio.create_task(pipeline.aembed("gone")),
            asyncio.create_task(pipeline.aembed_batch(["gone 1", "gone 2"])),
        ]
        stays = asyncio.create_task(pipeline.aembed("stays"))
        await asyncio.sleep(0)
        for task in gone:
            task.cancel()
        assert all(
            isinstance(each, asyncio.CancelledError) for each in await asyncio.gather(*gone, return_exceptions=True)
        )
        engine.blocked_run.set()
        await asyncio.gather(first, stays)
        assert engine.batches == [["first"], ["stays"]]
        assert pipeline.stats()["queued_texts"] == 0
        assert len(asyncio.all_tasks()) == 1


async def test_a_refused_text_fails_alone(engine: Any) -> None:
    """The engine's refusal of one text reaches its caller only."""
    async with EmbeddingPipeline(engine=engine) as pipeline:
        first = asyncio.create_task(pipeline.aembed("first"))
        await _entered(engine)
        tasks = [asyncio.create_task(pipeline.aembed(text)) for text in ["a", "b", "poison", "c", "d"]]
        await asyncio.sleep(0)
        engine.blocked_run.set()
        results = await asyncio.gather(first, *tasks, return_exceptions=True)
        assert [isinstance(result, InvalidInputError) for result in results] == [
            False,
            False,
            False,
            True,
            False,
            False,
        ]


async def test_an_engine_that_fails_fails_its_batch_and_recovers(engine: Any) -> None:
    """Every waiter of the batch gets the error; the next call is tried again."""
    engine.broken = True
    engine.blocked_run.set()
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
async def test_a_text_that_cannot_be_embedded_is_named(engine: Any, text: Any, why: str) -> None:
    """The error names the field and the reason, alone and within a batch, and the engine is never asked."""
    async with EmbeddingPipeline(engine=engine) as pipeline:
        with pytest.raises(InvalidInputError, match=why) as alone:
            await pipeline.aembed(text)
        assert alone.value.field == "text"
        with pytest.raises(InvalidInputError, match=why) as among:
            await pipeline.aembed_batch(["fine", text])
        assert among.value.field == "texts[1]"
        assert len(str(among.value)) < 200
    assert engine.batches == []


def test_the_limit_of_a_text_is_a_setting(engine: Any) -> None:
    """`Limits.text_bytes` counts UTF-8 bytes, and what is exactly that long passes."""
    engine.blocked_run.set()
    with EmbeddingPipeline(engine=engine, limits=Limits(text_bytes=4)) as pipeline:
        assert pipeline.embed("éé").shape == (8,)
        with pytest.raises(InvalidInputError):
            pipeline.embed("ééé")


def test_one_str_is_not_a_batch(engine: Any) -> None:
    """The common mistake of passing a str for a list is said, not embedded letter by letter."""
    with EmbeddingPipeline(engine=engine) as pipeline, pytest.raises(InvalidInputError, match="not one str"):
        pipeline.embed_batch("a text")


async def test_recent_texts_are_remembered_within_bounds(engine: Any) -> None:
    """A text asked again comes from memory; the least recently used one has left; a large import pushes out nothing."""
    engine.blocked_run.set()
    async with EmbeddingPipeline(engine=engine, cache_entries=8) as pipeline:
        for text in ["a", "b", "a"]:
            await pipeline.aembed(text)
        assert pipeline.stats()["cache_hits"] == 1
        await pipeline.aembed_batch([f"import {i}" for i in range(50)])
        assert pipeline.stats()["cache_entries"] == 2
        for i in range(7):
            await pipeline.aembed(f"new {i}")
        assert pipeline.stats()["cache_entries"] == 8
        asked = len(engine.batches)
        await pipeline.aembed("a")
        assert len(engine.batches) == asked
        await pipeline.aembed("b")
        assert len(engine.batches) == asked + 1


async def test_use_after_close_is_refused_and_waiters_are_served(engine: Any) -> None:
    """Closing finishes what was accepted; afterwards every call says so, and closing again does nothing."""
    pipeline = EmbeddingPipeline(engine=engine)
    waiting = asyncio.create_task(pipeline.aembed("waiting"))
    await _entered(engine)
    threading.Timer(0.01, engine.blocked_run.set).start()
    await pipeline.aclose()
    assert (await waiting).shape == (8,)
    await pipeline.aclose()
    for call in (pipeline.aembed("a"), pipeline.aembed_batch(["a"]), pipeline.aembed_batch([])):
        with pytest.raises(ResourceClosedError):
            await call


def test_settings_are_checked_when_made(tmp_path: Path) -> None:
    """A wrong setting fails in the constructor, in one sentence."""
    wrong: Any = "int4"
    with pytest.raises(ConfigurationError, match="int4"):
        EmbeddingPipeline(precision=wrong)
    with pytest.raises(ConfigurationError, match="max_queue_texts"):
        EmbeddingPipeline(max_queue_texts=0)
    with pytest.raises(ConfigurationError, match="-1"):
        EmbeddingPipeline(cache_entries=-1)
    with pytest.raises(ModelNotFoundError, match="all-MiniLM-L6-v2"):
        EmbeddingPipeline("no-such-model")
    with pytest.raises(ModelNotFoundError, match="cannot embed"):
        EmbeddingPipeline("SmolLM2-135M-Instruct")
