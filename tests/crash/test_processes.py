"""Other processes hold, inherit or interrupt a store."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from super_advanced_agents import FAISSVectorStore
from super_advanced_agents.errors import StoreLockedError

pytestmark = pytest.mark.crash
StartChild = Callable[..., "subprocess.Popen[str]"]


def test_store_folder_has_one_owner_until_that_is_killed(start_child: StartChild, tmp_path: Path) -> None:
    """The error names the owner's pid, and a killed owner frees the folder at once."""
    child = start_child("interrupted.py", tmp_path / "store", tmp_path / "log", "sync")
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    with pytest.raises(StoreLockedError, match=rf"process {child.pid}\b") as refused:
        FAISSVectorStore(4, tmp_path / "store")
    assert refused.value.retryable
    child.kill()
    child.wait()
    with FAISSVectorStore(4, tmp_path / "store") as store:
        with pytest.raises(StoreLockedError):
            FAISSVectorStore(4, tmp_path / "store")
        assert store.count() >= 0
    FAISSVectorStore(4, tmp_path / "store").close()


def test_forked_child_cannot_use_the_store_of_its_parent(tmp_path: Path) -> None:
    """The parent goes on; the child's exit touches nothing and does not hold the folder."""
    program = Path(__file__).with_name("forked.py")
    with subprocess.Popen(
        [sys.executable, program, tmp_path / "store"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        lines = sorted(parent.stdout.readline() for _ in range(5))
        assert lines == ["ResourceClosedError True\n"] * 4 + ["parent 2\n"]
        parent.kill()  # the child lives on, waiting for a line
        parent.wait()
        with FAISSVectorStore(4, tmp_path / "store") as store:
            assert [record.uid for record in store.get(["x", "y"])] == ["x", "y"]
            assert parent.stdin is not None
            parent.stdin.close()
            assert parent.stdout.read() == ""  # the child has gone
            store.add(np.ones(4), None, "z")
    with FAISSVectorStore(4, tmp_path / "store") as store:
        assert store.count() == 3


@pytest.mark.parametrize("form", ["sync", "async"])
def test_ctrl_c_ends_a_writing_process_without_loss(start_child: StartChild, tmp_path: Path, form: str) -> None:
    """The process ends by itself, and every acknowledged record is there."""
    log = tmp_path / "log"
    child = start_child("interrupted.py", tmp_path / "store", log, form)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    while not log.exists() or log.stat().st_size < 2_000:
        assert child.poll() is None
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=60)
    assert child.returncode in (1, 130, -signal.SIGINT)
    assert "KeyboardInterrupt" in err
    acknowledged = log.read_text().split()
    with FAISSVectorStore(4, tmp_path / "store") as store:
        assert store.count() >= len(acknowledged)
        for start in range(0, len(acknowledged), 1_000):
            page = acknowledged[start : start + 1_000]
            assert [record.uid for record in store.get(page)] == page
        store.add(np.ones(4))
