"""The size that the files of an open SQLite database have at least, read from their headers.

Other connections may shorten the files: a checkpoint empties the write-ahead log once all of it is in the database, and
a VACUUM shortens the database. Source: https://sqlite.org/walformat.html and https://sqlite.org/fileformat.html.
"""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from pathlib import Path

Inode = tuple[int, int]
"""The device and the number of a file, which identify it while it exists."""

_DATABASE_HEADER = struct.Struct(">16sH10xI")  # magic, page size, pages
_INDEX_HEADER = struct.Struct("=12xBxHI28x")  # initialized, page size, frames of the log
_LOG_HEADER_BYTES, _FRAME_HEADER_BYTES = 32, 24


def inode_of(status: os.stat_result) -> Inode:
    """Return what identifies the file of a `stat` result while it exists."""
    return status.st_dev, status.st_ino


def least_database_bytes(database: Inode) -> int | None:
    """Return the size of a database after its last checkpoint; None without a readable header."""
    header = _read_open(database, _DATABASE_HEADER.size)
    if header is None or not header.startswith(b"SQLite format 3\0"):
        return None
    _, page_bytes, pages = _DATABASE_HEADER.unpack(header)
    return int(pages) * _page_bytes(page_bytes)


def least_log_bytes(log_index: Inode) -> int | None:
    """Return the size of a write-ahead log with all frames that its index (`-shm`) counts.

    0 once the log was restarted: then the database has all of it. None if the index cannot be read.
    """
    headers = _read_open(log_index, 2 * _INDEX_HEADER.size)
    if headers is None:
        return None
    first, second = headers[: _INDEX_HEADER.size], headers[_INDEX_HEADER.size :]
    initialized, page_bytes, frames = _INDEX_HEADER.unpack(first)
    if first != second or not initialized:  # a commit is just changing it
        return None
    return _LOG_HEADER_BYTES + frames * (_FRAME_HEADER_BYTES + _page_bytes(page_bytes)) if frames else 0


def _page_bytes(stored: int) -> int:
    return 65_536 if stored == 1 else stored


def _read_open(inode: Inode, length: int) -> bytes | None:
    # By a descriptor of SQLite: a process loses its locks (`fcntl`) on a file when it closes any descriptor of it.
    for descriptor in Path("/dev/fd").iterdir():
        with suppress(OSError):
            if inode_of(os.fstat(int(descriptor.name))) == inode:
                content = os.pread(int(descriptor.name), length, 0)
                return content if len(content) == length else None
    return None
