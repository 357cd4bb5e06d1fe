"""The folder in which an open keyword index has its files."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from super_advanced_agents._runtime.disk.files import create_folder

_PREFIX = "words-"


class WorkFolder:
    """Make and remove the working folder of a keyword index. Not thread-safe.

    Args:
        parent: the folder that it is made in; None for the system's folder of temporary files.
    """

    def __init__(self, parent: Path | None) -> None:
        self._parent = parent
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    @property
    def path(self) -> Path | None:
        """The path of the folder; None while there is none."""
        return None if self._folder is None else Path(self._folder.name)

    def make(self) -> Path:
        """Create the folder if there is none, and return its path.

        Raises:
            OSError: it cannot be created.
        """
        if self._folder is None:
            if self._parent is not None:
                create_folder(self._parent)
            self._folder = tempfile.TemporaryDirectory(prefix=_PREFIX, dir=self._parent, ignore_cleanup_errors=True)
        return Path(self._folder.name)

    def remove(self) -> None:
        """Remove the folder with its files, if there is one."""
        folder, self._folder = self._folder, None
        if folder is not None:
            folder.cleanup()

    def remove_left_over(self) -> None:
        """Remove the folders of processes that were killed."""
        for folder in () if self._parent is None else self._parent.glob(f"{_PREFIX}*"):
            shutil.rmtree(folder, ignore_errors=True)
