"""Parts of the benchmark that run in processes of their own, if necessary on one core."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from benchmarks.measure import Row


def run(module: str, *arguments: object, one_core: bool = False) -> Any:
    """Run `python -m module arguments` and return the JSON that it prints last."""
    with on_one_core(one_core):  # set before the start, since libraries count the cores when they are loaded
        program = subprocess.Popen(
            [sys.executable, "-m", module, *map(str, arguments)], stdout=subprocess.PIPE, text=True
        )
    output, _ = program.communicate()
    if program.returncode:
        raise RuntimeError(f"{module} ended with {program.returncode}")
    return json.loads(output.splitlines()[-1])


def rows(module: str, *arguments: object, one_core: bool = False) -> list[Row]:
    """Run a program that prints rows by `print_rows`, and return them."""
    return [Row(**members) for members in run(module, *arguments, one_core=one_core)]


def print_rows(results: list[Row]) -> None:
    """Print rows as JSON for the program that waits for them."""
    print(json.dumps([asdict(row) for row in results]))


def environment(**more: str) -> dict[str, str]:
    """Return the environment of this process with more variables."""
    return {**os.environ, **more}


def pinned() -> bool:
    """Return whether this process may use only one core."""
    return hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) == 1


@contextmanager
def on_one_core(one_core: bool = True) -> Iterator[None]:
    """Let processes that start inside the block use the last core only, where the system can."""
    if not one_core or not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


@contextmanager
def off_that_core() -> Iterator[None]:
    """Keep this process off the last core inside the block, which `on_one_core` gives to others."""
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_setaffinity") else set()
    if len(cores) > 1:
        os.sched_setaffinity(0, cores - {max(cores)})
    try:
        yield
    finally:
        if len(cores) > 1:
            os.sched_setaffinity(0, cores)
