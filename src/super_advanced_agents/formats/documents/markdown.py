"""Markdown as CommonMark defines it (with tables), parsed by markdown-it-py."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

from super_advanced_agents.formats.content import Content
from super_advanced_agents.formats.documents.composing import Block, Composer, document_names
from super_advanced_agents.formats.documents.front_matter import split_front_matter
from super_advanced_agents.formats.parts import Item, Part

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

_MAX_BYTES = 16 << 20
_SLAB_LINES = 20_000
_TITLE_CHARS = 1_000


def is_markdown(content: Content) -> bool:
    """Return whether a file is Markdown: by its ending, or without one by a first heading."""
    if content.ending in {".md", ".markdown", ".mdown", ".mkd"}:
        return True
    return content.ending == "" and (content.head_text or "").startswith(("# ", "## "))


def read_markdown(content: Content) -> Iterator[Item]:
    """Yield the parts of a note; its front matter becomes their metadata."""
    yield from markdown_parts(content.text(_MAX_BYTES), content.stem)


def markdown_parts(text: str, stem: str, title: str = "") -> Iterator[Part]:
    """Yield the parts of a Markdown text.

    Args:
        text: the text, with line feeds as its line ends.
        stem: the name of its file without the ending.
        title: its title, where it is known; that of the front matter otherwise.
    """
    lines = text.split("\n")
    fields, skipped = split_front_matter(lines)
    own_title = fields.get("title")
    composer = Composer(document_names(stem, title or (own_title if isinstance(own_title, str) else "")), fields)
    start = skipped
    while start < len(lines):
        end = _slab_end(lines, start)
        yield from _compose(lines[start:end], start, composer)
        start = end
    yield from composer.finish()


def _slab_end(lines: list[str], start: int) -> int:
    # The parser's tokens take much memory, so a long text is parsed in slabs that end before a heading.
    for end in range(start + _SLAB_LINES, min(len(lines), start + 2 * _SLAB_LINES)):
        if lines[end].startswith("#") and not lines[end - 1].strip():
            return end
    return min(len(lines), start + 2 * _SLAB_LINES)


def _compose(lines: list[str], offset: int, composer: Composer) -> Iterator[Part]:
    tokens = _parser().parse("\n".join(lines))
    for index, token in enumerate(tokens):
        if token.level or token.map is None or token.type.endswith("_close"):
            continue
        first, end = token.map
        while end > first and not lines[end - 1].strip():
            end -= 1
        line = offset + first + 1
        if token.type == "heading_open":
            yield from composer.heading(int(token.tag[1:]), _plain(tokens[index + 1].content), line)
        elif token.type != "hr" and end > first:
            yield from composer.block(_block(token, lines[first:end], line))


def _block(token: Token, lines: list[str], line: int) -> Block:
    if token.type == "fence":
        closed = (
            len(lines) > 1
            and lines[-1].strip().startswith(token.markup)
            and not lines[-1].strip().strip(token.markup[0])
        )
        body = lines[1:-1] if closed else lines[1:]
        return Block(body, line, opening=lines[:1], closing=lines[-1:] if closed else [], keeps_lines=True)
    if token.type == "table_open":
        return Block(lines[2:], line, opening=lines[:2], keeps_lines=True)
    return Block(
        lines, line, keeps_lines=token.type in {"code_block", "html_block", "bullet_list_open", "ordered_list_open"}
    )


def _plain(title: str) -> str:
    # A heading is shown and searched by its words: without the marks of emphasis, code and links.
    if len(title) > _TITLE_CHARS or not any(mark in title for mark in "*_`[<\\&"):
        return title
    inline = _inline_parser().parseInline(title)[0].children or []
    return "".join(token.content or ("\n" if token.type.endswith("break") else "") for token in inline) or title


@cache
def _inline_parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark")


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    # Blocks are enough: the text of a part is the note's own, with its marks.
    return MarkdownIt("commonmark").enable("table").disable("inline").disable("reference")
