"""Plain text and Markdown, cut into memories of a size that an embedding model reads whole.

A memory is one or more whole paragraphs under one heading, at most some 1,000 characters (about 256 tokens); its text
begins with the path of headings it stands under, which is often where the subject is named.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator

from super_advanced_agents.cli.importing.entries import Entry, MemoryEntry, SourceLocation, Trouble, stable_uid
from super_advanced_agents.cli.importing.files import Line
from super_advanced_agents.types import Memory

_MOST_CHARS = 1_000
_HEADING_CHARS = 200
_PARAGRAPH_CHARS = 32_000

_ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$")
_SETEXT = re.compile(r" {0,3}(=+|-+)[ \t]*$")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_SENTENCE_END = re.compile(r"(?<=[.!?。！？])\s+|\n+")  # noqa: RUF001 - full stops of other scripts


def read_prose(lines: Iterable[Line], source: str, *, memory_type: str, markdown: bool) -> Iterator[Entry]:
    """Memories from the lines of one file, read once and never held whole.

    Args:
        lines: of the file.
        source: its name, kept with each memory.
        memory_type: the label of each.
        markdown: heed headings and fenced code.
    """
    cutter = _Cutter(source, memory_type, markdown=markdown)
    for line in lines:
        if line.trouble:
            yield Trouble(SourceLocation(source, line.number), line.trouble)
            continue
        yield from cutter.feed(line)
    yield from cutter.finish()


class _Cutter:
    """Collects lines into paragraphs, paragraphs into memories."""

    def __init__(self, source: str, memory_type: str, *, markdown: bool) -> None:
        self._source = source
        self._type = memory_type
        self._markdown = markdown
        self._path: list[tuple[int, str]] = []
        self._untold_heading = 0  # the line of a heading nothing has stood under yet
        self._paragraph: list[str] = []
        self._paragraph_line = 0
        self._paragraph_chars = 0
        self._body: list[str] = []
        self._body_line = 0
        self._fence = ""
        self._front_matter = False

    def feed(self, line: Line) -> Iterator[Entry]:
        """Take one line; gives what is complete by now."""
        if self._markdown and (yield from self._is_markup(line)):
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
        """The file has ended."""
        yield from self._end_paragraph()
        yield from self._end_memory()
        yield from self._tell_heading(deeper_than=0)

    def _is_markup(self, line: Line) -> Generator[Entry, None, bool]:
        """Heed headings, fences and front matter; returns whether the line is no text."""
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
        under = _SETEXT.match(text)
        if under and len(self._paragraph) == 1:
            [title] = self._paragraph
            at, self._paragraph, self._paragraph_chars = self._paragraph_line, [], 0
            yield from self._begin_section(1 if under[1][0] == "=" else 2, title, at)
            return True
        return False

    def _begin_section(self, level: int, title: str, number: int) -> Iterator[Entry]:
        yield from self._end_paragraph()
        yield from self._end_memory()
        yield from self._tell_heading(deeper_than=level)
        while self._path and self._path[-1][0] >= level:
            self._path.pop()
        title = " ".join(title.split())
        if title:
            self._path.append((level, title[:_HEADING_CHARS]))
            self._untold_heading = number

    def _tell_heading(self, *, deeper_than: int) -> Iterator[Entry]:
        """A heading that nothing stands under, not even another heading, is a memory of its own."""
        if self._untold_heading and self._path and self._path[-1][0] >= deeper_than:
            yield self._memory(self._untold_heading, "")
        self._untold_heading = 0

    def _end_paragraph(self) -> Iterator[Entry]:
        paragraph = "\n".join(self._paragraph).strip("\n").rstrip()
        number, self._paragraph, self._paragraph_chars = self._paragraph_line, [], 0
        if not paragraph.strip():
            return
        room = _MOST_CHARS - len(self._heading())
        for piece in _pieces(paragraph, max(_MOST_CHARS // 4, room)):
            held = sum(len(part) + 2 for part in self._body)
            if self._body and held + len(piece) > room:
                yield from self._end_memory()
            if not self._body:
                self._body_line = number
            self._body.append(piece)
            self._untold_heading = 0

    def _end_memory(self) -> Iterator[Entry]:
        if self._body:
            body, self._body = "\n\n".join(self._body), []
            yield self._memory(self._body_line, body)

    def _memory(self, number: int, body: str) -> MemoryEntry:
        heading = self._heading()
        text = f"{heading}\n\n{body}" if heading and body else heading or body
        return MemoryEntry(
            place=SourceLocation(self._source, number),
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


def _pieces(paragraph: str, most: int) -> Iterator[str]:
    """A paragraph that is too long, cut at sentences, else at words, else anywhere."""
    piece = ""
    for sentence in _sentences(paragraph, most):
        if piece and len(piece) + 1 + len(sentence) > most:
            yield piece
            piece = sentence
        else:
            piece = f"{piece} {sentence}" if piece else sentence
    if piece:
        yield piece


def _sentences(paragraph: str, most: int) -> Iterator[str]:
    if len(paragraph) <= most:
        yield paragraph
        return
    for sentence in _SENTENCE_END.split(paragraph):
        rest = sentence.strip()
        while len(rest) > most:
            cut = rest.rfind(" ", 0, most)
            cut = cut if cut > 0 else most
            yield rest[:cut].rstrip()
            rest = rest[cut:].lstrip()
        if rest:
            yield rest
