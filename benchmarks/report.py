"""The table on the screen, and the same with every number behind it as JSON."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.measure import Row

RESULTS = Path(__file__).resolve().parent / "results"
_COLUMNS = ("work", "ours", "reference", "ratio", "target", "reached")
_PACKAGES = (
    *("super-advanced-agents", "onnxruntime", "tokenizers", "faiss-cpu", "numpy", "xllamacpp"),
    *("torch", "sentence-transformers", "chromadb"),
)
_REACHED = {True: "[green]yes[/]", False: "[red]no[/]", None: ""}


def machine() -> dict[str, object]:
    """Where and beside what this was measured."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
    }


def load_average() -> list[float]:
    """Runnable processes of the whole machine over 1, 5 and 15 minutes; this program's own among them."""
    return [round(each, 2) for each in os.getloadavg()]


def print_table(rows: list[Row], lines: list[str]) -> None:
    """Print what was measured; plain and unbroken where it goes to a file."""
    table = Table(*_COLUMNS, title="Benchmark")
    for row in rows:
        table.add_row(row.work, row.ours, row.reference, row.ratio, row.target, _REACHED[row.reached])
    console = Console()
    if not console.is_terminal:
        console.width = 200
    console.print(table)
    for line in lines:
        console.print(line, highlight=False)


def write_json(path: Path, rows: list[Row], about: dict[str, object]) -> None:
    """Write the rows, their numbers, and where they were measured."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [{**{name: getattr(row, name) for name in _COLUMNS}, "details": row.details} for row in rows]
    path.write_text(json.dumps({**about, "rows": lines}, indent=1) + "\n", encoding="utf-8")


def _commit() -> str:
    described = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(described, cwd=RESULTS.parent, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.is_file() else []
    return names[0].partition(":")[2].strip() if names else platform.processor()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
