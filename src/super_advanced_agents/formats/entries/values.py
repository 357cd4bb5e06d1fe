"""JSON values of a file: its lines, the elements of its array, or the file as one."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

from super_advanced_agents.formats.content import WHOLE_BYTES, Content
from super_advanced_agents.formats.parts import NotUnderstoodError, Problem

_CHUNK_BYTES = 1 << 20
_ELEMENT_CHARS = 64 << 20
_BLANK = " \t\r\n"


@dataclass(frozen=True, slots=True)
class Value:
    """Hold one JSON value of a file, with its first and last line."""

    line: int
    end_line: int
    value: Any


class _RefusedError(ValueError):
    """Raised for JSON that Python's parser takes and the standard does not."""


def _refuse_constant(name: str) -> object:
    raise _RefusedError(f"{name} is not a JSON number")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def read_lines(content: Content) -> Iterator[Value | Problem]:
    """Yield the value of each line of a file, and a problem for each line that is no JSON."""
    for line in content.lines():
        if line.problem:
            yield Problem(line.number, line.problem)
        elif line.text.strip():
            try:
                yield Value(line.number, line.number, _DECODER.decode(line.text))
            except (ValueError, RecursionError) as exc:
                yield Problem(line.number, _reason(exc))


def read_array(content: Content) -> Iterator[Value | Problem]:
    """Yield the elements of a file that is one JSON array; one element is in memory at a time.

    After an element that is no JSON the rest of the file cannot be read.
    """
    with content.open() as file:
        try:
            yield from _Elements(file, content.encoding).read()
        except _RefusedError as exc:
            yield Problem(0, str(exc))


def read_whole(content: Content) -> Value:
    """Return a file's one JSON value.

    Raises:
        NotUnderstoodError: the file is no JSON, larger than 64 MiB, or nested too deeply.
    """
    text = content.text(WHOLE_BYTES)
    try:
        return Value(1, text.count("\n") + 1, _DECODER.decode(text))
    except (ValueError, RecursionError) as exc:
        raise NotUnderstoodError(_reason(exc)) from None


def _reason(exc: Exception) -> str:
    if isinstance(exc, RecursionError):
        return "it is nested too deeply"
    return f"it is not JSON: {exc.msg if isinstance(exc, json.JSONDecodeError) else exc}"


class _Elements:
    # Text is decoded in chunks; when an element does not end in what was read, twice as much is.

    def __init__(self, file: IO[bytes], encoding: str) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._buffer = ""
        self._position = 0
        self._line = 1
        self._ended = False

    def read(self) -> Iterator[Value]:
        self._fill(_CHUNK_BYTES)
        self._buffer = self._buffer.removeprefix("\N{BYTE ORDER MARK}")
        if self._next_char() != "[":
            raise _RefusedError("it is not JSON: Expecting '['")
        self._advance(self._position + 1)
        while (char := self._next_char()) != "]":
            if char == ",":
                self._advance(self._position + 1)
                continue
            if not char:
                raise _RefusedError("it is not JSON: the array does not end")
            yield self._element()
        self._advance(self._position + 1)
        if self._next_char():
            raise _RefusedError("there is text behind its JSON array")

    def _element(self) -> Value:
        while True:
            try:
                value, end = _DECODER.raw_decode(self._buffer, self._position)
            except _RefusedError:
                raise
            except RecursionError:
                raise _RefusedError("it is nested too deeply") from None
            except ValueError as exc:
                if self._ended:
                    raise _RefusedError(_reason(exc)) from None
                if len(self._buffer) - self._position > _ELEMENT_CHARS:
                    raise _RefusedError(f"an element of its array is longer than {_ELEMENT_CHARS >> 20} MiB") from None
                self._fill(max(_CHUNK_BYTES, len(self._buffer) - self._position))
                continue
            first = self._line
            self._advance(end)
            return Value(first, self._line, value)

    def _next_char(self) -> str:
        while True:
            position, buffer = self._position, self._buffer
            while position < len(buffer) and buffer[position] in _BLANK:
                position += 1
            self._advance(position)
            if position < len(buffer) or self._ended:
                return buffer[position : position + 1]
            self._fill(_CHUNK_BYTES)

    def _advance(self, position: int) -> None:
        self._line += self._buffer.count("\n", self._position, position)
        self._position = position

    def _fill(self, size: int) -> None:
        raw = self._file.read(size)
        self._ended = not raw
        try:
            text = self._decoder.decode(raw, final=not raw)
        except UnicodeDecodeError:
            raise _RefusedError("it is not UTF-8") from None
        self._buffer = self._buffer[self._position :] + text
        self._position = 0
