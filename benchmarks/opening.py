"""Opening 100,000 vectors that were left in order, and the first search; in a program of its own each time.

`python -m benchmarks.opening ENGINE FOLDER` measures one opening. The files are in the system's cache, libraries are
loaded before the clock starts.
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
    """Ours, and what the peers take; the first search is part of it, since some put work off until then."""
    count = 20_000 if bench.quick else 100_000
    folder, names, missing = prepared.engines(bench, count, ("ours", *PEERS))
    found = {
        name: [programs.run("benchmarks.opening", name, folder / name) for _ in range(1 if bench.quick else 3)]
        for name in names
    }
    seconds = {name: median(sum(each.values()) for each in times) for name, times in found.items()}
    peers = sorted((seconds[name], ENGINES[name].title) for name in names if name != "ours")
    work = f"opening {count:,} x {DIM} and the first search"
    yield Row(
        work,
        f"{seconds['ours']:.2f} s",
        "; ".join(f"{took:.2f} s {title}" for took, title in peers),
        target=f"<= {_MOST_S} s",
        reached=seconds["ours"] <= _MOST_S,
        details={"seconds": found},
    )
    yield from prepared.rows_of_missing(work, missing)


def measure(name: str, folder: Path) -> dict[str, float]:
    """Open the engine's folder and search once; an engine may load its library when it is first made."""
    engine_type = ENGINES[name]
    [query] = queries(1)
    for package in engine_type.packages:
        __import__(package)
    began = time.perf_counter()
    engine = engine_type(folder)
    opened = time.perf_counter()
    engine.one(query)
    searched = time.perf_counter()
    engine.close()
    return {"open_s": opened - began, "first_search_s": searched - opened}


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], Path(sys.argv[2]))))
