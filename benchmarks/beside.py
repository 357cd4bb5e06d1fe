"""What a searcher feels of somebody adding at full speed, in one process and on one event loop."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from statistics import median

from benchmarks import prepared, vectors
from benchmarks.engines import until_quiet
from benchmarks.measure import Bench, Row, percentile
from super_advanced_agents import FAISSVectorStore

BATCH = 1_000
_NEW = 50_000
_MOST = 3.0


def rows(bench: Bench) -> Iterator[Row]:
    """Each round on a copy of the same store: alone, beside the one who adds, and the ratio of the two 99ths."""
    count = 20_000 if bench.quick else 100_000
    folder, _, _ = prepared.engines(bench, count, ["ours"])
    seconds, rounds = (1.5, 1) if bench.quick else (5.0, 3)
    found = [_round(bench, folder / "ours" / "store", seconds) for _ in range(rounds)]
    ratio = median(busy["p99_ms"] / idle["p99_ms"] for idle, busy in found)
    busy, idle = (median(each[side]["p99_ms"] for each in found) for side in (1, 0))
    added = median(busy["added_per_s"] for _, busy in found)
    yield Row(
        f"asearch beside add_batch of {BATCH:,} at full speed ({added:,.0f}/s), {count:,} rows, p99",
        f"{busy:.2f} ms",
        f"{idle:.2f} ms alone",
        f"{ratio:.2f}x",
        f"<= {_MOST:g}x",
        ratio <= _MOST,
        {"rounds": [{"idle": idle, "busy": busy} for idle, busy in found]},
    )


def _round(bench: Bench, whole: Path, seconds: float) -> tuple[dict[str, float], dict[str, float]]:
    copy = bench.folder / "beside"
    shutil.copytree(whole, copy)
    with FAISSVectorStore(vectors.DIM, copy) as store:
        until_quiet(store)
        bench.loop.run(_searches(store, 0.5))
        idle = _summary(bench.loop.run(_searches(store, seconds)), 0, seconds)
        busy = _summary(*bench.loop.run(_both(store, seconds)), seconds)
        busy["rows_after"] = float(store.count())
    shutil.rmtree(copy)
    return idle, busy


async def _searches(store: FAISSVectorStore, seconds: float) -> list[float]:
    """One after another, each of another query; returns milliseconds."""
    took_ms = []
    asked = cycle(vectors.queries(4_096))
    until = time.perf_counter() + seconds
    while (began := time.perf_counter()) < until:
        await store.asearch(next(asked), vectors.K)
        took_ms.append((time.perf_counter() - began) * 1e3)
    return took_ms


async def _both(store: FAISSVectorStore, seconds: float) -> tuple[list[float], int]:
    new = [
        (block[start : start + BATCH], vectors.payloads(first + start, BATCH))
        for first, block in vectors.blocks(_NEW)
        for start in range(0, len(block), BATCH)
    ]
    added = 0

    async def add() -> None:
        nonlocal added
        for block, metadatas in cycle(new):
            await store.aadd_batch(block, metadatas)
            added += len(block)

    adding = asyncio.create_task(add())
    try:
        took_ms = await _searches(store, seconds)
        return took_ms, added
    finally:
        adding.cancel()
        await asyncio.gather(adding, return_exceptions=True)


def _summary(took_ms: list[float], added: int, seconds: float) -> dict[str, float]:
    return {
        "p50_ms": percentile(took_ms, 0.5),
        "p99_ms": percentile(took_ms, 0.99),
        "max_ms": max(took_ms),
        "searches": float(len(took_ms)),
        "added_per_s": added / seconds,
    }
