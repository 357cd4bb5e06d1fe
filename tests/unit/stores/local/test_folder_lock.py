"""The lock of a store: on its lock file and on its database, so that no other process can open it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.stores.conftest import DIM, vectors

from super_advanced_agents import FAISSVectorStore
from super_advanced_agents.errors import StoreLockedError

Open = Callable[..., FAISSVectorStore]


def _opened_elsewhere(folder: Path) -> str:
    """Open a store in another process; return the error that it says."""
    program = (
        "import sys; from super_advanced_agents import FAISSVectorStore\n"
        f"try: FAISSVectorStore({DIM}, sys.argv[1]).close()\n"
        "except Exception as exc: print(type(exc).__name__, exc)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(folder)], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize("lock", ["in place", "removed", "replaced"])
def test_second_process_is_refused_and_told_the_pid_of_the_first(opened: Open, tmp_path: Path, lock: str) -> None:
    """A lock file that somebody removed does not open the database."""
    opened().add(vectors(1)[0], None, "a")
    file = tmp_path / "store" / "owner.lock"
    if lock != "in place":
        file.unlink()
    if lock == "replaced":
        file.write_text("1\n")
    said = _opened_elsewhere(tmp_path / "store")
    assert said.startswith("StoreLockedError")
    assert f"in use by process {os.getpid()}" in said


def test_folder_with_a_hard_link_to_the_database_cannot_be_opened_beside_it(opened: Open, tmp_path: Path) -> None:
    """A copy made with `cp -al` is the same database under another path."""
    opened().add(vectors(1)[0], None, "a")
    shutil.copytree(tmp_path / "store", tmp_path / "beside", copy_function=os.link)
    (tmp_path / "beside" / "owner.lock").unlink()
    assert f"in use by process {os.getpid()}" in _opened_elsewhere(tmp_path / "beside")
    with pytest.raises(StoreLockedError, match=str(os.getpid())):
        opened(tmp_path / "beside")


def test_refused_opener_in_the_same_process_leaves_sqlites_locks_alone(opened: Open, tmp_path: Path) -> None:
    """Closing a further descriptor of the database would end them, and another process could become its only user."""
    store = opened()
    store.add(vectors(1)[0], None, "a")
    (tmp_path / "store" / "owner.lock").unlink()
    with pytest.raises(StoreLockedError):
        opened()
    locks = Path("/proc/locks").read_text()
    inode = (tmp_path / "store" / "memory.sqlite3").stat().st_ino
    assert [line for line in locks.splitlines() if f":{inode} " in line and "POSIX" in line]


def test_real_copy_of_the_folder_opens_as_a_store_of_its_own(opened: Open, tmp_path: Path) -> None:
    """It has files of its own."""
    opened().add(vectors(1)[0], None, "a")
    shutil.copytree(tmp_path / "store", tmp_path / "copy")
    assert opened(tmp_path / "copy").count() == 1
