"""Parts of the benchmark that run as programs of their own: with few libraries loaded, and on one core if wanted."""

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
    with on_one_core(one_core):  # before the program begins, since libraries count the cores when they are loaded
        program = subprocess.Popen(
            [sys.executable, "-m", module, *map(str, arguments)], stdout=subprocess.PIPE, text=True
        )
    said, _ = program.communicate()
    if program.returncode:
        raise RuntimeError(f"{module} ended with {program.returncode}")
    return json.loads(said.splitlines()[-1])


def rows(module: str, *arguments: object, one_core: bool = False) -> list[Row]:
    """Run a program that hands over rows by `hand_over`."""
    return [Row(**each) for each in run(module, *arguments, one_core=one_core)]


def hand_over(found: list[Row]) -> None:
    """Print rows for the program that waits for them."""
    print(json.dumps([asdict(row) for row in found]))


def environment(**more: str) -> dict[str, str]:
    """This program's environment for another one, with more in it."""
    return {**os.environ, **more}


def pinned() -> bool:
    """Whether this program has one core only."""
    return hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) == 1


@contextmanager
def on_one_core(one_core: bool = True) -> Iterator[None]:
    """Programs begun inside inherit the last core; where a system cannot do that, they have all."""
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
    """Inside, this program leaves the last core to what was begun by `on_one_core`."""
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_setaffinity") else set()
    if len(cores) > 1:
        os.sched_setaffinity(0, cores - {max(cores)})
    try:
        yield
    finally:
        if len(cores) > 1:
            os.sched_setaffinity(0, cores)
