"""HTML pages: their headings, paragraphs, lists, tables and code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Literal, NamedTuple

from super_advanced_agents.formats.content import Content
from super_advanced_agents.formats.documents.composing import Block, Composer, document_names
from super_advanced_agents.formats.parts import Item, UnreadableError

_MAX_BYTES = 16 << 20
_HIDDEN = frozenset({"script", "style", "template", "noscript", "svg", "nav", "iframe", "object", "select", "button"})
_CELLS = frozenset({"td", "th"})
_LISTS = frozenset({"ul", "ol"})
_BREAKS = _LISTS | {
    *(
        "p",
        "div",
        "section",
        "article",
        "main",
        "header",
        "footer",
        "aside",
        "pre",
        "dl",
        "dt",
        "dd",
        "hr",
        "body",
        "html",
    ),
    *(
        "table",
        "thead",
        "tbody",
        "tfoot",
        "blockquote",
        "figure",
        "figcaption",
        "address",
        "details",
        "summary",
        "form",
    ),
}
_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?([\w.:-]+)", re.IGNORECASE)
_HEADING = re.compile(r"h[1-6]")


class _Piece(NamedTuple):
    kind: Literal["text", "code", "row", "heading", "title"]
    level: int
    line: int
    text: str


def is_html(content: Content) -> bool:
    """Return whether a file is an HTML page."""
    start = (content.head_text or "")[:1_024].lstrip().lower()
    return start.startswith(("<!doctype html", "<html")) or (content.ending in {".html", ".htm"} and "<" in start)


def read_html(content: Content) -> Iterator[Item]:
    """Yield the parts of a page."""
    raw = content.read(_MAX_BYTES)
    charset = _CHARSET.search(raw[:4_096])
    encoding = content.encoding
    if charset and encoding == "utf-8":
        encoding = charset[1].decode("ascii", errors="replace")
    try:
        text = raw.decode(encoding, errors="replace")
    except (LookupError, ValueError):  # no encoding of texts, or one that replaces nothing
        text = raw.decode("utf-8", errors="replace")
    pieces = _pieces(text)
    title = next((piece.text for piece in pieces if piece.kind == "title"), "")
    composer = Composer(document_names(content.stem, title))
    rows: list[_Piece] = []
    for piece in pieces:
        if piece.kind == "row":
            rows.append(piece)
            continue
        if rows:
            yield from composer.block(_table(rows))
            rows = []
        if piece.kind == "heading":
            yield from composer.heading(piece.level, piece.text, piece.line)
        elif piece.kind != "title":
            yield from composer.block(Block(piece.text.split("\n"), piece.line, keeps_lines=piece.kind == "code"))
    if rows:
        yield from composer.block(_table(rows))
    yield from composer.finish()


def html_text(text: str) -> str:
    """Return the readable text of a page, as a mail may be one."""
    return "\n\n".join(piece.text for piece in _pieces(text) if piece.kind != "title")


def _table(rows: list[_Piece]) -> Block:
    header = [rows[0].text] if len(rows) > 1 else []
    return Block([row.text for row in rows[len(header) :]], rows[0].line, opening=header, keeps_lines=True)


def _pieces(text: str) -> list[_Piece]:
    reader = _Reader()
    try:
        reader.feed(text)
        reader.close()
    except AssertionError:  # of the standard library's parser, before Python 3.13 for marks such as "<!["
        raise UnreadableError("the page is damaged") from None
    reader.flush()
    return reader.pieces


class _Reader(HTMLParser):
    # HTML may omit the end tags of cells, rows and items, so the start of the next one ends them, too.

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[_Piece] = []
        self._texts: list[str] = []
        self._line = 1
        self._hidden: list[str] = []
        self._code = 0
        self._lists = 0
        self._row: list[str] | None = None
        self._in_cell = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        if tag in _HIDDEN:
            self._hidden.append(tag)
        elif self._hidden:
            return
        elif tag == "br":
            self._texts.append("\n")
        elif tag == "tr":
            self._end_row()
            self.flush()
            self._row = []
        elif tag in _CELLS and self._row is not None:
            self._end_cell()
            self._in_cell = True
        elif tag == "li":
            self._end_line()
            self._texts.append("- ")
        elif self._breaks(tag):
            self.flush()
        self._lists += tag in _LISTS
        self._code += tag == "pre"

    def handle_endtag(self, tag: str) -> None:
        if self._hidden:
            if tag in self._hidden:
                while self._hidden.pop() != tag:
                    pass
        elif _HEADING.fullmatch(tag):
            self._end_as("heading", int(tag[1]))
        elif tag == "title":
            self._end_as("title", 0)
        elif tag in _CELLS:
            self._end_cell()
        elif tag in {"tr", "table"}:
            self._end_row()
        else:
            self._end_block(tag)

    def handle_data(self, data: str) -> None:
        if self._hidden:
            return
        if not any(self._texts):
            self._line = self.getpos()[0]
        self._texts.append(data if self._code else re.sub(r"\s+", " ", data))

    def flush(self) -> None:
        text, self._texts = "".join(self._texts), []
        if self._code:
            self._add("code", 0, text.strip("\n"))
        else:
            self._add("text", 0, "\n".join(line.strip() for line in text.split("\n")).strip())

    def _breaks(self, tag: str) -> bool:
        # Inside a cell or a list everything is one block.
        if self._in_cell or self._lists:
            return False
        return tag in _BREAKS or tag == "title" or _HEADING.fullmatch(tag) is not None

    def _end_block(self, tag: str) -> None:
        if tag in _LISTS:
            self._lists = max(0, self._lists - 1)
        if tag == "li":
            self._end_line()
        elif self._breaks(tag):
            self.flush()
        if tag == "pre":
            self._code = max(0, self._code - 1)

    def _end_line(self) -> None:
        if self._texts and not self._code:
            self._texts = ["".join(self._texts).rstrip() + "\n"]

    def _end_cell(self) -> None:
        if self._in_cell and self._row is not None:
            self._row.append(" ".join("".join(self._texts).split()))
        self._texts.clear()
        self._in_cell = False

    def _end_row(self) -> None:
        if self._row is not None:
            self._end_cell()
            row, self._row = self._row, None
            self._add("row", 0, " | ".join(row))

    def _end_as(self, kind: Literal["heading", "title"], level: int) -> None:
        text, self._texts = " ".join("".join(self._texts).split()), []
        self._add(kind, level, text)

    def _add(self, kind: Literal["text", "code", "row", "heading", "title"], level: int, text: str) -> None:
        if text.strip(" |\n-"):
            self.pieces.append(_Piece(kind, level, self._line, text))
