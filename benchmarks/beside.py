"""Search latency while another task adds at full speed, on the same event loop."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from statistics import median

from benchmarks import prepared, vectors
from benchmarks.engines import wait_until_quiet
from benchmarks.measure import Bench, Row, percentile
from super_advanced_agents import FAISSVectorStore

BATCH = 1_000
_NEW = 50_000
_MOST = 3.0


def rows(bench: Bench) -> Iterator[Row]:
    """Yield the 99th percentile of searches beside additions, and its ratio to searches alone.

    Each round works on a copy of the same store.
    """
    count = 20_000 if bench.quick else 100_000
    folder, _, _ = prepared.engines(bench, count, ["ours"])
    seconds, rounds = (1.5, 1) if bench.quick else (5.0, 3)
    results = [_round(bench, folder / "ours" / "store", seconds) for _ in range(rounds)]
    ratio = median(busy["p99_ms"] / idle["p99_ms"] for idle, busy in results)
    busy, idle = (median(result[side]["p99_ms"] for result in results) for side in (1, 0))
    added = median(busy["added_per_s"] for _, busy in results)
    yield Row(
        f"asearch beside add_batch of {BATCH:,} at full speed ({added:,.0f}/s), {count:,} rows, p99",
        f"{busy:.2f} ms",
        f"{idle:.2f} ms alone",
        f"{ratio:.2f}x",
        f"<= {_MOST:g}x",
        ratio <= _MOST,
        {"rounds": [{"idle": idle, "busy": busy} for idle, busy in results]},
    )


def _round(bench: Bench, source: Path, seconds: float) -> tuple[dict[str, float], dict[str, float]]:
    copy = bench.folder / "beside"
    shutil.copytree(source, copy)
    with FAISSVectorStore(vectors.DIM, copy) as store:
        wait_until_quiet(store)
        bench.loop.run(_searches(store, 0.5))
        idle = _summary(bench.loop.run(_searches(store, seconds)), 0, seconds)
        busy = _summary(*bench.loop.run(_searches_beside_adding(store, seconds)), seconds)
        busy["rows_after"] = float(store.count())
    shutil.rmtree(copy)
    return idle, busy


async def _searches(store: FAISSVectorStore, seconds: float) -> list[float]:
    """Search one query after another, and return the milliseconds of each."""
    took_ms = []
    queries = cycle(vectors.queries(4_096))
    until = time.perf_counter() + seconds
    while (began := time.perf_counter()) < until:
        await store.asearch(next(queries), vectors.K)
        took_ms.append((time.perf_counter() - began) * 1e3)
    return took_ms


async def _searches_beside_adding(store: FAISSVectorStore, seconds: float) -> tuple[list[float], int]:
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
