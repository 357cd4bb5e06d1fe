"""The table of results, and the JSON file with all numbers behind it."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
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
    *("pyroaring", "tantivy", "torch", "sentence-transformers", "chromadb", "lancedb", "qdrant-edge-py"),
)
_REACHED = {True: "[green]yes[/]", False: "[red]no[/]", None: ""}


def machine() -> dict[str, object]:
    """Return the machine, the commit and the package versions of a run."""
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
    """Return the machine's load averages over 1, 5 and 15 minutes; this process counts too."""
    return [round(average, 2) for average in os.getloadavg()]


class OtherWork:
    """Processor time of other programs since this object was made; Linux only."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._busy_s, self._own_s = _busy_s(), _own_s()

    def cores(self) -> float | None:
        """Return the mean number of cores that other programs kept busy; None where it is unknown.

        Figures measured beside more than a tenth of a core are doubtful.
        """
        now = _busy_s()
        if now is None or self._busy_s is None:
            return None
        others_s = now - self._busy_s - (_own_s() - self._own_s)
        return round(max(0.0, others_s) / (time.monotonic() - self._began), 2)


def _busy_s() -> float | None:
    # Seconds of all cores since the system started, without those that were idle or waiting for a disk.
    stat = Path("/proc/stat")
    if not stat.is_file():
        return None
    user, nice, system, _, _, *interrupts_and_steal = map(int, stat.read_text().split("\n", 1)[0].split()[1:9])
    return (user + nice + system + sum(interrupts_and_steal)) / os.sysconf("SC_CLK_TCK")


def _own_s() -> float:
    own = os.times()
    return own.user + own.system + own.children_user + own.children_system


def print_table(rows: list[Row], lines: list[str]) -> None:
    """Print the rows as a table, and lines below it; 200 columns wide where it goes to a file."""
    table = Table(*_COLUMNS, title="Benchmark")
    for row in rows:
        table.add_row(row.work, row.ours, row.reference, row.ratio, row.target, _REACHED[row.reached])
    console = Console()
    if not console.is_terminal:
        console.width = 200
    console.print(table)
    for line in lines:
        console.print(line, highlight=False)


def write_json(path: Path, rows: list[Row], run_info: dict[str, object]) -> None:
    """Write the rows, their details, and the description of the run as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [{**{name: getattr(row, name) for name in _COLUMNS}, "details": row.details} for row in rows]
    path.write_text(json.dumps({**run_info, "rows": lines}, indent=1) + "\n", encoding="utf-8")


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
