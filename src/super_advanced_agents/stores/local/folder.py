"""`StoreFolder`: a store's folder on disk, locked so that only one process uses it."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path

from super_advanced_agents._runtime.disk.files import create_folder, map_os_error, open_private, restrict
from super_advanced_agents._runtime.disk.watched_files import check_unharmed
from super_advanced_agents.config import STORE_DATABASE
from super_advanced_agents.errors import ConfigurationError, CorruptStoreError, StoreLockedError

LOCK_FILE = "owner.lock"
_OWN_NAMES = (LOCK_FILE, STORE_DATABASE, "index", "words", "backup.json")
"""The names, or their beginnings, of the files and folders in a store's folder."""
_open_locks: dict[int, tuple[int, int]] = {}
"""The file descriptors that hold locks of this process, each with the inode of its file."""


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


def lost_database(file: Path) -> bool:
    """Return whether a database of a store's folder had content before, and is missing or empty.

    Args:
        file: the database; the lock beside it names the databases that had content when they were last used.
    """
    try:
        return not (file.exists() and file.stat().st_size) and file.name in _used_databases(file.parent)
    except OSError:
        return False


def _used_databases(folder: Path) -> list[str]:
    # The lines after the owner's pid.
    return (folder / LOCK_FILE).read_text(errors="replace").splitlines()[1:]


class StoreFolder:
    """Create a store's folder if needed, and hold an exclusive lock on it until `release()`.

    Args:
        path: the folder.
        database: the name of a database in the folder, created if missing, to be locked as well: the lock file may be
            removed, and a folder copied with hard links. SQLite's own locks are of another kind (`fcntl`), which this
            one (`flock`) does not meet. Since a process loses its `fcntl` locks on a file when it closes any descriptor
            of it, `release` must come after SQLite has closed the database.

    Raises:
        ConfigurationError: `path` is not a path.
        StoreLockedError: another store object holds the lock; the message names its process.
        CorruptStoreError: the database had content when it was last used, and is missing or empty.
        StoreError: the folder cannot be created or written.
        StoreFullError: the disk is full.
    """

    def __init__(self, path: str | os.PathLike[str], *, database: str | None = None) -> None:
        if not isinstance(path, str | os.PathLike) or not os.fspath(path) or "\0" in str(path):
            raise ConfigurationError(f"path must name a folder, not {path!r}", hint="use path=None to live in memory")
        self.path = Path(path)
        self._locks: list[int] = []
        try:
            if not create_folder(self.path):
                _restrict_existing(self.path)
        except OSError as exc:
            raise map_os_error(exc, self.path) from exc
        self._lock(LOCK_FILE)
        self._database = database
        try:
            self._used = self._read_used()
            if database is not None:
                self._check_not_lost(self.path / database)
                self._lock(database)
        except BaseException:
            self.release()
            raise
        self._write_owner()

    def _lock(self, name: str) -> None:
        file = self.path / name
        try:
            if name != LOCK_FILE and file.exists() and _inode(file.stat()) in _open_locks.values():
                raise self._locked_by(os.getpid())  # not even opened: closing it would end the owner's locks
            lock = open_private(file, os.O_RDWR)
        except OSError as exc:
            raise map_os_error(exc, self.path) from exc
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            owner = self._read_owner_pid() if name == LOCK_FILE else _find_owner(_inode(os.fstat(lock)))
            os.close(lock)
            raise self._locked_by(owner) from exc
        except OSError as exc:
            os.close(lock)
            raise map_os_error(exc, self.path) from exc
        self._locks.append(lock)
        _open_locks[lock] = _inode(os.fstat(lock))

    def _read_used(self) -> list[str]:
        with suppress(OSError):
            return _used_databases(self.path)
        return []

    def _check_not_lost(self, file: Path) -> None:
        if not lost_database(file):
            return
        check_unharmed(file)  # knows more where a process has seen it
        raise CorruptStoreError(
            f"{str(file)!r} is missing or empty, though it had content",
            hint=f"put the file back or restore a backup; to begin anew, remove {LOCK_FILE!r} beside it",
        )

    def _locked_by(self, pid: int | str) -> StoreLockedError:
        return StoreLockedError(
            f"the store at {str(self.path)!r} is in use by process {pid}",
            hint="close it there, or use another folder; `saa serve` shares one store among many clients",
        )

    def _write_owner(self) -> None:
        # Over the former content and cut afterwards, so that a kill in between leaves the names of the databases.
        if len(self._locks) > 1 and self._database not in self._used and os.fstat(self._locks[1]).st_size:
            self._used = [*self._used, str(self._database)]
        lines = "".join(f"{line}\n" for line in (os.getpid(), *self._used)).encode()
        with suppress(OSError):  # on a full disk the lock still holds; only others' messages lack its owner's pid
            os.ftruncate(self._locks[0], os.pwrite(self._locks[0], lines, 0))

    def _read_owner_pid(self) -> str:
        for _ in range(20):  # an owner that has just taken the lock may not have written its pid yet
            with suppress(OSError):
                pid = (self.path / LOCK_FILE).read_text(errors="replace").partition("\n")[0].strip()[:32]
                if pid:
                    return pid
            time.sleep(0.01)
        return "unknown"

    def release(self) -> None:
        """Unlock the folder and its database, and close the files."""
        if self._database not in self._used and len(self._locks) > 1:
            self._write_owner()
        # Closing alone is not enough: a child process that was not forked by Python shares the open file and its lock.
        for lock in reversed(self._locks):
            del _open_locks[lock]
            fcntl.flock(lock, fcntl.LOCK_UN)
            os.close(lock)
        self._locks.clear()


def _inode(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _find_owner(inode: tuple[int, int]) -> str:
    # From the kernel's list, for a lock whose file holds no pid.
    device = f"{os.major(inode[0]):02x}:{os.minor(inode[0]):02x}:{inode[1]}"
    with suppress(OSError, ValueError):
        for line in Path("/proc/locks").read_text().splitlines():
            fields = line.split()
            if fields[1] == "FLOCK" and fields[5] == device and int(fields[4]) > 0:
                return fields[4]
    return "unknown"
