"""The known formats, and how a file's format is recognized by its content."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from super_advanced_agents.formats.content import Content
from super_advanced_agents.formats.conversations import mail, telegram_html, whatsapp
from super_advanced_agents.formats.documents.cutting import cut
from super_advanced_agents.formats.documents.html import is_html, read_html
from super_advanced_agents.formats.documents.markdown import is_markdown, read_markdown
from super_advanced_agents.formats.documents.pdf import is_pdf, read_pdf
from super_advanced_agents.formats.documents.plain import is_plain, read_plain
from super_advanced_agents.formats.entries.fields import zoned_time
from super_advanced_agents.formats.entries.json_files import is_json, is_json_lines, read_json, read_json_lines
from super_advanced_agents.formats.entries.tables import is_table, read_table
from super_advanced_agents.formats.parts import Item, Part, UnreadableError

_TURN_CHARS = 2_000
_FOREIGN = ("<?xml", "<svg", "<plist", "{\\rtf", "%!ps", "begin:v")
"""Beginnings of texts that are no plain text, and of no known format either."""

UNDERSTOOD = (
    "Markdown, plain text, HTML, PDF, JSON, JSON lines, CSV, mbox, zip files of these, and the exports of ChatGPT, "
    "Claude, Slack, Telegram, WhatsApp, mem0, LangChain and LangGraph"
)


@dataclass(frozen=True, slots=True)
class FileFormat:
    """A format of files.

    Attributes:
        name: the name that a user may choose it by.
        is_document: whether a file is one text, which is edited as a whole, and not a list of entries.
        matches: whether a file is of this format, from its first 64 KiB and its ending.
        parse: yields the parts of a file.
    """

    name: str
    is_document: bool
    matches: Callable[[Content], bool]
    parse: Callable[[Content], Iterator[Item]]

    def read(self, content: Content) -> Iterator[Item]:
        """Yield the parts of a file, its problems and what is passed over, in order.

        Raises:
            NotUnderstoodError: the file is not of this format, or too large for it.
        """
        for item in self.parse(content):
            if isinstance(item, Part):
                yield from _short_turns(replace(item, created_at=zoned_time(item.created_at)))
            else:
                yield item


def _short_turns(part: Part) -> Iterator[Part]:
    # An embedding model reads about 1,000 characters: a long answer in a chat becomes several turns of its speaker.
    if part.speaker is None or part.uid is not None or len(part.text) <= _TURN_CHARS:
        yield part
        return
    for number, (_, piece) in enumerate(cut(part.text, _TURN_CHARS // 2)):
        yield replace(part, text=piece, key=f"{part.key}#{number}" if part.key else None)


FORMATS = (
    FileFormat("pdf", True, is_pdf, read_pdf),
    FileFormat("mbox", False, mail.is_mailbox, mail.read_mailbox),
    FileFormat("mail", False, mail.is_message, mail.read_message),
    FileFormat("markdown", True, is_markdown, read_markdown),
    FileFormat("telegram", False, telegram_html.is_page, telegram_html.read_page),
    FileFormat("html", True, is_html, read_html),
    FileFormat("jsonl", False, is_json_lines, read_json_lines),
    FileFormat("json", False, is_json, read_json),
    FileFormat("csv", False, is_table, read_table),
    FileFormat("chat", False, whatsapp.is_chat, whatsapp.read_chat),
    FileFormat("text", True, is_plain, read_plain),
)
"""The formats in the order in which they are tried; zip files are opened before."""

FORMAT_NAMES = tuple(format_.name for format_ in FORMATS)


def detect(content: Content) -> FileFormat | None:
    """Return the format of a file, or None if it is not known.

    Raises:
        UnreadableError: it is text, and not in UTF-8.
    """
    if content.head.startswith(b"%PDF-"):
        return format_named("pdf")
    if content.is_other_text:
        raise UnreadableError("it is not UTF-8", hint="convert it, for example with iconv")
    text = content.head_text
    if text is None or text[:64].lstrip().lower().startswith(_FOREIGN):
        return None
    return next((format_ for format_ in FORMATS if format_.matches(content)), None)


def format_named(name: str) -> FileFormat:
    """Return the format that has a name; KeyError if there is none."""
    return {format_.name: format_ for format_ in FORMATS}[name]
