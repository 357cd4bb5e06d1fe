"""Checksums and flushing of files, and conversion of `OSError` to this package's errors."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

from super_advanced_agents.errors import StoreError, StoreFullError


def sha256_of(file: Path) -> str:
    """Return the SHA-256 checksum of a file in hexadecimal.

    The file is read in parts, so a large file needs no more memory.
    """
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def map_os_error(exc: OSError, path: Path) -> StoreError:
    """Convert an `OSError` on `path` to this package's `StoreError`, and return it."""
    if exc.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreFullError(f"no room on the disk of {str(path)!r}", hint="free some, then try again")
    if exc.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return StoreError(
            f"the folder {str(path)!r} cannot be written", hint="choose another, or change its permissions"
        )
    if exc.errno in (errno.ENOTDIR, errno.EEXIST):
        return StoreError(f"{str(path)!r} is not a folder", hint="choose another path")
    return StoreError(f"the folder {str(path)!r} cannot be used: {exc.strerror}")


def fsync_folder(folder: Path) -> None:
    """Sync a folder with `fsync`, so that new and renamed files in it survive a power loss."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
