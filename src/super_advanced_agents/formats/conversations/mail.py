"""Mail: mbox files, as Thunderbird and Google Takeout write them, and `.eml` files."""

from __future__ import annotations

import email.errors
import email.policy
import re
from collections.abc import Iterator
from datetime import UTC
from email.message import EmailMessage, MIMEPart
from email.parser import BytesParser
from email.utils import parseaddr, parsedate_to_datetime

from super_advanced_agents.formats.content import Content
from super_advanced_agents.formats.documents.html import html_text
from super_advanced_agents.formats.parts import Item, Part, PassedOver, Problem
from super_advanced_agents.types import JSONValue

_MESSAGE_BYTES = 32 << 20
_LINE_BYTES = 1 << 20
_HEAD_BYTES = 128 << 10  # the time to parse a header grows with its square: 0.3 s for this one
_QUOTED_FROM = re.compile(rb">+From ")
_HEADER = re.compile(rb"[!-9;-~]+:[ \t]?")
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_ID = re.compile(r"<[^<>\s]{1,200}>")


def is_mailbox(content: Content) -> bool:
    """Return whether a file is an mbox: a line `From ...`, and then a header."""
    first, _, rest = content.head.partition(b"\n")
    return first.startswith(b"From ") and _HEADER.match(rest) is not None


def is_message(content: Content) -> bool:
    """Return whether a file is a single message, by its ending."""
    return content.ending == ".eml" and _HEADER.match(content.head) is not None


def read_mailbox(content: Content) -> Iterator[Item]:
    """Yield the mails of an mbox, one at a time; a thread is a session."""
    with content.open() as file:
        number = begin = size = 0
        lines: list[bytes] = []
        blank = True
        while line := file.readline(_LINE_BYTES):
            number += 1
            if blank and line.startswith(b"From "):
                if lines:
                    yield _read(lines, size, begin, number - 1)
                lines, size, begin = [], 0, number
                blank = False
                continue
            size += len(line)
            if size <= _MESSAGE_BYTES:
                lines.append(line[1:] if _QUOTED_FROM.match(line) else line)
            blank = line in {b"\n", b"\r\n"}
        if lines:
            yield _read(lines, size, begin, number)


def read_message(content: Content) -> Iterator[Item]:
    """Yield the turn that a single message is."""
    raw = content.read(_MESSAGE_BYTES)
    yield _read([raw], len(raw), 1, raw.count(b"\n") + 1)


def _read(lines: list[bytes], size: int, line: int, end_line: int) -> Item:
    if size > _MESSAGE_BYTES:
        return Problem(line, f"the mail is larger than {_MESSAGE_BYTES >> 20} MiB")
    raw = b"".join(lines)
    if not _END_OF_HEAD.search(raw, 0, _HEAD_BYTES) and len(raw) > _HEAD_BYTES:
        return Problem(line, f"the head of the mail is larger than {_HEAD_BYTES >> 10} KiB")
    try:
        message = BytesParser(policy=email.policy.default).parsebytes(raw)
        text = _body(message)
        if not text:
            return PassedOver("mails without text")
        name, address = parseaddr(str(message.get("From", "")))
        subject = " ".join(str(message.get("Subject", "")).split())
        key = _ids(message, "Message-ID")
        thread = _ids(message, "References") or _ids(message, "In-Reply-To") or key
        metadata: dict[str, JSONValue] = {"subject": subject} if subject else {}
        return Part(
            text=f"{subject}\n\n{text}" if subject else text,
            line=line,
            end_line=end_line,
            speaker=(name or address or "unknown")[:200],
            created_at=_time(message),
            session=str(message.get("X-GM-THRID", "")).strip() or (thread[0] if thread else None),
            scope="everywhere" if thread else "file",
            key=key[0] if key else None,
            is_global=True,
            metadata=metadata,
        )
    except (email.errors.MessageError, ValueError, LookupError, TypeError, AttributeError, IndexError, RecursionError):
        # The parser of the standard library raises all of these for damaged headers and encodings.
        return Problem(line, "the mail is damaged")


def _body(message: EmailMessage) -> str:
    # Some newsletters have a plain text without a word.
    texts = (_text(message.get_body(preferencelist=(kind,))) for kind in ("plain", "html"))
    return next(filter(None, texts), "")


def _text(body: MIMEPart | None) -> str:
    if body is None:
        return ""
    try:
        text = body.get_content()
    except LookupError:  # of an unknown character set
        raw = body.get_payload(decode=True)
        text = raw.decode(errors="replace") if isinstance(raw, bytes) else ""
    if not isinstance(text, str):
        return ""
    if body.get_content_subtype() == "html":
        text = html_text(text)
    return text.replace("\r\n", "\n").replace("\0", "").strip()


def _ids(message: EmailMessage, name: str) -> list[str]:
    return [found.strip("<>") for found in _ID.findall(str(message.get(name, "")))]


def _time(message: EmailMessage) -> str | None:
    try:
        date = parsedate_to_datetime(str(message["Date"]))
        # "-0000" is a time in UTC of a machine whose zone nobody knows (RFC 5322, 3.3).
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).isoformat()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
