"""Input files of `saa import`: find them, guess their formats, and read their lines."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, TypeAlias

from super_advanced_agents.errors import InvalidInputError

Format: TypeAlias = Literal["jsonl", "markdown", "text"]

FORMATS: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".md": "markdown",
    ".markdown": "markdown",
    ".txt": "text",
    ".text": "text",
}
_LINE_BYTES = 1 << 20
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Input:
    """A file to import, or standard input.

    Attributes:
        path: the path of the file; None for standard input.
        source: the `source` of its memories: the path below the folder that was given, the folder's own name first, so
            that it does not depend on the working directory.
        format: the format; None when the first line decides.
        size_bytes: the size; 0 when unknown.
    """

    path: Path | None
    source: str
    format: Format | None
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Line:
    """One line of an imported file: its number, and its text or why it cannot be read."""

    number: int
    text: str
    problem: str = ""


def find_inputs(paths: list[Path], forced: Format | None) -> Iterator[Input]:
    """Yield the files to import: the given files and those in given folders, in stable order.

    All have the format `forced`; when it is None, a file's ending decides.

    In folders, only files with a known ending that are not hidden are read.

    Raises:
        InvalidInputError: a path does not exist.
    """
    for path in paths:
        if str(path) == "-":
            yield Input(None, "stdin", forced, 0)
        elif path.is_dir():
            yield from _find_in_folder(path, forced)
        elif path.exists():
            size = path.stat().st_size if path.is_file() else 0
            yield Input(path, _sanitize_name(path.name), forced or FORMATS.get(path.suffix.lower()), size)
        else:
            raise InvalidInputError(f"there is no file {str(path)!r}", field="paths", hint="check the path")


def _find_in_folder(folder: Path, forced: Format | None) -> Iterator[Input]:
    root = folder.resolve().name
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in sorted(files):
            path = Path(parent) / file
            known = FORMATS.get(path.suffix.lower())
            if known is not None and not file.startswith(".") and path.is_file():
                source = _sanitize_name(str(Path(root) / path.relative_to(folder)))
                yield Input(path, source, forced or known, path.stat().st_size)


def _sanitize_name(name: str) -> str:
    # A file name may hold control characters and any length; a memory's source may not.
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in name)[-1024:]


@contextmanager
def open_input(file_input: Input) -> Iterator[IO[bytes]]:
    """Enter a context that yields a file opened for reading, and closes it at the end.

    Standard input is yielded as it is and stays open.

    Raises:
        InvalidInputError: the file cannot be opened.
    """
    if file_input.path is None:
        yield sys.stdin.buffer
        return
    try:
        file = file_input.path.open("rb")
    except OSError as exc:
        raise InvalidInputError(f"cannot read {str(file_input.path)!r}: {exc.strerror}", field="paths") from exc
    with file:
        yield file


def read_lines(file: IO[bytes], on_bytes: Callable[[int], None]) -> Iterator[Line]:
    """Yield each line of a binary file as a numbered `Line`, decoded and without its line end.

    A line over 1 MiB, with a NUL character or not in UTF-8 is yielded with the reason instead of its text.

    Args:
        file: read once from its beginning, never held in memory as a whole.
        on_bytes: called with the number of bytes of each line.
    """
    number = 0
    while raw := file.readline(_LINE_BYTES):
        number += 1
        size, complete = len(raw), raw.endswith(b"\n") or len(raw) < _LINE_BYTES
        while not complete:
            rest = file.readline(_LINE_BYTES)
            size, complete = size + len(rest), rest.endswith(b"\n") or len(rest) < _LINE_BYTES
        on_bytes(size)
        if size > _LINE_BYTES:
            yield Line(number, "", f"the line is longer than {_LINE_BYTES} bytes")
            continue
        if number == 1:
            raw = raw.removeprefix(_BOM)
        try:
            text = raw.decode().rstrip("\r\n")
        except UnicodeDecodeError as exc:
            yield Line(number, "", f"it is not UTF-8 at byte {exc.start}")
            continue
        if "\0" in text:
            yield Line(number, "", "it holds a NUL character")
            continue
        yield Line(number, text)


def sniff_format(line: Line) -> Format:
    """Guess a file's format from its first line of text: JSON lines if it begins with `{`.

    Any other line means plain text.
    """
    return "jsonl" if line.text.lstrip().startswith("{") else "text"
