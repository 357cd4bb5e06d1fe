"""`StoreFolder`: a store's folder on disk, locked so that only one process uses it."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from super_advanced_agents._runtime.files import create_folder, map_os_error, open_private, restrict
from super_advanced_agents.errors import ConfigurationError, StoreLockedError

LOCK_FILE = "owner.lock"
_OWN_NAMES = (LOCK_FILE, "memory.sqlite3", "index", "words", "backup.json")
"""The names, or their beginnings, of the files and folders in a store's folder."""
_open_locks: set[int] = set()
"""File descriptors of the lock files that this process has open."""


def _close_inherited_locks() -> None:
    for lock in _open_locks:
        os.close(lock)
    _open_locks.clear()


os.register_at_fork(
    after_in_child=_close_inherited_locks
)  # else a child would keep the folder locked when its parent has died


def _restrict_existing(folder: Path) -> None:
    # A folder that also has files of somebody else, such as a home folder, keeps its mode; the store's files do not.
    entries = list(folder.iterdir())
    own = [entry for entry in entries if entry.name.startswith(_OWN_NAMES)]
    restrict([folder, *own] if len(own) == len(entries) else own)
    for entry in own:
        if entry.is_dir() and not entry.is_symlink():
            restrict(entry.iterdir())


class StoreFolder:
    """Create a store's folder if needed, and hold an exclusive lock on it until `release()`.

    Args:
        path: the folder.

    Raises:
        ConfigurationError: `path` is not a path.
        StoreLockedError: another store object holds the lock; the message names its process.
        StoreError: the folder cannot be created or written.
        StoreFullError: the disk is full.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        if not isinstance(path, str | os.PathLike) or not os.fspath(path) or "\0" in str(path):
            raise ConfigurationError(f"path must name a folder, not {path!r}", hint="use path=None to live in memory")
        self.path = Path(path)
        try:
            if not create_folder(self.path):
                _restrict_existing(self.path)
            self._lock = open_private(self.path / LOCK_FILE, os.O_RDWR)
        except OSError as exc:
            raise map_os_error(exc, self.path) from exc
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            owner_pid = self._read_owner_pid()
            os.close(self._lock)
            raise StoreLockedError(
                f"the store at {str(self.path)!r} is in use by process {owner_pid}",
                hint="close it there, or use another folder; `saa serve` shares one store among many clients",
            ) from exc
        except OSError as exc:
            os.close(self._lock)
            raise map_os_error(exc, self.path) from exc
        _open_locks.add(self._lock)
        try:
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)
        except OSError:
            pass  # on a full disk the lock still holds; only its owner's pid is missing from others' messages

    def _read_owner_pid(self) -> str:
        for _ in range(20):  # an owner that has just taken the lock may not have written its pid yet
            pid = os.pread(self._lock, 32, 0).decode(errors="replace").strip()
            if pid:
                return pid
            time.sleep(0.01)
        return "unknown"

    def release(self) -> None:
        """Unlock the folder and close the lock file."""
        # Closing alone is not enough: a child process that was not forked by Python shares the open file and its lock.
        _open_locks.discard(self._lock)
        fcntl.flock(self._lock, fcntl.LOCK_UN)
        os.close(self._lock)
