"""Cutting of long texts into pieces, at the ends of paragraphs, sentences, lines or words."""

from __future__ import annotations

import re
from collections.abc import Iterator

_SENTENCE_END = re.compile(r"(?<=[.!?。！？])\s+|(?<=[。！？])|\n+")  # noqa: RUF001 - full stops of other scripts


def cut(text: str, max_chars: int) -> Iterator[tuple[int, str]]:
    """Yield pieces of at most `max_chars` characters, each with its start in the text.

    A piece ends before a blank line, else after a sentence or a line, else between words, and in a word only when it is
    too long by itself. Its own line ends and indentation stay.
    """
    start = 0
    while len(text) - start > max_chars:
        window = text[start : start + max_chars + 1]
        end = _cut_position(window, max_chars)
        piece = window[:end].rstrip()
        if piece:
            yield start, piece
        start += end
        start += len(text[start : start + max_chars]) - len(text[start : start + max_chars].lstrip())
    if rest := text[start:].rstrip():
        yield start, rest


def cut_lines(lines: list[str], max_chars: int) -> Iterator[tuple[int, list[str]]]:
    """Yield groups of lines of at most `max_chars` characters, with the index of the first.

    A single line that is longer is cut.
    """
    group: list[str] = []
    first = size = 0
    for index, line in enumerate(lines):
        if group and size + len(line) + 1 > max_chars:
            yield first, group
            group, size = [], 0
        if not group:
            first = index
        if len(line) > max_chars:
            yield from ((index, [piece]) for _, piece in cut(line, max_chars))
            continue
        group.append(line)
        size += len(line) + 1
    if group:
        yield first, group


def _cut_position(window: str, max_chars: int) -> int:
    least = max_chars // 3
    blank_line = window.rfind("\n\n", least)
    if blank_line > 0:
        return blank_line
    end = 0
    for match in _SENTENCE_END.finditer(window, least):
        end = match.start() or match.end()
    if end > 0:
        return end
    space = max(window.rfind(" ", 1), window.rfind("\n", 1), window.rfind("\t", 1))
    return space if space > 0 else max_chars
