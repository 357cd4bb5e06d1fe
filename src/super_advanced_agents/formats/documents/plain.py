"""Plain text, in which a blank line ends a paragraph and nothing is a mark."""

from __future__ import annotations

from collections.abc import Iterator

from super_advanced_agents.formats.content import Content
from super_advanced_agents.formats.documents.composing import Block, Composer, document_names
from super_advanced_agents.formats.parts import Item, Problem

_PARAGRAPH_CHARS = 32_000
_ENDINGS = frozenset({".txt", ".text", ".rst", ".org", ".adoc"})


def is_plain(content: Content) -> bool:
    """Return whether a file is plain text.

    Source code and the like is text, too: in a folder an ending decides, while a file that somebody named is meant.
    """
    return content.head_text is not None and (content.named or content.ending in _ENDINGS)


def read_plain(content: Content) -> Iterator[Item]:
    """Yield the parts of a text, and a problem for each line that is no text."""
    composer = Composer(document_names(content.stem))
    paragraph: list[str] = []
    first = size = 0
    for line in content.lines():
        if line.problem:
            yield Problem(line.number, line.problem)
            continue
        if line.text.strip():
            if not paragraph:
                first = line.number
            paragraph.append(line.text.rstrip())
            size += len(line.text) + 1
            if size <= _PARAGRAPH_CHARS:
                continue
        if paragraph:
            yield from composer.block(Block(paragraph, first))
            paragraph, size = [], 0
    if paragraph:
        yield from composer.block(Block(paragraph, first))
    yield from composer.finish()
