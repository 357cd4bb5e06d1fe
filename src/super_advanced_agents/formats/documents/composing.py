"""Composition of a document's blocks into parts of about 1,000 characters."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from super_advanced_agents.formats.documents.cutting import cut, cut_lines
from super_advanced_agents.formats.parts import Part
from super_advanced_agents.types import JSONValue

PART_CHARS = 1_000
_HEADING_CHARS = 200
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Block:
    """Hold one block of a document: a paragraph, a list, a code block or a table.

    Attributes:
        lines: its lines.
        line: the number of the first one.
        opening: the first lines, which every piece of the block repeats, such as a table's header.
        closing: the last lines, which every piece repeats, such as the end of a code block.
        keeps_lines: whether pieces are made of complete lines.
    """

    lines: list[str]
    line: int
    opening: list[str] = field(default_factory=list)
    closing: list[str] = field(default_factory=list)
    keeps_lines: bool = False

    def pieces(self, max_chars: int) -> Iterator[tuple[int, int, str]]:
        """Yield pieces of at most `max_chars` characters, each with its first and last line."""
        whole = "\n".join([*self.opening, *self.lines, *self.closing])
        last = self.line + len(self.opening) + len(self.lines) + len(self.closing) - 1
        if len(whole) <= max_chars:
            yield self.line, last, whole
        elif self.keeps_lines:
            frame = sum(len(line) + 1 for line in [*self.opening, *self.closing])
            body = self.line + len(self.opening)
            for index, group in cut_lines(self.lines, max(max_chars - frame, max_chars // 4)):
                text = "\n".join([*self.opening, *group, *self.closing])
                yield body + index, body + index + len(group) - 1, text
        else:
            for start, piece in cut(whole, max_chars):
                first = self.line + whole.count("\n", 0, start)
                yield first, first + piece.count("\n"), piece


class Composer:
    """Compose the blocks of one document, in order, into parts.

    A part's text begins with the document's name and the path of its headings, since these often name the subject.

    Args:
        names: the names of the document: that of its file, and its title where it has one.
        metadata: fields that every part gets.
    """

    def __init__(self, names: list[str], metadata: Mapping[str, JSONValue] | None = None) -> None:
        self._names = names
        self._metadata = dict(metadata or {})
        self._path: list[tuple[int, str]] = []
        self._bare_heading = 0  # the line of a heading without any text or heading below it so far
        self._bodies: list[tuple[int, int, str]] = []
        self._any = False

    def block(self, block: Block) -> Iterator[Part]:
        """Add a block, and yield the parts that it completes."""
        free_chars = max(PART_CHARS // 4, PART_CHARS - len(self._context()))
        for first, last, text in block.pieces(free_chars):
            if self._bodies and sum(len(body) + 2 for _, _, body in self._bodies) + len(text) > free_chars:
                yield from self._end_part()
            self._bodies.append((first, last, text))
            self._bare_heading = 0

    def heading(self, level: int, title: str, line: int) -> Iterator[Part]:
        """Begin a section, and yield the parts of the one before."""
        yield from self._end_part()
        yield from self._end_bare_heading(deeper_than=level)
        while self._path and self._path[-1][0] >= level:
            self._path.pop()
        title = " ".join(title.split())
        if title:
            self._path.append((level, title[:_HEADING_CHARS]))
            self._bare_heading = line

    def finish(self) -> Iterator[Part]:
        """Yield the last parts; a document of nothing but a title is one part."""
        yield from self._end_part()
        yield from self._end_bare_heading(deeper_than=0)
        if not self._any and self._metadata and self._names:
            yield self._part(1, 1, "")

    def _end_bare_heading(self, *, deeper_than: int) -> Iterator[Part]:
        # A heading without text or another heading below it is a part of its own.
        if self._bare_heading and self._path and self._path[-1][0] >= deeper_than:
            yield self._part(self._bare_heading, self._bare_heading, "")
        self._bare_heading = 0

    def _end_part(self) -> Iterator[Part]:
        if self._bodies:
            bodies, self._bodies = self._bodies, []
            yield self._part(bodies[0][0], bodies[-1][1], "\n\n".join(text for _, _, text in bodies))

    def _part(self, line: int, end_line: int, body: str) -> Part:
        self._any = True
        context = self._context()
        return Part(
            text=f"{context}\n\n{body}" if context and body else context or body,
            line=line,
            end_line=end_line,
            heading=self._heading(),
            metadata=self._metadata,
        )

    def _heading(self) -> str:
        return " > ".join(title for _, title in self._path)[-2 * _HEADING_CHARS :]

    def _context(self) -> str:
        heading = self._heading()
        said = _words(heading)
        names = [name[:_HEADING_CHARS] for name in self._names if not _words(name) <= said]
        return " > ".join([*names, heading] if heading else names)


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.replace("_", " ").casefold()))


def document_names(stem: str, title: str = "") -> list[str]:
    """Return the names that a document's parts begin with: its file's, and another title."""
    stem = " ".join(stem.split())
    title = " ".join(title.split())
    if not title:
        return [stem] if stem else []
    if _words(title) <= _words(stem):
        return [stem]
    return [title] if _words(stem) <= _words(title) else [stem, title]
