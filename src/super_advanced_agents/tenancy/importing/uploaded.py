"""`UploadedInputs`: an uploaded file as the input of an import."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from super_advanced_agents.tenancy.importing.files import Input, Inputs


class UploadedInputs(Inputs):
    """One uploaded file, whose place is its name.

    The next upload of this name is taken for its new version.

    Args:
        name: the name under which it was uploaded, which is the source of its memories.
        file: the file that holds its bytes.
        stack: closes what is opened.
    """

    def __init__(self, name: str, file: Path, stack: ExitStack) -> None:
        super().__init__([], stack)
        self._name = name
        self._file = file

    def find(self) -> Iterator[Input]:
        """Yield the file."""
        yield Input(self._content(self._file, self._name, named=True), self._file, f"upload:{self._name}")
