"""Searches among the 1% of 100,000 vectors that match a filter: one caller, 64 callers, and batches.

`python -m benchmarks.filters FOLDER ROWS QUICK NAME...` measures.
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
from benchmarks.engines import ENGINES, PEERS, Engine, Ours, until_quiet
from benchmarks.lag import SampledLoop
from benchmarks.measure import Bench, Row, against_all, crowd, in_turn, rate_within, within
from super_advanced_agents.types import Matrix, Vector

CALLERS = 64
BATCH = 64
_QUERIES = 8_192
_PROOFS = 256
_GROUP = 7
_PER_S = 5_000
_WHOLE = 0.9999
_WAYS = ("one caller", f"{CALLERS} callers", f"batches of {BATCH}")


def rows(bench: Bench) -> Iterator[Row]:
    """The same filter again and again, then each of the hundred in turn; against all peers."""
    count = 20_000 if bench.quick else 100_000
    folder, names, missing = prepared.engines(bench, count, ("ours", *PEERS))
    yield from programs.rows("benchmarks.filters", folder, count, bench.quick, *names)
    yield from prepared.rows_of_missing(f"filter matching 1% of {count:,}", missing)


def measure(folder: Path, count: int, quick: bool, names: list[str]) -> list[Row]:
    """Prove that what each finds is right, then measure all engines in all ways, in turn."""
    queries = vectors.queries(_QUERIES)
    engines = {name: ENGINES[name](folder / name) for name in names}
    ours = engines["ours"]
    assert isinstance(ours, Ours)
    until_quiet(ours.store)
    recalls = {name: _recall(engine, queries[:_PROOFS], count) for name, engine in engines.items()}
    loop = SampledLoop()
    for engine in engines.values():
        loop.run(engine.aone(queries[0], _GROUP))  # an asynchronous client is opened now
    found: list[Row] = []
    for kind, groups in (("one filter", repeat(_GROUP)), ("100 filters in turn", cycle(range(vectors.GROUPS)))):
        sides: dict[tuple[str, str], Callable[[], float]] = {}
        for name, engine in engines.items():
            by_way = _ways(engine, queries, groups, loop, seconds=0.3 if quick else 1.0)
            sides |= {(name, way): measure_it for way, measure_it in by_way.items()}
        rates = in_turn(1 if quick else 5, sides)
        found += _rows(f"filter matching 1% of {count:,}, {kind}", names, rates, recalls)
    loop.close()
    for engine in engines.values():
        engine.close()
    return found


def _rows(
    work: str, names: list[str], rates: dict[tuple[str, str], list[float]], recalls: dict[str, float]
) -> Iterator[Row]:
    """Each engine in the way that serves it best, which is the figure; then way by way."""
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

    def said(name: str) -> str:
        way = way_of[name] if len(set(way_of.values())) > 1 else ""
        lacking = f"recall {recalls[name]:.3f}" if recalls[name] < _WHOLE else ""
        return f" ({', '.join(filter(None, (way, lacking)))})" if way or lacking else ""

    others = {ENGINES[name].title + said(name): rates[name, way_of[name]] for name in way_of if name != "ours"}
    if others:
        row = against_all(work, rates["ours", way_of["ours"]], others, 1.0, at_least_per_s=at_least_per_s)
        yield replace(
            row,
            ours=row.ours + said("ours"),
            target=f"{row.target}, recall 1",
            reached=bool(row.reached) and recalls["ours"] >= _WHOLE,
            details={**row.details, **about},
        )


def _recall(engine: Engine, queries: Matrix, count: int) -> float:
    """Over queries that each ask for another group."""
    groups = np.arange(len(queries)) % vectors.GROUPS
    found = [engine.many(query[None], int(group)) for query, group in zip(queries, groups, strict=True)]
    numbers = [engine.numbers(each)[0] for each in found]
    return vectors.recall(numbers, vectors.truth(queries, count, groups))


def _ways(
    engine: Engine, queries: Matrix, groups: Iterable[int], loop: SampledLoop, *, seconds: float
) -> dict[str, Callable[[], float]]:
    """What measures an engine, for each of the ways; a batch has one filter, the next batch the next one."""

    def pairs() -> Iterator[tuple[Vector, int]]:
        return zip(cycle(queries), groups, strict=False)

    def batches() -> Iterator[tuple[Matrix, int]]:
        return zip(cycle(queries.reshape(-1, BATCH, vectors.DIM)), groups, strict=False)

    return {
        "one caller": lambda: rate_within(seconds, pairs(), lambda asked: engine.one(*asked)),
        f"{CALLERS} callers": partial(_by_callers, engine, pairs, loop, seconds),
        f"batches of {BATCH}": lambda: rate_within(seconds, batches(), lambda asked: engine.many(*asked), each=BATCH),
    }


def _by_callers(
    engine: Engine, pairs: Callable[[], Iterator[tuple[Vector, int]]], loop: SampledLoop, seconds: float
) -> float:
    done = numbers_from()

    async def search(asked: tuple[Vector, int]) -> None:
        await engine.aone(*asked)
        next(done)

    whole = crowd(CALLERS, within(seconds, pairs()), search)
    return rate_within(0.0, [whole], loop.run) * next(done)


if __name__ == "__main__":
    folder, count, quick, *names = sys.argv[1:]
    programs.hand_over(measure(Path(folder), int(count), quick == "True", names))
