"""`python -m benchmarks`: runs the benchmarks, prints the table and writes JSON."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import (
    beside,
    filters,
    generation,
    hybrid,
    imports,
    ingest,
    jobs,
    lag,
    memory,
    million,
    opening,
    quality,
    report,
    retrieval,
    searching,
    serving,
    writes,
)
from benchmarks.lag import lag_row
from benchmarks.locomo import conversations
from benchmarks.measure import Bench, Row
from benchmarks.sampled_loop import SampledLoop
from super_advanced_agents.config import DEFAULT_EMBEDDING_MODEL, DEFAULT_GENERATION_MODEL
from super_advanced_agents.models import pull


def _engines(bench: Bench) -> Iterator[Row]:
    from benchmarks import milvus, postgres, replicas  # they need the extras postgres and milvus, and servers

    yield from postgres.rows(bench)
    yield from replicas.rows(bench)
    yield from milvus.rows(bench)


GROUPS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "retrieval": retrieval.rows,
    "writes": writes.rows,
    "imports": imports.rows,
    "generation": generation.rows,
    "quality": quality.rows,
    "hybrid": hybrid.rows,
    "memory": memory.rows,
    "search100k": searching.rows,
    "filters": filters.rows,
    "opening": opening.rows,
    "ingest": ingest.rows,
    "beside": beside.rows,
    "serving": serving.rows,
    "jobs": jobs.rows,
    "lag": lag.rows,
    "million": million.rows,
    "engines": _engines,
}
BY_DEFAULT = [name for name in GROUPS if name not in {"million", "engines"}]
"""The groups that run without `--only`.

Building a million rows takes most of an hour, and the engines need servers.
"""


def main() -> None:
    """Run the selected groups one after another, and report their rows."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure beside references and peers.")
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=BY_DEFAULT, metavar="GROUP", help=" ".join(GROUPS))
    parser.add_argument("--quick", action="store_true", help="a few minutes; the figures mean less")
    parser.add_argument("--json", type=Path, help="where to write the results (default: benchmarks/results/TIME.json)")
    parser.add_argument(
        "--store-folder",
        type=Path,
        help="where large stores stay for the next run (default: nowhere; those of million in results/kept)",
    )
    arguments = parser.parse_args()
    for model in (DEFAULT_EMBEDDING_MODEL, DEFAULT_GENERATION_MODEL):
        pull(model)  # returns at once when the model is complete
    began, load_before, others = time.perf_counter(), report.load_average(), report.OtherWork()
    data, source = conversations()
    rows = _measure(arguments.only, data, quick=arguments.quick, store_folder=arguments.store_folder)
    took_s = time.perf_counter() - began
    path = arguments.json or report.RESULTS / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    run_info = {
        **report.machine(),
        "quick": arguments.quick,
        "data": source,
        "load_average_before": load_before,
        "load_average_after": report.load_average(),
        "cores_busy_with_other_work": others.cores(),
        "took_s": round(took_s, 1),
    }
    report.write_json(path, rows, run_info)
    lines = [
        f"{run_info['cores']} cores of {run_info['cpu']}; {took_s:.0f} s{' (--quick)' if arguments.quick else ''}",
        f"load average {load_before} before, {run_info['load_average_after']} after",
        f"other programs kept {run_info['cores_busy_with_other_work']} cores busy meanwhile",
        f"data: {source}",
        f"written to {path}",
    ]
    report.print_table(rows, lines)


def _measure(names: list[str], data: list, *, quick: bool, store_folder: Path | None) -> list[Row]:
    report.RESULTS.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    loop = SampledLoop()
    lags: dict[str, dict[str, object]] = {}
    # Not the system's temporary folder: where that is in memory, durable writes would cost nothing.
    with tempfile.TemporaryDirectory(prefix="stores-", dir=report.RESULTS) as folder:
        for name in names:
            began, sampled, others = time.perf_counter(), len(loop.lags_ms), report.OtherWork()
            for row in GROUPS[name](Bench(quick, Path(folder), loop, data, store_folder)):
                rows.append(row)
                print(f"{row.work}: {row.ours} {row.ratio}", flush=True)
            if len(loop.lags_ms) > sampled:
                lags[name] = lag_row(name, loop.lags_ms[sampled:]).details
            print(
                f"[{name}: {time.perf_counter() - began:.0f} s, {others.cores()} cores busy with other work]",
                flush=True,
            )
    if loop.lags_ms:
        together = lag_row("event loop lag, all asynchronous parts together", loop.lags_ms)
        together.details["groups"] = lags
        rows.append(together)
    loop.close()
    return rows


if __name__ == "__main__":
    main()
