"""Strict parsing of JSON within limits, in short slices where the text is long.

Input that parsers read differently is refused (RFC 8259, sections 4 and 6; RFC 7493, I-JSON): a key that appears twice
in an object, NaN and infinities, numbers of thousands of digits, text that is not UTF-8, and nesting without end.

One call of a JSON library holds the GIL until it ends: 100 ms for 1.4 million numbers, in which no other thread runs,
the event loop's included. Long texts are therefore cut at the commas between the members of long arrays and objects,
and each piece is parsed by a call of its own.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Generator, Iterator
from typing import Any, NoReturn

import numpy as np

from super_advanced_agents._runtime.concurrency.slices import finished
from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.protocol.json_outline import MAX_DEPTH, MAX_VALUES, Outline, outline_of

INLINE_BYTES = 64 * 1024
"""The longest JSON text in bytes that is parsed on the event loop, and in one call."""
MAX_PARSE_S = 5.0
"""The longest computing time for one text in seconds, without waits for other threads."""

_PIECE_BYTES = 32 * 1024
_MAX_NAME_CHARS = 64
_WHITESPACE = b" \t\n\r"
_MEMBER_NAME = re.compile(rb'("[^"\\]*(?:\\.[^"\\]*)*")[ \t\n\r]*:', re.DOTALL)
_QUOTE = ord('"')


def parse_json(body: bytes, field: str = "body") -> Any:
    """Parse a JSON text; refuse duplicate keys, NaN, Infinity and text that is not UTF-8.

    Args:
        body: the text, in UTF-8.
        field: its name in errors.

    Raises:
        InvalidInputError: it is not JSON, is ambiguous, or exceeds a limit; the field is the key, or `field`.
    """
    if len(body) > INLINE_BYTES or body.count(b"[") + body.count(b"{") > MAX_DEPTH:
        return finished(parse_in_slices(body, field))
    return _parse_piece(body, field)


def parse_in_slices(
    body: bytes, field: str = "body", *, max_values: int = MAX_VALUES, piece_bytes: int = _PIECE_BYTES
) -> Generator[None, None, Any]:
    """Parse a JSON text as `parse_json` does; yield after each slice, and return the value.

    A slice takes a millisecond or two.

    Args:
        body: the text, in UTF-8.
        field: its name in errors.
        max_values: the limit on its values, counted as its commas and opening brackets.
        piece_bytes: the longest piece that one call parses, in bytes.

    Raises:
        InvalidInputError: as `parse_json`; also if the parsing takes more than `MAX_PARSE_S` seconds.
    """
    outline = yield from outline_of(body, field, slice_bytes=8 * piece_bytes, max_values=max_values)
    return (yield from _Parser(body, field, piece_bytes).value(0, len(body), outline))


class _Parser:
    # Parses the parts of one text; a part is `body[start:end]`, without the comma or bracket on either side.

    def __init__(self, body: bytes, field: str, piece_bytes: int) -> None:
        self._body = body
        self._field = field
        self._piece_bytes = piece_bytes
        self._spent_s = 0.0

    def value(self, start: int, end: int, outline: Outline) -> Generator[None, None, Any]:
        start, end = self._stripped(start, end)
        if end - start <= self._piece_bytes:
            return (yield from self._piece(start, end))
        first, last = self._body[start], self._body[end - 1]
        if first == last == _QUOTE:
            return (yield from self._string(start + 1, end - 1))
        outline = outline.between(start, end)
        if not outline.is_one_container(start, end):
            raise self._not_json("Expecting one value", start)
        if first == ord("[") and last == ord("]"):
            return (yield from self._array(start + 1, end - 1, outline))
        if first == ord("{") and last == ord("}"):
            return (yield from self._object(start + 1, end - 1, outline))
        raise self._not_json("Expecting the bracket that closes this one", start)

    def _stripped(self, start: int, end: int) -> tuple[int, int]:
        while start < end and self._body[start] in _WHITESPACE:
            part = self._body[start : start + self._piece_bytes]
            start = min(end, start + len(part) - len(part.lstrip(_WHITESPACE)))
        while end > start and self._body[end - 1] in _WHITESPACE:
            part = self._body[max(start, end - self._piece_bytes) : end]
            end -= len(part) - len(part.rstrip(_WHITESPACE))
        return start, end

    def _array(self, start: int, end: int, outline: Outline) -> Generator[None, None, list[Any]]:
        items: list[Any] = []
        for low, high, count in self._runs(start, end, outline):
            if high - low > self._piece_bytes:
                items.append((yield from self.value(low, high, outline)))
                continue
            run = yield from self._piece(low, high, b"[", b"]")
            if len(run) != count:
                raise self._not_json("Expecting value", low)
            items += run
        return items

    def _object(self, start: int, end: int, outline: Outline) -> Generator[None, None, dict[str, Any]]:
        members: dict[str, Any] = {}
        for low, high, count in self._runs(start, end, outline):
            if high - low > self._piece_bytes:
                begin, _ = self._stripped(low, high)
                name = _MEMBER_NAME.match(self._body, begin, min(high, begin + self._piece_bytes))
                if name is None:
                    raise self._not_json("Expecting a short property name enclosed in double quotes", low)
                key = self._parse(name[1], name.start(1))
                run = {key: (yield from self.value(name.end(), high, outline))}
            else:
                run = yield from self._piece(low, high, b"{", b"}")
            if len(run) != count:
                raise self._not_json("Expecting property name enclosed in double quotes", low)
            if not members.keys().isdisjoint(run):
                raise _twice(next(name for name in run if name in members))
            members |= run
        return members

    def _runs(self, start: int, end: int, outline: Outline) -> Iterator[tuple[int, int, int]]:
        # Neighbouring members that fit a piece together, or one that does not: their part of the text, and their count.
        commas = outline.commas()
        if not len(commas) and self._stripped(start, end) == (end, end):
            return
        index = 0
        while end - start > self._piece_bytes and index < len(commas):
            last = max(index, int(commas.searchsorted(np.uint32(start + self._piece_bytes), side="right")) - 1)
            comma = int(commas[last])
            yield start, comma, last + 1 - index
            start, index = comma + 1, last + 1
        yield start, end, len(commas) + 1 - index

    def _string(self, start: int, end: int) -> Generator[None, None, str]:
        parts = [""]
        while start < end:
            high = self._end_of_string_piece(start, end)
            part: str = yield from self._piece(start, high, b'"', b'"')
            if "\ud800" <= parts[-1][-1:] <= "\udbff" and "\udc00" <= part[:1] <= "\udfff":  # two halves of a character
                pair = (parts[-1][-1] + part[0]).encode("utf-16", "surrogatepass").decode("utf-16")
                parts[-1], part = parts[-1][:-1] + pair, part[1:]
            parts.append(part)
            start = high
        return "".join(parts)

    def _end_of_string_piece(self, start: int, end: int) -> int:
        high = min(end, start + self._piece_bytes)
        backslash = self._body.rfind(b"\\", max(start, high - 5), high)
        if backslash >= 0:
            before = self._body[start : backslash + 1]
            if (len(before) - len(before.rstrip(b"\\"))) % 2:  # it begins an escape, and is not the end of one
                length = 6 if self._body[backslash + 1 : backslash + 2] == b"u" else 2
                high = min(end, max(high, backslash + length))
        while high < end and self._body[high] & 0xC0 == 0x80:  # within a character of UTF-8
            high += 1
        return high

    def _piece(self, start: int, end: int, opener: bytes = b"", closer: bytes = b"") -> Generator[None, None, Any]:
        yield
        if self._spent_s > MAX_PARSE_S:
            raise InvalidInputError(
                f"{self._field} takes more than {MAX_PARSE_S:g} s to parse",
                field=self._field,
                hint="send a shorter one",
            )
        began = time.thread_time()
        value = self._parse(opener + self._body[start:end] + closer, start - len(opener))
        self._spent_s += time.thread_time() - began
        return value

    def _parse(self, piece: bytes, start: int) -> Any:
        return _parse_piece(piece, self._field, start=start)

    def _not_json(self, reason: str, place: int) -> InvalidInputError:
        return _invalid(self._field, f"is not JSON: {reason} at byte {place}")


def _parse_piece(piece: bytes, field: str, *, start: int | None = None) -> Any:
    # `start` is the place of a piece in a longer text.
    try:
        return _DECODER.decode(piece.decode())
    except json.JSONDecodeError as exc:
        place = f"character {exc.pos}" if start is None else f"byte {start + len(exc.doc[: exc.pos].encode())}"
        raise _invalid(field, f"is not JSON: {exc.msg} at {place}") from exc
    except UnicodeDecodeError as exc:
        place = f"byte {exc.start + (start or 0)}"
        raise _invalid(field, f"is not UTF-8 at {place}") from None  # the cause would carry the text
    except RecursionError:
        raise _invalid(field, "is nested too deeply") from None
    except _NotJSONError as exc:
        raise _invalid(field, str(exc)) from None
    except InvalidInputError:
        raise
    except ValueError:  # Python's limit of the digits of an integer
        raise _invalid(field, "holds a number with too many digits") from None


def _invalid(field: str, problem: str) -> InvalidInputError:
    return InvalidInputError(f"{field} {problem}", field=field, hint="send one JSON value, in UTF-8")


def _object_of_unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _twice(key)
            seen.add(key)
    return members


def _twice(key: str) -> InvalidInputError:
    name = printable_name(key)
    return InvalidInputError(f"{name!r} appears twice in one object", field=name)


def printable_name(name: str) -> str:
    """Shorten a name that a client sent, and make it valid Unicode, for error messages."""
    return name[:_MAX_NAME_CHARS].encode(errors="replace").decode()


class _NotJSONError(ValueError):
    pass


def _refuse_constant(constant: str) -> NoReturn:
    raise _NotJSONError(f"holds {constant}, which is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_object_of_unique_keys, parse_constant=_refuse_constant)
