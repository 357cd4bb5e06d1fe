"""Opening of a store of 100,000 vectors and the first search, in a new process each time.

`python -m benchmarks.opening ENGINE FOLDER` measures one opening. The files are in the system's cache, and libraries
are loaded before the clock starts.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from benchmarks import prepared, programs
from benchmarks.engines import ENGINES, PEERS
from benchmarks.measure import Bench, Row
from benchmarks.vectors import DIM, queries

_MOST_S = 1.5


def rows(bench: Bench) -> Iterator[Row]:
    """Yield the seconds of all engines; some put work off until the first search, so it counts."""
    count = 20_000 if bench.quick else 100_000
    folder, names, missing = prepared.engines(bench, count, ("ours", *PEERS))
    times_by_name = {
        name: [programs.run("benchmarks.opening", name, folder / name) for _ in range(1 if bench.quick else 3)]
        for name in names
    }
    seconds = {name: median(sum(run.values()) for run in times) for name, times in times_by_name.items()}
    peers = sorted((seconds[name], ENGINES[name].title) for name in names if name != "ours")
    work = f"opening {count:,} x {DIM} and the first search"
    yield Row(
        work,
        f"{seconds['ours']:.2f} s",
        "; ".join(f"{took:.2f} s {title}" for took, title in peers),
        target=f"<= {_MOST_S} s",
        reached=seconds["ours"] <= _MOST_S,
        details={"seconds": times_by_name},
    )
    yield from prepared.rows_of_missing(work, missing)


def measure(name: str, folder: Path) -> dict[str, float]:
    """Open an engine's folder and search once, after its packages have been imported."""
    engine_type = ENGINES[name]
    [query] = queries(1)
    for package in engine_type.packages:
        __import__(package)
    began = time.perf_counter()
    engine = engine_type(folder)
    opened = time.perf_counter()
    engine.search_one(query)
    searched = time.perf_counter()
    engine.close()
    return {"open_s": opened - began, "first_search_s": searched - opened}


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], Path(sys.argv[2]))))
