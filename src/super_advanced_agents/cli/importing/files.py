"""Which files an import reads, in what format, and their lines, however long they are."""

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
    """One file to import.

    Attributes:
        path: where it is; None for standard input.
        source: how memories name it: its path below the folder that was given, the folder's own name first, so that it
            does not depend on where the command was started.
        format: None when its first line must tell.
        size_bytes: 0 when unknown.
    """

    path: Path | None
    source: str
    format: Format | None
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Line:
    """One line: its number, and its text or why it has none."""

    number: int
    text: str
    trouble: str = ""


def find_inputs(paths: list[Path], forced: Format | None) -> Iterator[Input]:
    """The files below `paths`, in a stable order; in folders only those with a known ending, and no hidden ones.

    Raises:
        InvalidInputError: a path does not exist.
    """
    for path in paths:
        if str(path) == "-":
            yield Input(None, "stdin", forced, 0)
        elif path.is_dir():
            yield from _below(path, forced)
        elif path.exists():
            size = path.stat().st_size if path.is_file() else 0
            yield Input(path, _printable(path.name), forced or FORMATS.get(path.suffix.lower()), size)
        else:
            raise InvalidInputError(f"there is no file {str(path)!r}", field="paths", hint="check the path")


def _below(folder: Path, forced: Format | None) -> Iterator[Input]:
    name = folder.resolve().name
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        for file in sorted(files):
            path = Path(parent) / file
            known = FORMATS.get(path.suffix.lower())
            if known is not None and not file.startswith(".") and path.is_file():
                source = _printable(str(Path(name) / path.relative_to(folder)))
                yield Input(path, source, forced or known, path.stat().st_size)


def _printable(name: str) -> str:
    """A file name may hold anything; a memory's source may not."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in name)[-1024:]


@contextmanager
def open_input(given: Input) -> Iterator[IO[bytes]]:
    """The file, open for reading; standard input stays open.

    Raises:
        InvalidInputError: it cannot be opened.
    """
    if given.path is None:
        yield sys.stdin.buffer
        return
    try:
        file = given.path.open("rb")
    except OSError as exc:
        raise InvalidInputError(f"cannot read {str(given.path)!r}: {exc.strerror}", field="paths") from exc
    with file:
        yield file


def read_lines(file: IO[bytes], on_bytes: Callable[[int], None]) -> Iterator[Line]:
    """The lines of a file, without their ends; one over 1 MiB or not in UTF-8 comes with its trouble instead.

    Args:
        file: read once, from its beginning, never held whole.
        on_bytes: told how many bytes were read.
    """
    number = 0
    while raw := file.readline(_LINE_BYTES):
        number += 1
        size, whole = len(raw), raw.endswith(b"\n") or len(raw) < _LINE_BYTES
        while not whole:
            rest = file.readline(_LINE_BYTES)
            size, whole = size + len(rest), rest.endswith(b"\n") or len(rest) < _LINE_BYTES
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


def sniffed(line: Line) -> Format:
    """The format that a first line with text in it speaks for."""
    return "jsonl" if line.text.lstrip().startswith("{") else "text"
