"""The progress of a migration on disk, by which it goes on after it was killed."""

from __future__ import annotations

import fcntl
import json
import os
from hashlib import blake2b
from pathlib import Path
from typing import Any

from super_advanced_agents._runtime.disk.files import fsync_folder, map_os_error, open_private, private_folder
from super_advanced_agents.errors import StoreLockedError
from super_advanced_agents.stores.migration.records import Mark


class Journal:
    """Hold the marks of a migration's stores, durably; one process has it at a time.

    Args:
        folder: the folder of all journals.
        source: the URL of the source; only its digest is kept, since it may hold a password.
        target: the URL of the target.

    Attributes:
        is_new: whether no migration between these two was begun.

    Raises:
        StoreLockedError: another process carries out this migration.
        StoreError: the folder cannot be written.
    """

    def __init__(self, folder: Path, source: str, target: str) -> None:
        name = blake2b(f"{source}\0{target}".encode(), digest_size=12).hexdigest()
        self._file = folder / f"{name}.json"
        try:
            private_folder(folder)
            self._lock = open_private(folder / f"{name}.lock", os.O_RDWR)
        except OSError as exc:
            raise map_os_error(exc, folder) from exc
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            os.close(self._lock)
            raise StoreLockedError(
                "another process carries out this migration", hint="wait for it, or end it; it goes on where it was"
            ) from exc
        self._marks: dict[str, Mark] = {}
        self.is_new = True
        self._read()

    def mark(self, part: str) -> Mark:
        """Return the position up to which a part was copied."""
        return self._marks.get(part, [])

    def save(self, part: str, mark: Mark) -> None:
        """Note durably that a part was copied up to a position. Blocks.

        Raises:
            StoreError: the disk takes nothing more.
        """
        self._marks[part] = mark
        new = self._file.with_suffix(".new")
        try:
            with os.fdopen(open_private(new, os.O_WRONLY | os.O_TRUNC), "w", encoding="ascii") as file:
                json.dump({"marks": self._marks}, file)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._file)
            fsync_folder(self._file.parent)
        except OSError as exc:
            raise map_os_error(exc, self._file) from exc
        self.is_new = False

    def close(self) -> None:
        """Let other processes have it."""
        os.close(self._lock)

    def _read(self) -> None:
        # A file that is damaged or missing only has the records copied again, into a target that is checked first.
        try:
            value: Any = json.loads(self._file.read_text(encoding="ascii"))
            self._marks = {str(part): list(mark) for part, mark in value["marks"].items()}
            self.is_new = False
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return
