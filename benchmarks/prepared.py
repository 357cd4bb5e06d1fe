"""Stores that several groups search: built once in a process each, or by an earlier run.

`python -m benchmarks.prepared ENGINE FOLDER ROWS` builds one.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

from benchmarks import programs
from benchmarks.engines import ENGINES
from benchmarks.measure import Bench, Row
from benchmarks.vectors import blocks


def engines(bench: Bench, rows: int, names: Iterable[str]) -> tuple[Path, list[str], dict[str, str]]:
    """Build the stores of some engines, unless they exist.

    Returns:
        the folder that holds one folder for each engine, the names of the built engines, and for each of the others the
        package that is not installed.
    """
    folder = (bench.store_folder or bench.folder) / f"{rows}"
    absent = missing(names)
    available = [name for name in names if name not in absent]
    for name in available:
        report = folder / f"{name}.json"
        if not report.exists():
            print(f"  building {rows:,} rows in {name}", flush=True)
            shutil.rmtree(folder / name, ignore_errors=True)
            (folder / name).mkdir(parents=True)
            timings = programs.run("benchmarks.prepared", name, folder / name, rows)
            report.write_text(json.dumps(timings) + "\n", encoding="utf-8")
    return folder, available, absent


def missing(names: Iterable[str]) -> dict[str, str]:
    """Return the engines whose packages are not installed, each with its first missing package."""
    absent = {}
    for name in names:
        uninstalled = [package for package in ENGINES[name].packages if find_spec(package) is None]
        if uninstalled:
            absent[name] = uninstalled[0]
    return absent


def rows_of_missing(work: str, absent: Iterable[str]) -> Iterator[Row]:
    """Yield a row for each peer that is not installed."""
    for name in absent:
        yield Row(work, "", f"{ENGINES[name].title} is not installed", target="ahead")


def build_reports(folder: Path, names: Iterable[str]) -> dict[str, object]:
    """Return the report of the build of each engine's store."""
    return {name: json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name in names}


def build(name: str, folder: Path, rows: int) -> dict[str, object]:
    """Build one store in calls of the engine's `bulk` size, and return the time of both phases."""
    engine = ENGINES[name](folder)
    adding_s = 0.0
    for first, vectors in blocks(rows):
        began = time.perf_counter()
        for start in range(0, len(vectors), engine.bulk):
            engine.add(first + start, vectors[start : start + engine.bulk])
        adding_s += time.perf_counter() - began
    began = time.perf_counter()
    engine.finish()
    finishing_s = time.perf_counter() - began
    engine.close()
    return {"rows": rows, "adding_s": round(adding_s, 2), "indexing_s": round(finishing_s, 2)}


if __name__ == "__main__":
    print(json.dumps(build(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))))
