"""A file that appears under its name only when it is whole and flushed."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import IO

from super_advanced_agents._runtime.flushing import fsync_folder
from super_advanced_agents.errors import StoreError, StoreFullError, StoreLockedError


class OutputFile:
    """Written beside its name, as `.<name>.part`, until `keep`; one that was left behind by a kill is written over.

    Attributes:
        file: to write to.

    Raises:
        StoreError: it cannot be written.
        StoreLockedError: another process is writing the same file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._temporary = path.with_name(f".{path.name}.part")
        try:
            self.file: IO[bytes] = self._temporary.open("ab")  # truncated only once it is known to be ours
        except OSError as exc:
            raise translated(exc, path) from exc
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.file.truncate(0)
        except BlockingIOError as exc:
            self.file.close()
            raise StoreLockedError(
                f"another process is writing {str(path)!r}", hint="wait for it, or choose another name"
            ) from exc

    def keep(self) -> None:
        """Give the file its name, replacing what has it."""
        self.file.flush()
        os.fsync(self.file.fileno())
        self._temporary.rename(self._path)
        self.file.close()
        fsync_folder(self._path.parent)

    def drop(self) -> None:
        """Leave nothing behind; what has the name stays as it is."""
        self._temporary.unlink(missing_ok=True)
        try:
            self.file.close()
        except OSError:  # what could not be written while there was no room cannot be flushed now
            return


def translated(exc: OSError, path: object) -> StoreError:
    """The error of the tree for what the operating system said about a file."""
    if exc.errno in {errno.ENOSPC, errno.EDQUOT}:
        return StoreFullError(f"no room on the disk for {str(path)!r}", hint="free some, then try again")
    return StoreError(f"cannot write {str(path)!r}: {exc.strerror}", hint="choose another file")
