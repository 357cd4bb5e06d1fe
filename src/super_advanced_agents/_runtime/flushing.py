"""Flushing of folders, without which new files may not survive a power loss."""

from __future__ import annotations

import os
from pathlib import Path


def fsync_folder(folder: Path) -> None:
    """Flush the entries of a folder to the disk.

    A new file survives a power loss only when its folder was flushed too.
    """
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
