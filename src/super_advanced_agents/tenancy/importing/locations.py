"""Locations of imported files: which path the id in a memory's metadata is a digest of."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from super_advanced_agents._runtime.disk.files import open_private, private_folder
from super_advanced_agents.errors import StoreError

_MAX_FILES = 200_000


def location_file(data_dir: Path, *, at_server: bool) -> Path | None:
    """Return the file with the paths of files that were imported on this machine.

    Of imports into a data folder it is in its cache, of those into servers in the user's; None without a home folder.
    """
    if not at_server:
        return data_dir / "cache" / ".imported-files"
    from super_advanced_agents.tenancy.data_folder.place import user_cache_dir

    cache = user_cache_dir()
    return None if cache is None else cache / "imported-files"


class Locations:
    """Remember the paths of the files that were imported on this machine, by their ids.

    They stand in a cache and not in the memories, whose readers would learn them. Without the cache an
    import still knows the files of the folders that it looks into.

    Args:
        file: where they are kept; None to keep them in memory only.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._paths = dict(_read(file)) if file is not None else {}
        self._changed = False

    def get(self, file_id: str) -> str | None:
        """Return the path of a file when it is known."""
        return self._paths.get(file_id)

    def add(self, file_id: str, path: str) -> None:
        """Remember the path of a file."""
        if path and self._paths.get(file_id) != path:
            self._paths[file_id] = path
            self._changed = True

    def save(self) -> None:
        """Write them to the disk; a disk that takes nothing more is no reason to fail."""
        if self._file is None or not self._changed:
            return
        new = self._file.with_suffix(".new")
        with suppress(OSError, StoreError):
            private_folder(self._file.parent)
            with os.fdopen(open_private(new, os.O_WRONLY | os.O_TRUNC), "w", encoding="ascii") as file:
                for file_id, path in list(self._paths.items())[-_MAX_FILES:]:
                    file.write(json.dumps([file_id, path]) + "\n")
            new.replace(self._file)


def _read(file: Path) -> Iterator[tuple[str, str]]:
    try:
        with file.open(encoding="ascii", errors="replace") as lines:
            for line in lines:
                with suppress(ValueError):
                    file_id, path = json.loads(line)
                    if isinstance(file_id, str) and isinstance(path, str):
                        yield file_id, path
    except OSError:
        return
