"""Child processes that are ended after the test, whatever happens."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

StartChild = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start_child() -> Iterator[StartChild]:
    """Start Python on a program of this folder, with its output piped; it is killed after the test if it still runs."""
    children: list[subprocess.Popen[str]] = []

    def start(program: str, *arguments: object, **environment: str) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name(program)), *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        children.append(child)
        return child

    yield start
    for child in children:
        if child.poll() is None:
            child.kill()
        child.communicate()
