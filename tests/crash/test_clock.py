"""The time of day jumps by a day under a store."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.crash
StartChild = Callable[..., "subprocess.Popen[str]"]


@pytest.mark.parametrize("index", ["flat", "hnsw"])
def test_store_loses_nothing_when_the_clock_jumps_by_a_day(
    start_child: StartChild, shims: Callable[[str], Path], tmp_path: Path, index: str
) -> None:
    """One process sees it jump forth and back; then another one starts a day early."""
    for act in ("forth", "back"):
        child = start_child("clocked.py", tmp_path / "store", index, act, LD_PRELOAD=str(shims("shifted_clock")))
        out, err = child.communicate()
        assert out == "fine\n", err
