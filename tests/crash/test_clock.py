"""The time of day jumps by a day: what has expired stays out, nothing else is lost, and writes go on."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.crash
StartChild = Callable[..., "subprocess.Popen[str]"]


@pytest.mark.parametrize("index", ["flat", "hnsw"])
def test_the_clock_may_jump_by_a_day(
    start_child: StartChild, shims: Callable[[str], Path], tmp_path: Path, index: str
) -> None:
    """Forth and back under one process, then another process that is born a day early."""
    for act in ("forth", "back"):
        child = start_child("clocked.py", tmp_path / "store", index, act, LD_PRELOAD=str(shims("shifted_clock")))
        out, err = child.communicate()
        assert out == "fine\n", err
