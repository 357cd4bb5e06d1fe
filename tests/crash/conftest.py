"""Fixtures that start child processes, which end after the test in any case, and disks that are watched."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

StartChild = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start_child(project_root: Path) -> Iterator[StartChild]:
    """Return a function that starts a program of this folder with its ends piped.

    A child that still runs after the test is killed.
    """
    children: list[subprocess.Popen[str]] = []

    def start(program: str, *arguments: object, **environment: str) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, "-m", f"tests.crash.{program.removesuffix('.py')}", *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=project_root,
            env={**os.environ, **environment},
        )
        children.append(child)
        return child

    yield start
    for child in children:
        if child.poll() is None:
            child.kill()
        child.communicate()


def _compiled(name: str, folder: Path) -> Path:
    if shutil.which("gcc") is None:
        pytest.skip(f"{name} is planted below libc with gcc, which is missing")
    library = folder / f"{name}.so"
    source = Path(__file__).with_name(f"{name}.c")
    subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl", "-lpthread"], check=True)
    return library


@pytest.fixture(scope="session")
def shims(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that compiles a C file of this folder once, to be preloaded into a child."""
    folder = tmp_path_factory.mktemp("shims")
    compiled: dict[str, Path] = {}

    def shim(name: str) -> Path:
        if name not in compiled:
            compiled[name] = _compiled(name, folder)
        return compiled[name]

    return shim


class Scripted:
    """Run the script in the child program `scripted.py`, each run in a process of its own."""

    def __init__(self, child: subprocess.Popen[str], folder: Path) -> None:
        self._child = child
        self._folder = folder
        self._runs = 0

    def run(
        self, shape: str, *, store: str = "store", crash_at: int = 0, in_the_middle: bool = False, fault: str = ""
    ) -> tuple[Path, Path, int]:
        """Run the script, and return the watched folder, the log of what was done to it, and the wait status."""
        self._runs += 1
        folder, log = self._folder / f"run-{self._runs}", self._folder / f"log-{self._runs}"
        (folder / "store").mkdir(parents=True)
        order = {
            "folder": str(folder),
            "store": str(folder / store),
            "log": str(log),
            "shape": shape,
            "crash_at": crash_at,
            "in_the_middle": in_the_middle,
            "fault": fault,
        }
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        print(json.dumps(order), file=self._child.stdin, flush=True)
        status = self._child.stdout.readline()
        assert status, self._child.communicate()[1]
        return folder, log, int(status)


@pytest.fixture
def scripted(start_child: StartChild, shims: Callable[[str], Path], tmp_path: Path) -> Scripted:
    """Return a runner of the script on a watched disk."""
    return Scripted(start_child("scripted.py", LD_PRELOAD=str(shims("watched_disk"))), tmp_path)
