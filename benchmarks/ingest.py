"""Durable batches of 1,000 from an empty store to a million rows: rate and evenness.

Each tenth is timed by itself, and only the calls that add: vectors and payloads are made between them.
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
from benchmarks.measure import Bench, Row, interleave, row_against_all, run_callers
from benchmarks.vectors import DIM, blocks, payloads
from super_advanced_agents import FAISSVectorStore
from super_advanced_agents.types import Matrix, Metadata

BATCH = 1_000
CALLERS = 4
_PER_S = 35_000
_PER_S_OWN_UIDS = 15_000
_FLAT = 0.8  # the last tenth by the first; a shared disk varies by this much


def rows(bench: Bench) -> Iterator[Row]:
    """Yield the rates of one caller in three setups, of several callers, and of the peers.

    The setups are generated uids, a flat index, and random uids of the caller.
    """
    total = 100_000 if bench.quick else 1_000_000
    work = f"add_batch of {BATCH:,}, durable, 0 to {total:,} rows"
    yield from _rows_of_one_caller(bench, f"{work}, generated uids", total, target=_PER_S)
    yield from _rows_of_one_caller(bench, f'{work}, generated uids, index="flat"', total, target=_PER_S, index="flat")
    yield from _rows_of_one_caller(bench, f"{work}, random uids", total, target=_PER_S_OWN_UIDS, own_uids=True)
    first = 10_000 if bench.quick else 100_000
    yield _row_of_callers(bench, first)
    yield from _rows_beside_peers(bench, 5_000 if bench.quick else 20_000)


def _rows_of_one_caller(
    bench: Bench, work: str, total: int, *, target: int, own_uids: bool = False, **options: object
) -> Iterator[Row]:
    """Yield the rate (for own uids, that of the last tenth), and the last tenth by the first."""
    step = total // 10
    per_s: list[float] = []
    folder = bench.folder / "ingest"
    with FAISSVectorStore(DIM, folder, **options) as store:
        for calls in _calls_by_step(total, step):
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


def _row_of_callers(bench: Bench, total: int) -> Row:
    """Measure several callers, which share transactions and overlap checks with writes."""
    calls = [call for step in _calls_by_step(total, total) for call in step]
    folder = bench.folder / "ingest"
    with FAISSVectorStore(DIM, folder) as store:

        async def add(call: tuple[Matrix, list[Metadata]]) -> None:
            await store.aadd_batch(*call)

        began = time.perf_counter()
        bench.loop.run(run_callers(CALLERS, calls, add))
        per_s = total / (time.perf_counter() - began)
    shutil.rmtree(folder)
    return Row(f"aadd_batch of {BATCH:,}, durable, {CALLERS} callers, 0 to {total:,} rows", f"{per_s:,.0f}/s")


def _rows_beside_peers(bench: Bench, total: int) -> Iterator[Row]:
    """Yield the rates of all engines from empty, each call as durable as the engine can make it."""
    work = f"add_batch of {BATCH:,}, durable where the engine can, 0 to {total:,} rows"
    calls = [call for step in _calls_by_step(total, total) for call in step]
    folders = (bench.folder / f"ingest-{i}" for i in numbers_from())
    sides: dict[str, Callable[[], float]] = {"ours": lambda: _rate_of_ours(next(folders), calls)}
    missing = prepared.missing(PEERS)
    for name in [peer for peer in PEERS if peer not in missing]:
        sides[name] = lambda name=name: _rate_of_peer(name, next(folders), calls)
    rates = interleave(1 if bench.quick else 3, sides)
    others = {f"{PEERS[name].title} ({PEERS[name].durability})": rates[name] for name in PEERS if name in rates}
    if others:
        yield row_against_all(work, rates["ours"], others, None)
    yield from prepared.rows_of_missing(work, missing)


def _rate_of_ours(folder: Path, calls: list[tuple[Matrix, list[Metadata]]]) -> float:
    with FAISSVectorStore(DIM, folder) as store:
        began = time.perf_counter()
        for vectors, metadatas in calls:
            store.add_batch(vectors, metadatas)
        return sum(len(vectors) for vectors, _ in calls) / (time.perf_counter() - began)


def _rate_of_peer(name: str, folder: Path, calls: list[tuple[Matrix, list[Metadata]]]) -> float:
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


def _calls_by_step(total: int, step: int) -> Iterator[Iterator[tuple[Matrix, list[Metadata]]]]:
    """Yield the calls of each step, whose data is made only when it is needed."""
    calls = (
        (vectors[start : start + BATCH], payloads(first + start, BATCH))
        for first, vectors in blocks(total)
        for start in range(0, len(vectors), BATCH)
    )
    for _ in range(total // step):
        yield (next(calls) for _ in range(step // BATCH))
