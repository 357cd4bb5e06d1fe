"""The folder of a store on disk: who owns it, and how the operating system's refusals are told."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from super_advanced_agents._runtime.files import translated
from super_advanced_agents._runtime.flushing import fsync_folder
from super_advanced_agents.errors import ConfigurationError, StoreLockedError

LOCK_FILE = "owner.lock"
_held: set[int] = set()
"""The lock files this process has open."""


def _let_go() -> None:
    for lock in _held:
        os.close(lock)
    _held.clear()


os.register_at_fork(after_in_child=_let_go)  # else a child would keep the folder locked when its parent has died


class StoreFolder:
    """One store's folder, owned by this process until `release()`.

    Raises:
        StoreLockedError: another store object owns it; the message names the process.
        StoreError: it cannot be made or written.
        StoreFullError: no room on the disk.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        if not isinstance(path, str | os.PathLike) or not os.fspath(path) or "\0" in str(path):
            raise ConfigurationError(f"path must name a folder, not {path!r}", hint="use path=None to live in memory")
        self.path = Path(path)
        try:
            made = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
            self.path.mkdir(parents=True, exist_ok=True)
            for folder in made:
                fsync_folder(folder.parent)  # a new folder survives a power loss only then
            self._lock = os.open(self.path / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise translated(exc, self.path) from exc
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            holder = self._holder()
            os.close(self._lock)
            raise StoreLockedError(
                f"the store at {str(self.path)!r} is in use by process {holder}",
                hint="close it there, or use another folder; `saa serve` shares one store among many clients",
            ) from exc
        except OSError as exc:
            os.close(self._lock)
            raise translated(exc, self.path) from exc
        _held.add(self._lock)
        try:
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)
        except OSError:
            pass  # on a full disk the lock still holds; only the pid in another opener's message is lost

    def _holder(self) -> str:
        """Who has the lock; waits a moment for one that has just taken it and not yet signed."""
        for _ in range(20):
            signed = os.pread(self._lock, 32, 0).decode(errors="replace").strip()
            if signed:
                return signed
            time.sleep(0.01)
        return "unknown"

    def release(self) -> None:
        """Give the folder up; explicitly, because a process that was forked below Python keeps the same open file."""
        _held.discard(self._lock)
        fcntl.flock(self._lock, fcntl.LOCK_UN)
        os.close(self._lock)
