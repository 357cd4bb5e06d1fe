"""Reader of plain text and Markdown, which splits files into texts short enough to embed.

A memory is one or more complete paragraphs under one heading, at most about 1,000 characters (256 tokens). Its text
begins with the path of its headings, since these often name the subject.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator

from super_advanced_agents.cli.importing.entries import Entry, MemoryEntry, RejectedLine, SourceLocation, stable_uid
from super_advanced_agents.cli.importing.files import Line
from super_advanced_agents.types import Memory

_MAX_CHARS = 1_000
_HEADING_CHARS = 200
_PARAGRAPH_CHARS = 32_000

_ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$")
_SETEXT = re.compile(r" {0,3}(=+|-+)[ \t]*$")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_SENTENCE_END = re.compile(r"(?<=[.!?。！？])\s+|\n+")  # noqa: RUF001 - full stops of other scripts


def read_prose(lines: Iterable[Line], source: str, *, memory_type: str, markdown: bool) -> Iterator[Entry]:
    """Split a text file's lines into memories of about 1,000 characters, and yield each.

    A line that cannot be read is yielded as a `RejectedLine`.

    Args:
        lines: the lines of the file.
        source: the name of the file, kept with each memory.
        memory_type: the label of the memories.
        markdown: recognize headings, fenced code and front matter.
    """
    cutter = _Cutter(source, memory_type, markdown=markdown)
    for line in lines:
        if line.problem:
            yield RejectedLine(SourceLocation(source, line.number), line.problem)
            continue
        yield from cutter.feed(line)
    yield from cutter.finish()


class _Cutter:
    def __init__(self, source: str, memory_type: str, *, markdown: bool) -> None:
        self._source = source
        self._type = memory_type
        self._markdown = markdown
        self._path: list[tuple[int, str]] = []
        self._bare_heading_line = 0  # the line of a heading without any text or heading below it so far
        self._paragraph: list[str] = []
        self._paragraph_line = 0
        self._paragraph_chars = 0
        self._body: list[str] = []
        self._body_line = 0
        self._fence = ""
        self._front_matter = False

    def feed(self, line: Line) -> Iterator[Entry]:
        if self._markdown and (yield from self._take_markup(line)):
            return
        if not line.text.strip() and not self._fence:
            yield from self._end_paragraph()
            return
        if not self._paragraph:
            self._paragraph_line = line.number
        self._paragraph.append(line.text)
        self._paragraph_chars += len(line.text) + 1
        if self._paragraph_chars > _PARAGRAPH_CHARS:
            yield from self._end_paragraph()

    def finish(self) -> Iterator[Entry]:
        yield from self._end_paragraph()
        yield from self._end_memory()
        yield from self._end_bare_heading(deeper_than=0)

    def _take_markup(self, line: Line) -> Generator[Entry, None, bool]:
        # Returns whether the line is markup and not text; yields the memories that a heading ends.
        text = line.text
        if line.number == 1 and text.rstrip() == "---":
            self._front_matter = True
            return True
        if self._front_matter:
            if text.rstrip() not in {"---", "..."}:
                return False
            self._front_matter = False
            yield from self._end_paragraph()
            return True
        fence = _FENCE.match(text)
        if self._fence:
            if fence and fence[1].startswith(self._fence) and not text.strip().strip(self._fence[0]):
                self._fence = ""
            return False
        if fence:
            self._fence = fence[1]
            return False
        heading = _ATX.match(text)
        if heading:
            yield from self._begin_section(len(heading[1]), heading[2] or "", line.number)
            return True
        underline = _SETEXT.match(text)
        if underline and len(self._paragraph) == 1:
            [title] = self._paragraph
            title_line, self._paragraph, self._paragraph_chars = self._paragraph_line, [], 0
            yield from self._begin_section(1 if underline[1][0] == "=" else 2, title, title_line)
            return True
        return False

    def _begin_section(self, level: int, title: str, number: int) -> Iterator[Entry]:
        yield from self._end_paragraph()
        yield from self._end_memory()
        yield from self._end_bare_heading(deeper_than=level)
        while self._path and self._path[-1][0] >= level:
            self._path.pop()
        title = " ".join(title.split())
        if title:
            self._path.append((level, title[:_HEADING_CHARS]))
            self._bare_heading_line = number

    def _end_bare_heading(self, *, deeper_than: int) -> Iterator[Entry]:
        # A heading without text or another heading below it is a memory of its own.
        if self._bare_heading_line and self._path and self._path[-1][0] >= deeper_than:
            yield self._memory(self._bare_heading_line, "")
        self._bare_heading_line = 0

    def _end_paragraph(self) -> Iterator[Entry]:
        paragraph = "\n".join(self._paragraph).strip("\n").rstrip()
        number, self._paragraph, self._paragraph_chars = self._paragraph_line, [], 0
        if not paragraph.strip():
            return
        free_chars = _MAX_CHARS - len(self._heading())
        for piece in _pieces(paragraph, max(_MAX_CHARS // 4, free_chars)):
            body_chars = sum(len(part) + 2 for part in self._body)
            if self._body and body_chars + len(piece) > free_chars:
                yield from self._end_memory()
            if not self._body:
                self._body_line = number
            self._body.append(piece)
            self._bare_heading_line = 0

    def _end_memory(self) -> Iterator[Entry]:
        if self._body:
            body, self._body = "\n\n".join(self._body), []
            yield self._memory(self._body_line, body)

    def _memory(self, number: int, body: str) -> MemoryEntry:
        heading = self._heading()
        text = f"{heading}\n\n{body}" if heading and body else heading or body
        return MemoryEntry(
            location=SourceLocation(self._source, number),
            memory=Memory(
                text=text,
                memory_type=self._type,
                uid=stable_uid(self._source, self._type, heading, body),
                extra={"heading": heading} if heading else {},
                source=self._source,
            ),
        )

    def _heading(self) -> str:
        return " > ".join(title for _, title in self._path)[-2 * _HEADING_CHARS :]


def _pieces(paragraph: str, max_chars: int) -> Iterator[str]:
    # Cuts between sentences, else between words, and in a word only when it is too long by itself.
    piece = ""
    for sentence in _sentences(paragraph, max_chars):
        if piece and len(piece) + 1 + len(sentence) > max_chars:
            yield piece
            piece = sentence
        else:
            piece = f"{piece} {sentence}" if piece else sentence
    if piece:
        yield piece


def _sentences(paragraph: str, max_chars: int) -> Iterator[str]:
    if len(paragraph) <= max_chars:
        yield paragraph
        return
    for sentence in _SENTENCE_END.split(paragraph):
        rest = sentence.strip()
        while len(rest) > max_chars:
            cut = rest.rfind(" ", 0, max_chars)
            cut = cut if cut > 0 else max_chars
            yield rest[:cut].rstrip()
            rest = rest[cut:].lstrip()
        if rest:
            yield rest
