"""The table on the screen, and the same with every number behind it as JSON."""

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


class OtherWork:
    """How much of the machine went to other programs since this was made; Linux only."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._busy_s, self._own_s = _busy_s(), _own_s()

    def cores(self) -> float | None:
        """Cores that others kept busy, on average; figures taken beside more than a tenth of one are doubtful."""
        now = _busy_s()
        if now is None or self._busy_s is None:
            return None
        others_s = now - self._busy_s - (_own_s() - self._own_s)
        return round(max(0.0, others_s) / (time.monotonic() - self._began), 2)


def _busy_s() -> float | None:
    """Seconds all cores together worked since the system started: neither idle nor waiting for a disk."""
    stat = Path("/proc/stat")
    if not stat.is_file():
        return None
    user, nice, system, _, _, *interrupts_and_steal = map(int, stat.read_text().split("\n", 1)[0].split()[1:9])
    return (user + nice + system + sum(interrupts_and_steal)) / os.sysconf("SC_CLK_TCK")


def _own_s() -> float:
    own = os.times()
    return own.user + own.system + own.children_user + own.children_system


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
