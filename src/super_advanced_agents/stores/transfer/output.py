"""`OutputFile`: a file that appears under its final name only once it is complete."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO

from super_advanced_agents._runtime.disk.files import fsync_folder, map_os_error, open_private
from super_advanced_agents.errors import StoreLockedError


class OutputFile:
    """Open a temporary file `.<name>.part`, which `commit` renames to the final name.

    A part that a crash left behind is overwritten.

    Attributes:
        path: the final name.
        file: the open file to write to.

    Raises:
        StoreError: the file cannot be written.
        StoreLockedError: another process is writing the same file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._temporary = path.with_name(f".{path.name}.part")
        try:
            # Opened without O_TRUNC: it is truncated only once it is locked.
            self.file: IO[bytes] = os.fdopen(open_private(self._temporary, os.O_WRONLY | os.O_APPEND), "ab")
        except OSError as exc:
            raise map_os_error(exc, path) from exc
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.file.truncate(0)
        except BlockingIOError as exc:
            self.file.close()
            raise StoreLockedError(
                f"another process is writing {str(path)!r}", hint="wait for it, or choose another name"
            ) from exc

    def commit(self) -> None:
        """Flush the temporary file to disk and rename it, replacing any file of the final name."""
        self.file.flush()
        os.fsync(self.file.fileno())
        self._temporary.rename(self.path)
        self.file.close()
        fsync_folder(self.path.parent)

    def discard(self) -> None:
        """Delete the temporary file; an existing file with the final name is not changed."""
        self._temporary.unlink(missing_ok=True)
        try:
            self.file.close()
        except OSError:  # after a full disk, closing fails to flush the buffer again
            return
