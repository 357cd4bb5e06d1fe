"""Ten nearest of 100,000 vectors on one core, beside raw FAISS and the embedded peers at the same recall.

`python -m benchmarks.searching FOLDER ROWS QUICK NAME...` measures, on whatever cores it is given.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import cycle
from pathlib import Path

from numpy.typing import NDArray

from benchmarks import prepared, programs, vectors
from benchmarks.engines import ENGINES, PEERS, Engine, Ours, until_quiet
from benchmarks.measure import Bench, Row, against_all, in_turn, rate_within
from super_advanced_agents.types import Matrix

BATCH = 64
_QUERIES = 768
_WANTED = 0.99
_AS_GOOD = 0.001  # a reference may fall short of our recall by so much: its figures gain by it, ours do not
_MOST_EFFORT = 1_024


def rows(bench: Bench) -> Iterator[Row]:
    """One query at a time, and in batches of 64: against raw FAISS at our recall, then against all peers."""
    count = 20_000 if bench.quick else 100_000
    folder, names, missing = prepared.engines(bench, count, ENGINES)
    yield from programs.rows("benchmarks.searching", folder, count, bench.quick, *names, one_core=True)
    yield from prepared.rows_of_missing(f"k = {vectors.K} of {count:,} x {vectors.DIM}", missing)


def measure(folder: Path, count: int, quick: bool, names: list[str]) -> list[Row]:
    """Open all, find the effort at which each is as good as ours, and measure them in turn."""
    queries = vectors.queries(_QUERIES // (4 if quick else 1))
    wanted = vectors.truth(queries, count)
    engines = {name: ENGINES[name](folder / name) for name in names}
    ours = engines["ours"]
    assert isinstance(ours, Ours)
    until_quiet(ours.store)
    recall = vectors.recall(ours.numbers(ours.many(queries)), wanted)
    others = {name: engine for name, engine in engines.items() if name != "ours"}
    efforts = {name: least_effort(engine, queries, wanted, recall - _AS_GOOD) for name, engine in others.items()}
    about = {
        "one_core": programs.pinned(),
        "recall": recall,
        "reference_recall": {name: found for name, (_, found) in efforts.items()},
        "reference_ef": {name: ef for name, (ef, _) in efforts.items()},
        "how": {name: ENGINES[name].how for name in names},
        "built": prepared.built(folder, names),
        "stats": ours.store.stats(),
    }
    seconds, rounds = (0.3, 2) if quick else (1.0, 6)
    found: list[Row] = []
    for way, sides in _ways(engines, queries, seconds):
        rates = in_turn(rounds, sides)
        for chosen, target in ((("faiss",), 0.85), (tuple(PEERS), 1.0)):
            named = {
                f"{ENGINES[name].title} (recall {efforts[name][1]:.3f})": rates[name]
                for name in chosen
                if name in names
            }
            if named:
                work = f"k = {vectors.K} of {count:,} x {vectors.DIM}, one core, {way}"
                found.append(_row(against_all(work, rates["ours"], named, target), about))
    for engine in engines.values():
        engine.close()
    return found


def _row(row: Row, about: dict[str, object]) -> Row:
    recall = float(str(about["recall"]))
    return replace(
        row,
        ours=f"{row.ours} (recall {recall:.3f})",
        target=f"{row.target}, recall >= {_WANTED}",
        reached=bool(row.reached) and recall >= _WANTED,
        details={**row.details, **about},
    )


def least_effort(engine: Engine, queries: Matrix, wanted: NDArray, recall: float) -> tuple[int, float]:
    """The least `ef` at which an engine has so much recall, and what it has then; the most there is if none has."""
    found: dict[int, float] = {}
    low, high = vectors.K, _MOST_EFFORT
    while low < high:
        ef = (low + high) // 2
        engine.set_effort(ef)
        found[ef] = vectors.recall(engine.numbers(engine.many(queries)), wanted)
        low, high = (low, ef) if found[ef] >= recall else (ef + 1, high)
    engine.set_effort(low)
    return low, found.get(low) or vectors.recall(engine.numbers(engine.many(queries)), wanted)


def _ways(
    engines: dict[str, Engine], queries: Matrix, seconds: float
) -> Iterator[tuple[str, dict[str, Callable[[], float]]]]:
    """Each way to search, and for each engine what measures it."""
    batches = queries.reshape(-1, BATCH, vectors.DIM)

    def by_one(engine: Engine) -> Callable[[], float]:
        return lambda: rate_within(seconds, cycle(queries), engine.one)

    def by_batch(engine: Engine) -> Callable[[], float]:
        return lambda: rate_within(seconds, cycle(batches), engine.many, each=BATCH)

    yield "one by one", {name: by_one(engine) for name, engine in engines.items()}
    yield f"batches of {BATCH}", {name: by_batch(engine) for name, engine in engines.items()}


if __name__ == "__main__":
    folder, count, quick, *names = sys.argv[1:]
    programs.hand_over(measure(Path(folder), int(count), quick == "True", names))
