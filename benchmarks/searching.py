"""Search of 100,000 vectors on one core, beside raw FAISS and peers at equal recall.

`python -m benchmarks.searching FOLDER ROWS QUICK NAME...` measures on the cores that it may use, and prints the rows as
JSON.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import cycle
from pathlib import Path

from numpy.typing import NDArray

from benchmarks import prepared, programs, vectors
from benchmarks.engines import ENGINES, PEERS, Engine, Ours, wait_until_quiet
from benchmarks.measure import Bench, Row, interleave, rate_for, row_against_all
from super_advanced_agents.types import Matrix

BATCH = 64
_QUERIES = 768
_WANTED = 0.99
_RECALL_SLACK = 0.001  # a reference's recall may be this much lower than ours; that favours the reference
_MOST_EFFORT = 1_024


def rows(bench: Bench) -> Iterator[Row]:
    """Yield the rates of single queries and batches of 64, against raw FAISS, then all peers."""
    count = 20_000 if bench.quick else 100_000
    folder, names, missing = prepared.engines(bench, count, ENGINES)
    yield from programs.rows("benchmarks.searching", folder, count, bench.quick, *names, one_core=True)
    yield from prepared.rows_of_missing(f"k = {vectors.K} of {count:,} x {vectors.DIM}", missing)


def measure(folder: Path, count: int, quick: bool, names: list[str]) -> list[Row]:
    """Measure all engines, interleaved, each at the least `ef` that reaches our recall."""
    queries = vectors.queries(_QUERIES // (4 if quick else 1))
    truth = vectors.truth(queries, count)
    engines = {name: ENGINES[name](folder / name) for name in names}
    ours = engines["ours"]
    assert isinstance(ours, Ours)
    wait_until_quiet(ours.store)
    recall = vectors.recall(ours.row_numbers(ours.search_many(queries)), truth)
    others = {name: engine for name, engine in engines.items() if name != "ours"}
    efforts = {name: least_effort(engine, queries, truth, recall - _RECALL_SLACK) for name, engine in others.items()}
    about = {
        "one_core": programs.pinned(),
        "recall": recall,
        "reference_recall": {name: reached for name, (_, reached) in efforts.items()},
        "reference_ef": {name: ef for name, (ef, _) in efforts.items()},
        "how": {name: ENGINES[name].how for name in names},
        "built": prepared.build_reports(folder, names),
        "stats": ours.store.stats(),
    }
    seconds, rounds = (0.3, 2) if quick else (1.0, 6)
    results: list[Row] = []
    for way, sides in _ways(engines, queries, seconds):
        rates = interleave(rounds, sides)
        for group, target in ((("faiss",), 0.85), (tuple(PEERS), 1.0)):
            references = {
                f"{ENGINES[name].title} (recall {efforts[name][1]:.3f})": rates[name] for name in group if name in names
            }
            if references:
                work = f"k = {vectors.K} of {count:,} x {vectors.DIM}, one core, {way}"
                results.append(_row(row_against_all(work, rates["ours"], references, target), about))
    for engine in engines.values():
        engine.close()
    return results


def _row(row: Row, about: dict[str, object]) -> Row:
    recall = float(str(about["recall"]))
    return replace(
        row,
        ours=f"{row.ours} (recall {recall:.3f})",
        target=f"{row.target}, recall >= {_WANTED}",
        reached=bool(row.reached) and recall >= _WANTED,
        details={**row.details, **about},
    )


def least_effort(engine: Engine, queries: Matrix, truth: NDArray, recall: float) -> tuple[int, float]:
    """Find the least `ef` at which an engine reaches a recall, and set it.

    Returns:
        the `ef` and the recall at it; the largest `ef` where none reaches the recall.
    """
    recalls: dict[int, float] = {}
    low, high = vectors.K, _MOST_EFFORT
    while low < high:
        ef = (low + high) // 2
        engine.set_effort(ef)
        recalls[ef] = vectors.recall(engine.row_numbers(engine.search_many(queries)), truth)
        low, high = (low, ef) if recalls[ef] >= recall else (ef + 1, high)
    engine.set_effort(low)
    return low, recalls.get(low) or vectors.recall(engine.row_numbers(engine.search_many(queries)), truth)


def _ways(
    engines: dict[str, Engine], queries: Matrix, seconds: float
) -> Iterator[tuple[str, dict[str, Callable[[], float]]]]:
    """Yield each way of searching, with a measuring function for each engine."""
    batches = queries.reshape(-1, BATCH, vectors.DIM)

    def by_one(engine: Engine) -> Callable[[], float]:
        return lambda: rate_for(seconds, cycle(queries), engine.search_one)

    def by_batch(engine: Engine) -> Callable[[], float]:
        return lambda: rate_for(seconds, cycle(batches), engine.search_many, each=BATCH)

    yield "one by one", {name: by_one(engine) for name, engine in engines.items()}
    yield f"batches of {BATCH}", {name: by_batch(engine) for name, engine in engines.items()}


if __name__ == "__main__":
    folder, count, quick, *names = sys.argv[1:]
    programs.print_rows(measure(Path(folder), int(count), quick == "True", names))
