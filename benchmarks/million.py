"""A million vectors in one byte a dimension: memory, recall, speed, and what a search costs as a store grows.

Building takes long, so stores stay in `--store-folder` (`benchmarks/results/kept` without one) for the next run; remove
it to build anew. `python -m benchmarks.million build|search FOLDER ROWS` does one part, in a process of its own, since
memory belongs to a process.
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
from benchmarks.engines import Ours, until_quiet
from benchmarks.measure import Bench, Row, rate_within
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
    """Memory, recall and speed of the largest store; the cost of a search in it beside smaller ones."""
    sizes = (1_000, 10_000, 100_000) if bench.quick else (10_000, 100_000, 1_000_000)
    work = f'{sizes[-1]:,} x {vectors.DIM}, storage="{STORAGE}"'
    if "storage" not in inspect.signature(FAISSVectorStore).parameters:
        yield Row(work, "FAISSVectorStore has no argument storage", target="<= 1.2 GB", reached=False)
        return
    kept = bench.kept or RESULTS / "kept"
    for count in sizes:
        _prepare(kept / f"{count}-{STORAGE}", count)
    folder, count = kept / f"{sizes[-1]}-{STORAGE}", sizes[-1]
    found = programs.run("benchmarks.million", "search", folder, count)
    built = json.loads((folder / "built.json").read_text(encoding="utf-8"))
    yield from _of_the_largest(work, found, built)
    costs = [
        programs.run("benchmarks.million", "search", kept / f"{each}-{STORAGE}", each, one_core=True) for each in sizes
    ]
    yield _growth(sizes, costs)


def _prepare(folder: Path, count: int) -> None:
    """Build the store and compute what is right, unless an earlier run has."""
    if (folder / "built.json").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    print(f"  the exact answers among {count:,}", flush=True)
    np.save(folder / "truth.npy", vectors.truth(vectors.queries(_QUERIES), count))
    print(f"  building {count:,} rows", flush=True)
    built = programs.run("benchmarks.million", "build", folder, count)
    (folder / "built.json").write_text(json.dumps(built) + "\n", encoding="utf-8")


def _of_the_largest(work: str, found: dict[str, float], built: dict[str, float]) -> Iterator[Row]:
    details: dict[str, object] = {"searching": found, "building": built}
    yield Row(
        f"{work}, resident, opened and searched",
        f"{found['resident_bytes'] / 1e9:.2f} GB",
        f"{found['data_bytes'] / 1e9:.2f} GB float32 vectors",
        f"{found['resident_bytes'] / found['data_bytes']:.2f}x",
        f"<= {_MOST_BYTES / 1e9} GB",
        found["resident_bytes"] <= _MOST_BYTES,
        details,
    )
    peak = f"{built['peak_bytes'] / 1e9:.2f} GB"
    yield Row(f"{work}, most resident while building ({built['build_s']:,.0f} s)", peak, details=details)
    recall = found["recall"]
    yield Row(f"{work}, recall@{vectors.K}", f"{recall:.4f}", "", "", f">= {_RECALL}", recall >= _RECALL, details)
    per_s = found["one_per_s"]
    yield Row(
        f"{work}, searches of one caller",
        f"{per_s:,.0f}/s",
        f"{found['batch_per_s']:,.0f}/s in batches of {_BATCH}",
        target=f">= {_PER_S}/s",
        reached=per_s >= _PER_S,
        details=details,
    )


def _growth(sizes: tuple[int, ...], costs: list[dict[str, float]]) -> Row:
    """How much dearer a search is in the largest store than in the smallest, beside the ratio of their logarithms."""
    by_size = {f"{count:,}": round(1e3 / cost["one_per_s"], 3) for count, cost in zip(sizes, costs, strict=True)}
    dearer = costs[0]["one_per_s"] / costs[-1]["one_per_s"]
    allowed = math.log(sizes[-1]) / math.log(sizes[0])
    return Row(
        f"a search in {sizes[-1]:,} by one in {sizes[0]:,}, one core",
        ", ".join(f"{ms:.2f} ms of {count}" for count, ms in by_size.items()),
        f"log n: {allowed:.2f}x",
        f"{dearer:.2f}x",
        f"<= {allowed:.2f}x",
        dearer <= allowed,
        {"ms_by_rows": by_size, "costs": costs},
    )


def build(folder: Path, count: int) -> dict[str, object]:
    """Add all by calls of 1,000, and wait until the background has nothing to do."""
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
    """Open what was left in order; what is resident before, then, and after the searches."""
    queries, wanted = vectors.queries(_QUERIES), np.load(folder / "truth.npy")
    before = _resident()
    began = time.perf_counter()
    engine = Ours(folder, storage=STORAGE)
    engine.one(queries[0])
    opened_s = time.perf_counter() - began
    opened = _resident()
    until_quiet(engine.store)
    recall = vectors.recall(engine.numbers(engine.many(queries)), wanted)
    one_per_s = rate_within(5.0, cycle(queries), engine.one)
    batches = queries.reshape(-1, _BATCH, vectors.DIM)
    batch_per_s = rate_within(5.0, cycle(batches), engine.many, each=_BATCH)
    after = _resident()
    found = {
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
    return found


def _resident() -> dict[str, int]:
    """Bytes resident now, and of these, where the system says so, what is mapped from files and can be dropped."""
    import psutil

    memory = psutil.Process().memory_info()
    return {"resident": memory.rss, "shared": getattr(memory, "shared", 0)}


if __name__ == "__main__":
    part, folder, count = sys.argv[1:]
    print(json.dumps({"build": build, "search": search}[part](Path(folder), int(count))))
