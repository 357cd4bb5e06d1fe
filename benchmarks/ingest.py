"""Durable batches of 1,000 from an empty store to a million rows: how fast, and how evenly.

Every step of a tenth is timed by itself, and only the calls that add: vectors and payloads are made between them.
"""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from itertools import count as numbers_from
from pathlib import Path
from statistics import median

from benchmarks import prepared
from benchmarks.engines import PEERS
from benchmarks.measure import Bench, Row, against_all, crowd, in_turn
from benchmarks.vectors import DIM, blocks, payloads
from super_advanced_agents import FAISSVectorStore
from super_advanced_agents.types import Matrix, Metadata

BATCH = 1_000
CALLERS = 4
_PER_S = 35_000
_PER_S_OWN_UIDS = 15_000
_FLAT = 0.8  # as fast at the end as at the beginning, within what a shared disk varies


def rows(bench: Bench) -> Iterator[Row]:
    """Sealing as by default, rows alone, the caller's own uids; then several callers, and the peers from nothing."""
    total = 100_000 if bench.quick else 1_000_000
    work = f"add_batch of {BATCH:,}, durable, 0 to {total:,} rows"
    yield from _long(bench, f"{work}, generated uids", total, target=_PER_S)
    yield from _long(bench, f'{work}, generated uids, index="flat"', total, target=_PER_S, index="flat")
    yield from _long(bench, f"{work}, random uids", total, target=_PER_S_OWN_UIDS, own_uids=True)
    first = 10_000 if bench.quick else 100_000
    yield _together(bench, first)
    yield from _beside_peers(bench, 5_000 if bench.quick else 20_000)


def _long(
    bench: Bench, work: str, total: int, *, target: int, own_uids: bool = False, **options: object
) -> Iterator[Row]:
    """Two rows: the rate, which for the caller's own uids is that of the last step, and the last step by the first."""
    step = total // 10
    per_s: list[float] = []
    folder = bench.folder / "ingest"
    with FAISSVectorStore(DIM, folder, **options) as store:
        for calls in _steps(total, step):
            took_s = 0.0
            for vectors, metadatas in calls:
                uids = [str(uuid.uuid4()) for _ in metadatas] if own_uids else None
                began = time.perf_counter()
                store.add_batch(vectors, metadatas, uids)
                took_s += time.perf_counter() - began
            per_s.append(step / took_s)
        stats = store.stats()
    shutil.rmtree(folder)
    figure = per_s[-1] if own_uids else median(per_s)
    details: dict[str, object] = {"per_s_by_step": per_s, "step_rows": step, "stats": stats}
    which = f"at {total:,}" if own_uids else "median"
    yield Row(work, f"{figure:,.0f}/s {which}", target=f">= {target:,}/s", reached=figure >= target, details=details)
    ratio = per_s[-1] / per_s[0]
    yield Row(
        f"{work}: last tenth by first",
        f"{per_s[-1]:,.0f}/s",
        f"{per_s[0]:,.0f}/s first tenth",
        f"{ratio:.2f}x",
        "" if own_uids else f">= {_FLAT}x",
        None if own_uids else ratio >= _FLAT,
        details,
    )


def _together(bench: Bench, total: int) -> Row:
    """Callers that share transactions and have their vectors checked while others are written."""
    calls = [call for step in _steps(total, total) for call in step]
    folder = bench.folder / "ingest"
    with FAISSVectorStore(DIM, folder) as store:

        async def add(call: tuple[Matrix, list[Metadata]]) -> None:
            await store.aadd_batch(*call)

        began = time.perf_counter()
        bench.loop.run(crowd(CALLERS, calls, add))
        per_s = total / (time.perf_counter() - began)
    shutil.rmtree(folder)
    return Row(f"aadd_batch of {BATCH:,}, durable, {CALLERS} callers, 0 to {total:,} rows", f"{per_s:,.0f}/s")


def _beside_peers(bench: Bench, total: int) -> Iterator[Row]:
    """The same rows into each engine from nothing, each call as lasting as the engine can make it."""
    work = f"add_batch of {BATCH:,}, durable where the engine can, 0 to {total:,} rows"
    calls = [call for step in _steps(total, total) for call in step]
    folders = (bench.folder / f"ingest-{i}" for i in numbers_from())
    sides: dict[str, Callable[[], float]] = {"ours": lambda: _ours(next(folders), calls)}
    missing = prepared.missing(PEERS)
    for name in [each for each in PEERS if each not in missing]:
        sides[name] = lambda name=name: _theirs(name, next(folders), calls)
    rates = in_turn(1 if bench.quick else 3, sides)
    others = {f"{PEERS[name].title} ({PEERS[name].lasting})": rates[name] for name in PEERS if name in rates}
    if others:
        yield against_all(work, rates["ours"], others, None)
    yield from prepared.rows_of_missing(work, missing)


def _ours(folder: Path, calls: list[tuple[Matrix, list[Metadata]]]) -> float:
    with FAISSVectorStore(DIM, folder) as store:
        began = time.perf_counter()
        for vectors, metadatas in calls:
            store.add_batch(vectors, metadatas)
        return sum(len(vectors) for vectors, _ in calls) / (time.perf_counter() - began)


def _theirs(name: str, folder: Path, calls: list[tuple[Matrix, list[Metadata]]]) -> float:
    folder.mkdir()
    engine = PEERS[name](folder)
    began, start = time.perf_counter(), 0
    for vectors, _ in calls:
        engine.add(start, vectors)
        engine.sync()
        start += len(vectors)
    per_s = start / (time.perf_counter() - began)
    engine.close()
    return per_s


def _steps(total: int, step: int) -> Iterator[Iterator[tuple[Matrix, list[Metadata]]]]:
    """The calls of each step; nothing of a step is made before it is asked for."""
    made = (
        (vectors[start : start + BATCH], payloads(first + start, BATCH))
        for first, vectors in blocks(total)
        for start in range(0, len(vectors), BATCH)
    )
    for _ in range(total // step):
        yield (next(made) for _ in range(step // BATCH))
