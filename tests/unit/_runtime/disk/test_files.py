"""Files and folders that only this OS user may access, whatever the umask is."""

from __future__ import annotations

import fcntl
import logging
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from super_advanced_agents._runtime.disk.files import (
    create_folder,
    open_private,
    private_file,
    private_folder,
    restrict,
)
from super_advanced_agents.errors import StoreError


@pytest.fixture(params=[0o000, 0o022, 0o777], ids=["all", "usual", "none"])
def _umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def mode_of(path: Path) -> int:
    """The permission bits of a file or folder."""
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.mark.usefixtures("_umask")
def test_new_files_and_folders_are_for_their_owner_alone(tmp_path: Path) -> None:
    """The modes are 0700 and 0600 under every umask, for missing parents too."""
    assert create_folder(tmp_path / "a" / "b")
    assert not create_folder(tmp_path / "a" / "b")
    private_file(tmp_path / "a" / "file")
    os.close(open_private(tmp_path / "a" / "opened", os.O_WRONLY))
    modes = {path.name: mode_of(path) for path in (tmp_path / "a", *(tmp_path / "a").iterdir())}
    assert modes == {"a": 0o700, "b": 0o700, "file": 0o600, "opened": 0o600}


def test_existing_files_and_folders_are_restricted_with_a_log_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What others could read is restricted when it is used again, and a log line names it."""
    folder, file = tmp_path / "folder", tmp_path / "folder" / "file"
    folder.mkdir(mode=0o755)
    file.touch(mode=0o644)
    with caplog.at_level(logging.WARNING):
        private_folder(folder)
        restrict([file, tmp_path / "missing"])
    assert (mode_of(folder), mode_of(file)) == (0o700, 0o600)
    assert [record.path for record in caplog.records] == [str(folder), str(file)]
    caplog.clear()
    private_folder(folder)
    restrict([file])
    assert not caplog.records


def test_restricting_follows_no_symbolic_link(tmp_path: Path) -> None:
    """A link in a data folder does not change the mode of a file elsewhere."""
    outside, link = tmp_path / "outside", tmp_path / "link"
    outside.touch(mode=0o644)
    link.symlink_to(outside)
    restrict([link])
    assert mode_of(outside) == 0o644


def test_restricting_a_file_keeps_the_locks_of_this_process_on_it(tmp_path: Path) -> None:
    """SQLite's POSIX locks would be lost if the file were opened and closed once more."""
    path = tmp_path / "database"
    path.touch(mode=0o644)
    with path.open("rb+") as locked:
        fcntl.lockf(locked, fcntl.LOCK_EX)
        private_file(path)
        program = (
            "import fcntl, sys\n"
            "with open(sys.argv[1], 'rb+') as other:\n"
            "    fcntl.lockf(other, fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
        )
        # Not `os.fork`: gRPC, once used in this process, then opens files of its own anew.
        done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=False)
        assert "BlockingIOError" in done.stderr, "another process got the lock"


def test_file_in_the_place_of_a_folder_is_an_error_with_a_sentence(tmp_path: Path) -> None:
    """A data folder below a file cannot be created."""
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StoreError, match="is not a folder"):
            private_folder(path)
