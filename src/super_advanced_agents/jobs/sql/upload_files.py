"""`UploadFiles`: the bytes of uploads in files of a private folder."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from super_advanced_agents._runtime.disk.files import fsync_folder, map_os_error, open_private, private_folder
from super_advanced_agents.errors import CorruptStoreError, StoreFullError

_LOCKS = 16
_KEPT_FREE_BYTES = 16 * 1024 * 1024
"""The bytes of the disk that uploads leave to databases, to which a deletion is a write too."""


class UploadFiles:
    """Keep each upload in a file of its own, called by its id, which only this OS user may read.

    Args:
        folder: the folder; created with the first file.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._locks = [threading.Lock() for _ in range(_LOCKS)]

    def lock_of(self, upload_id: str) -> threading.Lock:
        """Return the lock of an upload, held from the check of its size until a part is noted.

        Without it a slower call would write over bytes that another one has acknowledged, or cut them off.
        """
        return self._locks[hash(upload_id) % _LOCKS]

    def write(self, upload_id: str, offset: int, data: bytes) -> None:
        """Write bytes at a place of a file, durable on return.

        Raises:
            StoreFullError: the disk is full.
            CorruptStoreError: bytes before it are missing.
            StoreError: the file cannot be written.
        """
        private_folder(self._folder)
        try:
            if offset:
                self._check_size(upload_id, offset)
            disk = os.statvfs(self._folder)
            if disk.f_bavail * disk.f_frsize < len(data) + _KEPT_FREE_BYTES:
                raise StoreFullError(
                    "no room on the disk for uploads", hint="free some, or delete uploads, then try again"
                )
            descriptor = open_private(self._folder / upload_id, os.O_WRONLY)
            try:
                _write_at(descriptor, offset, data)
            finally:
                os.close(descriptor)
            if offset == 0:
                fsync_folder(self._folder)
        except OSError as exc:
            raise map_os_error(exc, self._folder) from exc

    def whole(self, upload_id: str, size_bytes: int) -> Path:
        """Return a file of this size, cutting what an interrupted part left behind its end.

        Raises:
            CorruptStoreError: bytes are missing.
        """
        path = self._folder / upload_id
        try:
            if size_bytes == 0:
                self.write(upload_id, 0, b"")
            if self._check_size(upload_id, size_bytes) > size_bytes:
                os.truncate(path, size_bytes)
        except OSError as exc:
            raise map_os_error(exc, self._folder) from exc
        return path

    def _check_size(self, upload_id: str, least: int) -> int:
        try:
            found = (self._folder / upload_id).stat().st_size
        except FileNotFoundError:
            raise CorruptStoreError("the file of an upload is gone", hint="upload it again") from None
        if found < least:
            raise CorruptStoreError(f"an upload has lost {least - found} bytes", hint="upload it again")
        return found

    def names(self) -> set[str]:
        """Return the ids of the uploads that have a file."""
        try:
            return {path.name for path in self._folder.iterdir()}
        except OSError:
            return set()

    def remove(self, upload_ids: Iterable[str]) -> None:
        """Delete files; one that cannot be deleted now is left for the next time."""
        for upload_id in upload_ids:
            try:
                (self._folder / upload_id).unlink(missing_ok=True)
            except OSError:
                continue


def _write_at(descriptor: int, offset: int, data: bytes) -> None:
    try:
        done = 0
        while done < len(data):
            done += os.pwrite(descriptor, memoryview(data)[done:], offset + done)
        os.fsync(descriptor)
    except OSError:
        with suppress(OSError):
            os.ftruncate(descriptor, offset)  # what could not be written whole takes no room
        raise
