"""Watching the files of an open database, which others may remove, replace, empty or cut.

SQLite does not notice: it goes on writing to a file that no path leads to any more, or past a hole in its log, and what
it committed is gone with the process. So paths are compared with the open files before a write, and once more before
its acknowledgement. What other connections do by SQLite itself, such as a checkpoint or VACUUM, is no change in this
sense.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from super_advanced_agents._runtime.disk.files import fsync_folder, raise_if_out_of_descriptors
from super_advanced_agents._runtime.disk.sqlite_format import Inode, inode_of, least_database_bytes, least_log_bytes
from super_advanced_agents.errors import CorruptStoreError, StoreError
from super_advanced_agents.telemetry import get_logger

_log = get_logger("store")
_DAMAGED = "-damaged"
_SAVED = "; the database has its content"
"""The end of the note of a lost log whose content was saved; no log there is its own."""

_RESTART = "start the process again once its files are in order; `saa doctor` has details"
_LOOKS, _PAUSE_S = 4, 0.005
"""The looks of one check at a file that seems cut or unreachable, and the pause in seconds."""


@dataclass(slots=True)
class _Watched:
    path: str
    inode: Inode
    size: int
    least_bytes: Callable[[], int | None]

    def describe_change(self) -> str | None:
        # None while the path leads to the same file and nothing of it was cut off.
        try:
            now = _stat(self.path)
        except FileNotFoundError:
            folder = os.path.dirname(self.path)  # noqa: PTH120
            return "was removed" if os.path.isdir(folder) else "was removed or moved with its folder"  # noqa: PTH112
        if inode_of(now) != self.inode:
            return "was replaced by another file"
        if now.st_size < self.size and self._is_cut():
            return "was cut" if now.st_size else "was emptied"
        self.size = now.st_size
        return None

    def _is_cut(self) -> bool:
        # The least size is read first: SQLite raises it after it has written, and lowers it before it truncates.
        for look in range(_LOOKS):
            time.sleep(look * _PAUSE_S)
            least = self.least_bytes()
            if least is not None and _stat(self.path).st_size >= least:
                return False
        return True


class DatabaseWatch:
    """Watch an open database's file, its write-ahead log and its lock by inode and size.

    After the first change by others every check fails, until the database is opened again. The change is logged, and
    noted in a file beside the database, so that it cannot be opened unnoticed: acknowledged writes may be missing. The
    other files are still watched.

    Args:
        file: the database, which a connection of this process has open.
        lock: the file of the lock that guards it; None if there is none.
        note: whether a change is noted beside the database. False for one that several processes share, each of which
            finds out for itself.

    Attributes:
        log_lost: True if only the path of the write-ahead log has changed, so that its content can be saved.
    """

    def __init__(self, file: Path, *, lock: Path | None = None, note: bool = True) -> None:
        self._file = file
        self._note = note
        self._log = file.with_name(f"{file.name}-wal")
        self._guard = threading.Lock()
        self._failure: str | None = None
        self._database_lost = False
        self.log_lost = False
        log_index = file.with_name(f"{file.name}-shm")
        self._watched = [
            *_watched(file, least_database_bytes),
            *_watched(self._log, partial(_least_log_bytes, log_index)),
            *(_watched(lock, lambda _: 0) if lock is not None else []),
        ]

    def check(self, *, committed: bool = False) -> None:
        """Raise if a file of the database was removed, replaced, emptied or cut by others.

        It takes one `stat` for each file. Any thread may call it.

        Args:
            committed: let a file pass that cannot be reached at present, for a write that is already committed.

        Raises:
            StoreError: one was, and the message names it; or one cannot be reached, and a later check may find it.
            OverloadedError: too many files are open to look at one.
        """
        with self._guard:
            for watched in list(self._watched):
                try:
                    change = watched.describe_change()
                except OSError as exc:
                    if committed or self._failure is not None:
                        continue
                    raise_if_out_of_descriptors(exc)
                    raise StoreError(
                        f"the file {Path(watched.path).name!r} cannot be reached: {exc.strerror}",
                        hint="try again; check the permissions and the disk if it stays so",
                        retryable=True,
                    ) from exc
                if change is not None:
                    self._watched.remove(watched)
                    self._fail(Path(watched.path), change)
            failure = self._failure
        if failure is not None:
            raise StoreError(f"{failure} under this process, so writes have stopped", hint=_RESTART)

    def close(self) -> None:
        """Stop watching, before the connections are closed and SQLite deletes the log itself."""
        with self._guard:
            self._watched = []

    def mark_log_saved(self) -> None:
        """Note that a lost write-ahead log's content is in the database, and no log belongs to it."""
        with self._guard:
            if self.log_lost:
                self.log_lost = False
                _write_note(self._file, f"{self._failure} at process {os.getpid()}{_SAVED}")

    def _fail(self, path: Path, change: str) -> None:
        _log.error("store.files_changed", extra={"file": str(path), "change": change})
        if path == self._file:
            self._database_lost, self.log_lost = True, False
        elif path == self._log and not self._database_lost:
            self.log_lost = change in ("was removed", "was replaced by another file")
        elif self._failure is not None:
            return
        self._failure = f"the file {path.name!r} {change}"
        if self._note and path in (self._file, self._log):
            _write_note(self._file, f"{self._failure} at process {os.getpid()}")


