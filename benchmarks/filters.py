"""Filtered searches, where 1% of 100,000 vectors match: one caller, 64 callers, and batches.

`python -m benchmarks.filters FOLDER ROWS QUICK NAME...` measures and prints the rows as JSON.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import count as numbers_from
from itertools import cycle, repeat
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks import prepared, programs, vectors
from benchmarks.engines import ENGINES, PEERS, Engine, Ours, wait_until_quiet
from benchmarks.measure import Bench, Row, interleave, rate_for, row_against_all, run_callers, take_for
from benchmarks.sampled_loop import SampledLoop
from super_advanced_agents.types import Matrix, Vector

CALLERS = 64
BATCH = 64
_QUERIES = 8_192
_PROOFS = 256
_GROUP = 7
_PER_S = 5_000
_FULL_RECALL = 0.9999
_WAYS = ("one caller", f"{CALLERS} callers", f"batches of {BATCH}")


def rows(bench: Bench) -> Iterator[Row]:
    """Yield the rates of one repeated filter and of 100 alternating filters, against all peers."""
    count = 20_000 if bench.quick else 100_000
    folder, names, missing = prepared.engines(bench, count, ("ours", *PEERS))
    yield from programs.rows("benchmarks.filters", folder, count, bench.quick, *names)
    yield from prepared.rows_of_missing(f"filter matching 1% of {count:,}", missing)


def measure(folder: Path, count: int, quick: bool, names: list[str]) -> list[Row]:
    """Measure the recall of each engine, then the rates of all engines in all ways, interleaved."""
    queries = vectors.queries(_QUERIES)
    engines = {name: ENGINES[name](folder / name) for name in names}
    ours = engines["ours"]
    assert isinstance(ours, Ours)
    wait_until_quiet(ours.store)
    recalls = {name: _recall(engine, queries[:_PROOFS], count) for name, engine in engines.items()}
    loop = SampledLoop()
    for engine in engines.values():
        loop.run(engine.asearch_one(queries[0], _GROUP))  # opens an asynchronous client before the clock starts
    found: list[Row] = []
    for kind, groups in (("one filter", repeat(_GROUP)), ("100 filters in turn", cycle(range(vectors.GROUPS)))):
        sides: dict[tuple[str, str], Callable[[], float]] = {}
        for name, engine in engines.items():
            by_way = _ways(engine, queries, groups, loop, seconds=0.3 if quick else 1.0)
            sides |= {(name, way): measure_rate for way, measure_rate in by_way.items()}
        rates = interleave(1 if quick else 5, sides)
        found += _rows(f"filter matching 1% of {count:,}, {kind}", names, rates, recalls)
    loop.close()
    for engine in engines.values():
        engine.close()
    return found


def _rows(
    work: str, names: list[str], rates: dict[tuple[str, str], list[float]], recalls: dict[str, float]
) -> Iterator[Row]:
    """Yield a row with each engine's best way, which is the figure, then one row for each way."""
    best = {name: max(_WAYS, key=lambda way: median(rates[name, way])) for name in names}
    about: dict[str, object] = {
        "recall": recalls,
        "per_s": {name: {way: rates[name, way] for way in _WAYS} for name in names},
        "how": {name: ENGINES[name].how for name in names},
    }
    yield from _row(f"{work}, best way of each", best, rates, about, _PER_S)
    for way in _WAYS:
        yield from _row(f"{work}, {way}", dict.fromkeys(names, way), rates, about, None)


def _row(
    work: str,
    way_of: dict[str, str],
    rates: dict[tuple[str, str], list[float]],
    about: dict[str, object],
    at_least_per_s: float | None,
) -> Iterator[Row]:
    recalls = about["recall"]
    assert isinstance(recalls, dict)

    def remark(name: str) -> str:
        way = way_of[name] if len(set(way_of.values())) > 1 else ""
        low_recall = f"recall {recalls[name]:.3f}" if recalls[name] < _FULL_RECALL else ""
        return f" ({', '.join(filter(None, (way, low_recall)))})" if way or low_recall else ""

    others = {ENGINES[name].title + remark(name): rates[name, way_of[name]] for name in way_of if name != "ours"}
    if others:
        row = row_against_all(work, rates["ours", way_of["ours"]], others, 1.0, at_least_per_s=at_least_per_s)
        yield replace(
            row,
            ours=row.ours + remark("ours"),
            target=f"{row.target}, recall 1",
            reached=bool(row.reached) and recalls["ours"] >= _FULL_RECALL,
            details={**row.details, **about},
        )


def _recall(engine: Engine, queries: Matrix, count: int) -> float:
    groups = np.arange(len(queries)) % vectors.GROUPS
    found = [engine.search_many(query[None], int(group)) for query, group in zip(queries, groups, strict=True)]
    row_numbers = [engine.row_numbers(result)[0] for result in found]
    return vectors.recall(row_numbers, vectors.truth(queries, count, groups))


def _ways(
    engine: Engine, queries: Matrix, groups: Iterable[int], loop: SampledLoop, *, seconds: float
) -> dict[str, Callable[[], float]]:
    """Return a measuring function for each way; all queries of a batch have one filter."""

    def pairs() -> Iterator[tuple[Vector, int]]:
        return zip(cycle(queries), groups, strict=False)

    def batches() -> Iterator[tuple[Matrix, int]]:
        return zip(cycle(queries.reshape(-1, BATCH, vectors.DIM)), groups, strict=False)

    return {
        "one caller": lambda: rate_for(seconds, pairs(), lambda query: engine.search_one(*query)),
        f"{CALLERS} callers": partial(_by_callers, engine, pairs, loop, seconds),
        f"batches of {BATCH}": lambda: rate_for(
            seconds, batches(), lambda batch: engine.search_many(*batch), each=BATCH
        ),
    }


def _by_callers(
    engine: Engine, pairs: Callable[[], Iterator[tuple[Vector, int]]], loop: SampledLoop, seconds: float
) -> float:
    done = numbers_from()

    async def search(query: tuple[Vector, int]) -> None:
        await engine.asearch_one(*query)
        next(done)

    all_searches = run_callers(CALLERS, take_for(seconds, pairs()), search)
    return rate_for(0.0, [all_searches], loop.run) * next(done)


if __name__ == "__main__":
    folder, count, quick, *names = sys.argv[1:]
    programs.print_rows(measure(Path(folder), int(count), quick == "True", names))
