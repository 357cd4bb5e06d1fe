"""The content of a file: its beginning, its lines and its whole, each within a limit."""

from __future__ import annotations

import codecs
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from mimetypes import guess_type
from pathlib import Path, PurePosixPath
from typing import IO, Any

from super_advanced_agents.formats.parts import NotUnderstoodError, UnreadableError

HEAD_BYTES = 64 * 1024
LINE_BYTES = 8 << 20
WHOLE_BYTES = 64 << 20
"""The largest file that is read as a whole. Its values take about eight times as much memory."""

_SPACES = "\t\n\r\f\v\x1b"
_NO_TEXT = ("image/", "audio/", "video/", "font/")
_UTF16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


@dataclass(frozen=True, slots=True)
class Line:
    """Hold one line of a file: its number, and its text or why it cannot be read."""

    number: int
    text: str
    problem: str = ""


class Content:
    """Read one file or one member of an archive, which can be opened several times.

    Args:
        name: the path of the file as its memories name it, with `/`; empty for standard input.
        open_: opens it for reading from its beginning.
        beside: returns the content of another file, by its path relative to this one's folder; None when there is none.
        named: whether somebody named this very file, and did not only name its folder.

    Attributes:
        notes: what a parser found out about the file and wants to find again.
    """

    def __init__(
        self,
        name: str,
        open_: Callable[[], IO[bytes]],
        *,
        beside: Callable[[str], Content | None] = lambda _: None,
        named: bool = True,
    ) -> None:
        self.name = name
        self.open = open_
        self.beside = beside
        self.named = named
        self.notes: dict[str, Any] = {}

    @property
    def ending(self) -> str:
        """The ending of the name in lower case, such as `".md"`; empty if there is none."""
        return PurePosixPath(self.name).suffix.lower()

    @property
    def stem(self) -> str:
        """The name of the file without its folders and its ending."""
        return PurePosixPath(self.name).stem

    @cached_property
    def head(self) -> bytes:
        """The first 64 KiB."""
        with self.open() as file:
            return file.read(HEAD_BYTES)

    @cached_property
    def head_text(self) -> str | None:
        """The first 64 KiB as text, without a byte order mark; None when they are no text."""
        encoding = self.encoding
        if encoding == "utf-8" and b"\0" in self.head:
            return None
        text = codecs.getincrementaldecoder(encoding)(errors="replace").decode(self.head)
        odd = sum(1 for char in text if char == "\N{REPLACEMENT CHARACTER}" or (char < " " and char not in _SPACES))
        return None if odd * 10 > len(text) else text.removeprefix("\N{BYTE ORDER MARK}")

    @property
    def is_other_text(self) -> bool:
        """True if the first 64 KiB are text in an encoding that is not supported."""
        if (guess_type(self.name)[0] or "").startswith(_NO_TEXT):
            return False
        controls = sum(self.head.count(char) for char in range(32) if chr(char) not in _SPACES)
        return self.head_text is None and b"\0" not in self.head and controls * 100 <= len(self.head)

    @property
    def encoding(self) -> str:
        """UTF-16 when a byte order mark says so, otherwise UTF-8."""
        return _UTF16.get(self.head[:2], "utf-8")

    def lines(self) -> Iterator[Line]:
        """Yield each line, decoded and without its line end.

        A line over 8 MiB, with a NUL character or not in UTF-8 is yielded with the reason instead of its text. The
        file is never held in memory as a whole.
        """
        with self.open() as file:
            if self.encoding == "utf-8":
                yield from _utf8_lines(file)
                return
            with io.TextIOWrapper(file, self.encoding, errors="replace", newline="\n") as reader:
                for number, text in enumerate(iter(lambda: reader.readline(LINE_BYTES), ""), start=1):
                    yield Line(number, text.removeprefix("\N{BYTE ORDER MARK}").rstrip("\r\n"))

    def read(self, max_bytes: int = WHOLE_BYTES) -> bytes:
        """Return the whole content.

        Raises:
            NotUnderstoodError: it is larger than `max_bytes`.
        """
        with self.open() as file:
            content = file.read(max_bytes + 1)
        if len(content) > max_bytes:
            raise NotUnderstoodError(
                f"it is larger than {max_bytes >> 20} MiB, the most that is read of its format", hint="split it"
            )
        return content

    def text(self, max_bytes: int = WHOLE_BYTES) -> str:
        """Return the whole content as text, without a byte order mark. Its line ends are line feeds.

        Raises:
            NotUnderstoodError: it is larger than `max_bytes`.
            UnreadableError: it is not in UTF-8.
        """
        try:
            text = self.read(max_bytes).decode(self.encoding)
        except UnicodeDecodeError as exc:
            raise UnreadableError(
                f"it is not UTF-8 at byte {exc.start}", hint="convert it, for example with iconv"
            ) from None
        return text.removeprefix("\N{BYTE ORDER MARK}").replace("\r\n", "\n").replace("\r", "\n")


def file_content(path: Path, name: str, *, named: bool, known: dict[Path, Content]) -> Content:
    """Return the content of a file on this machine.

    Args:
        path: the path of the file.
        name: its path as its memories name it.
        named: whether somebody named this very file.
        known: keeps the files that lie beside it, with what parsers found out about them.
    """

    def beside(relative: str) -> Content | None:
        other = Path(os.path.normpath(path.parent / relative))
        if other not in known and other.is_file() and not other.is_symlink():
            known[other] = Content(other.name, partial(_open, other))
        return known.get(other)

    return Content(name, partial(_open, path), beside=beside, named=named)


def _open(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as exc:
        raise UnreadableError(f"it cannot be read: {exc.strerror}") from exc


def _utf8_lines(file: IO[bytes]) -> Iterator[Line]:
    number = 0
    while raw := file.readline(LINE_BYTES):
        number += 1
        size, complete = len(raw), raw.endswith(b"\n") or len(raw) < LINE_BYTES
        while not complete:
            rest = file.readline(LINE_BYTES)
            size, complete = size + len(rest), rest.endswith(b"\n") or len(rest) < LINE_BYTES
        if size > LINE_BYTES:
            yield Line(number, "", f"the line is longer than {LINE_BYTES} bytes")
            continue
        if number == 1:
            raw = raw.removeprefix(codecs.BOM_UTF8)
        try:
            text = raw.decode().rstrip("\r\n")
        except UnicodeDecodeError as exc:
            yield Line(number, "", f"it is not UTF-8 at byte {exc.start}")
            continue
        yield Line(number, "", "it holds a NUL character") if "\0" in text else Line(number, text)
