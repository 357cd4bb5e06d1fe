"""Other processes: one that holds the folder, one that was forked, one that is interrupted."""

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


def test_a_folder_has_one_owner(start_child: StartChild, tmp_path: Path) -> None:
    """A second opener is told who holds it; when the holder was killed, the folder is free at once."""
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


def test_a_forked_child_may_not_use_the_store(tmp_path: Path) -> None:
    """It is told so; its parent goes on, and its way out touches nothing. It does not keep the folder from others."""
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
def test_an_interruption_ends_cleanly(start_child: StartChild, tmp_path: Path, form: str) -> None:
    """Ctrl-C in the middle of adding: the process ends by itself, and all that was told is there."""
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
    told = log.read_text().split()
    with FAISSVectorStore(4, tmp_path / "store") as store:
        assert store.count() >= len(told)
        for start in range(0, len(told), 1_000):
            page = told[start : start + 1_000]
            assert [record.uid for record in store.get(page)] == page
        store.add(np.ones(4))
