"""Child processes that are ended after the test, whatever happens, and disks that are watched."""

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
    """Start Python on a program of this folder, with its ends piped; it is killed after the test if it still runs."""
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
    """Compile a C file of this folder, to be preloaded into a child, once for each test process."""
    folder = tmp_path_factory.mktemp("shims")
    made: dict[str, Path] = {}

    def shim(name: str) -> Path:
        if name not in made:
            made[name] = _compiled(name, folder)
        return made[name]

    return shim


class Scripted:
    """The child program `scripted.py`: runs of the script, one after another, each in a process of its own."""

    def __init__(self, child: subprocess.Popen[str], folder: Path) -> None:
        self._child = child
        self._folder = folder
        self._runs = 0

    def run(
        self, shape: str, *, store: str = "store", crash_at: int = 0, half: bool = False, plant: str = ""
    ) -> tuple[Path, Path, int]:
        """Returns the folder that was watched, the log of what was done to it, and the wait status."""
        self._runs += 1
        folder, log = self._folder / f"run-{self._runs}", self._folder / f"log-{self._runs}"
        (folder / "store").mkdir(parents=True)
        order = {
            "folder": str(folder),
            "store": str(folder / store),
            "log": str(log),
            "shape": shape,
            "crash_at": crash_at,
            "half": half,
            "plant": plant,
        }
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        print(json.dumps(order), file=self._child.stdin, flush=True)
        status = self._child.stdout.readline()
        assert status, self._child.communicate()[1]
        return folder, log, int(status)


@pytest.fixture
def scripted(start_child: StartChild, shims: Callable[[str], Path], tmp_path: Path) -> Scripted:
    """Runs of the script on a watched disk."""
    return Scripted(start_child("scripted.py", LD_PRELOAD=str(shims("watched_disk"))), tmp_path)