def check_unharmed(file: Path) -> None:
    """Raise if a database lost a file under the process that used it last.

    Called before it is opened again.

    Raises:
        CorruptStoreError: it did, and its use was not confirmed since; or its file is missing while
            its write-ahead log is there, which SQLite would delete.
    """
    missing = not _has_content(file)
    log = file.with_name(f"{file.name}-wal")
    for note in (_note_of(file), *([_note_of(file.parent)] if missing else [])):
        with suppress(FileNotFoundError):
            reason = note.read_text(errors="replace").partition("\n")[0]
            if missing or not reason.endswith(_SAVED):
                raise CorruptStoreError(
                    f"{reason}, so acknowledged writes may be missing",
                    hint=f"put the files back or restore a backup; then remove {note.name!r}, which stands beside them",
                )
            if _has_content(log):
                raise CorruptStoreError(
                    f"{log.name!r} is not the log of this database, whose own one was lost",
                    hint=f"move {log.name!r} away: the database has all that was acknowledged",
                )
    # Asked again, as another connection may have made both meanwhile: the database has content before its log has.
    if missing and _has_content(log) and not _has_content(file):
        raise CorruptStoreError(
            f"the file {file.name!r} is missing or empty, but its write-ahead log is there",
            hint=f"put the file back or restore a backup; to begin anew, remove {log.name!r}",
        )


def remove_settled_note(file: Path) -> None:
    """Remove the note of a database that `check_unharmed` lets pass, before it has a new log."""
    with suppress(OSError):
        _note_of(file).unlink(missing_ok=True)


def _has_content(file: Path) -> bool:
    return file.exists() and file.stat().st_size > 0


def _watched(path: Path, least_bytes: Callable[[Inode], int | None]) -> list[_Watched]:
    if not path.exists():
        return []
    status = path.stat()
    return [_Watched(str(path), inode_of(status), status.st_size, partial(least_bytes, inode_of(status)))]


def _least_log_bytes(index: Path, _: Inode) -> int | None:
    with suppress(FileNotFoundError):
        return least_log_bytes(inode_of(index.stat()))
    return None


def _stat(path: str) -> os.stat_result:
    for look in range(1, _LOOKS):
        try:
            return os.stat(path)  # noqa: PTH116  # `Path.stat` takes three times as long
        except FileNotFoundError:
            raise
        except OSError:
            time.sleep(look * _PAUSE_S)
    return os.stat(path)  # noqa: PTH116


def _note_of(path: Path) -> Path:
    return path.with_name(f"{path.name}{_DAMAGED}")


def _write_note(file: Path, reason: str) -> None:
    note = _note_of(file) if file.parent.is_dir() else _note_of(file.parent)
    with suppress(OSError):  # the log has the line
        fd = os.open(note, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.truncate(fd, os.write(fd, f"{reason}\n".encode()))
            os.fsync(fd)
        finally:
            os.close(fd)
        fsync_folder(note.parent)
