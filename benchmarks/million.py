"""A million vectors at one byte a dimension: memory, recall, speed, growth of search time.

Building takes long, so stores stay in `--store-folder` (by default `benchmarks/results/kept`) for the next run; remove
the folder to build them again. `python -m benchmarks.million build|search FOLDER ROWS` does one part in a process of
its own, since memory is measured by process.
"""

from __future__ import annotations

import inspect
import json
import math
import shutil
import sys
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import numpy as np

from benchmarks import programs, vectors
from benchmarks.engines import Ours, wait_until_quiet
from benchmarks.measure import Bench, Row, rate_for
from benchmarks.memory import peak_bytes
from benchmarks.report import RESULTS
from super_advanced_agents import FAISSVectorStore

STORAGE = "sq8"
_QUERIES = 512
_MOST_BYTES = 1.2e9
_RECALL = 0.97
_PER_S = 500
_BATCH = 64


def rows(bench: Bench) -> Iterator[Row]:
    """Yield memory, recall and speed of the largest store, and the growth of search time."""
    sizes = (1_000, 10_000, 100_000) if bench.quick else (10_000, 100_000, 1_000_000)
    work = f'{sizes[-1]:,} x {vectors.DIM}, storage="{STORAGE}"'
    if "storage" not in inspect.signature(FAISSVectorStore).parameters:
        yield Row(work, "FAISSVectorStore has no argument storage", target="<= 1.2 GB", reached=False)
        return
    store_folder = bench.store_folder or RESULTS / "kept"
    for count in sizes:
        _build_missing(store_folder / f"{count}-{STORAGE}", count)
    folder, count = store_folder / f"{sizes[-1]}-{STORAGE}", sizes[-1]
    measured = programs.run("benchmarks.million", "search", folder, count)
    built = json.loads((folder / "built.json").read_text(encoding="utf-8"))
    yield from _rows_of_largest(work, measured, built)
    costs = [
        programs.run("benchmarks.million", "search", store_folder / f"{size}-{STORAGE}", size, one_core=True)
        for size in sizes
    ]
    yield _growth_row(sizes, costs)


def _build_missing(folder: Path, count: int) -> None:
    """Build the store and compute the exact results, unless an earlier run has."""
    if (folder / "built.json").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    print(f"  the exact answers among {count:,}", flush=True)
    np.save(folder / "truth.npy", vectors.truth(vectors.queries(_QUERIES), count))
    print(f"  building {count:,} rows", flush=True)
    built = programs.run("benchmarks.million", "build", folder, count)
    (folder / "built.json").write_text(json.dumps(built) + "\n", encoding="utf-8")


def _rows_of_largest(work: str, measured: dict[str, float], built: dict[str, float]) -> Iterator[Row]:
    details: dict[str, object] = {"searching": measured, "building": built}
    yield Row(
        f"{work}, resident, opened and searched",
        f"{measured['resident_bytes'] / 1e9:.2f} GB",
        f"{measured['data_bytes'] / 1e9:.2f} GB float32 vectors",
        f"{measured['resident_bytes'] / measured['data_bytes']:.2f}x",
        f"<= {_MOST_BYTES / 1e9} GB",
        measured["resident_bytes"] <= _MOST_BYTES,
        details,
    )
    peak = f"{built['peak_bytes'] / 1e9:.2f} GB"
    yield Row(f"{work}, most resident while building ({built['build_s']:,.0f} s)", peak, details=details)
    recall = measured["recall"]
    yield Row(f"{work}, recall@{vectors.K}", f"{recall:.4f}", "", "", f">= {_RECALL}", recall >= _RECALL, details)
    per_s = measured["one_per_s"]
    yield Row(
        f"{work}, searches of one caller",
        f"{per_s:,.0f}/s",
        f"{measured['batch_per_s']:,.0f}/s in batches of {_BATCH}",
        target=f">= {_PER_S}/s",
        reached=per_s >= _PER_S,
        details=details,
    )


def _growth_row(sizes: tuple[int, ...], costs: list[dict[str, float]]) -> Row:
    """Compare the growth of search time, largest by smallest store, with the growth of log n."""
    by_size = {f"{count:,}": round(1e3 / cost["one_per_s"], 3) for count, cost in zip(sizes, costs, strict=True)}
    slowdown = costs[0]["one_per_s"] / costs[-1]["one_per_s"]
    allowed = math.log(sizes[-1]) / math.log(sizes[0])
    return Row(
        f"a search in {sizes[-1]:,} by one in {sizes[0]:,}, one core",
        ", ".join(f"{ms:.2f} ms of {count}" for count, ms in by_size.items()),
        f"log n: {allowed:.2f}x",
        f"{slowdown:.2f}x",
        f"<= {allowed:.2f}x",
        slowdown <= allowed,
        {"ms_by_rows": by_size, "costs": costs},
    )


def build(folder: Path, count: int) -> dict[str, object]:
    """Add all rows in calls of 1,000, and wait until the background work is done."""
    began = time.perf_counter()
    engine = Ours(folder, storage=STORAGE)
    for first, block in vectors.blocks(count):
        for start in range(0, len(block), engine.bulk):
            engine.add(first + start, block[start : start + engine.bulk])
    added_s = time.perf_counter() - began
    engine.finish()
    found = {"added_s": added_s, "build_s": time.perf_counter() - began, "peak_bytes": peak_bytes()}
    stats = engine.store.stats()
    engine.close()
    return {**found, "stats": stats}


def search(folder: Path, count: int) -> dict[str, object]:
    """Open a store that was closed properly, search it, and return memory, recall and rates.

    Resident memory is taken before the opening, after it, and after the searches.
    """
    queries, truth = vectors.queries(_QUERIES), np.load(folder / "truth.npy")
    before = _resident()
    began = time.perf_counter()
    engine = Ours(folder, storage=STORAGE)
    engine.search_one(queries[0])
    opened_s = time.perf_counter() - began
    opened = _resident()
    wait_until_quiet(engine.store)
    recall = vectors.recall(engine.row_numbers(engine.search_many(queries)), truth)
    one_per_s = rate_for(5.0, cycle(queries), engine.search_one)
    batches = queries.reshape(-1, _BATCH, vectors.DIM)
    batch_per_s = rate_for(5.0, cycle(batches), engine.search_many, each=_BATCH)
    after = _resident()
    measured = {
        "data_bytes": count * vectors.DIM * 4,
        "resident_bytes": after["resident"],
        "before": before,
        "opened": opened,
        "after": after,
        "peak_bytes": peak_bytes(),
        "open_and_first_search_s": opened_s,
        "recall": recall,
        "one_per_s": one_per_s,
        "batch_per_s": batch_per_s,
        "one_core": programs.pinned(),
        "stats": engine.store.stats(),
    }
    engine.close()
    return measured


def _resident() -> dict[str, int]:
    import psutil

    # "shared" is the part that is mapped from files, which the system can drop; not every system reports it.

    memory = psutil.Process().memory_info()
    return {"resident": memory.rss, "shared": getattr(memory, "shared", 0)}


if __name__ == "__main__":
    part, folder, count = sys.argv[1:]
    print(json.dumps({"build": build, "search": search}[part](Path(folder), int(count))))
