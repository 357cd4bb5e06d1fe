"""Text exports of messengers, such as WhatsApp: messages begin with a time and a sender.

Such a file gives times without a zone; they are taken as those of this machine's zone (`TZ`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from super_advanced_agents.formats.content import Content
from super_advanced_agents.formats.parts import Item, Part, PassedOver, Problem

_DATE = r"(\d{1,4})[./-](\d{1,2})[./-](\d{1,4})"
_TIME = r"(\d{1,2})[:.](\d{2})(?:[:.](\d{2}))?(?:\s?([AaPp])\.?\s?[Mm]\.?)?"
_BEGIN = re.compile(rf"\[{_DATE},? {_TIME}\] (.*)|{_DATE},? {_TIME} [-\u2013] (.*)", re.DOTALL)
_SENDER = re.compile(r"([^:\n]{1,80}): (.*)", re.DOTALL)
_MARKS = dict.fromkeys(map(ord, "\u200e\u200f\u202a\u202b\u202c\ufeff")) | {0x202F: " ", 0xA0: " "}
_NO_TEXT = re.compile(
    r"<(media omitted|medien ausgeschlossen|multimedia omitido|m\u00e9dias omis|attached: [^>]*|anhang: [^>]*)>"
    r"|(image|video|audio|sticker|gif|document|contact card) omitted"
    r"|(this message was deleted|you deleted this message)\.?",
    re.IGNORECASE,
)
_MAX_LINES = 2_000


class _Begin(NamedTuple):
    """Hold what the first line of a message says: three numbers of a date, a time, and the rest."""

    date: tuple[str, str, str]
    hour: int
    minute: int
    second: int
    rest: str


def is_chat(content: Content) -> bool:
    """Return whether a file is such an export: a quarter of its first lines begin messages."""
    lines = [line.strip() for line in (content.head_text or "").split("\n", 40)[:40] if line.strip()]
    return (
        bool(lines)
        and _begin(lines[0]) is not None
        and sum(_begin(line) is not None for line in lines) * 4 >= len(lines)
    )


def read_chat(content: Content) -> Iterator[Item]:
    """Yield the turns of the conversation."""
    day_first = _is_day_first(content)
    begin: _Begin | None = None
    texts: list[str] = []
    first = last = 0
    for line in content.lines():
        if line.problem:
            yield Problem(line.number, line.problem)
            continue
        begins = _begin(line.text)
        if begins is None and len(texts) < _MAX_LINES:
            texts.append(line.text.translate(_MARKS))
            last = line.number if line.text.strip() else last
            continue
        if begin is not None:
            yield _item(begin, texts, first, last, day_first=day_first)
        begin = begins or begin
        texts = [begins.rest if begins else line.text]
        first = last = line.number
    if begin is not None:
        yield _item(begin, texts, first, last, day_first=day_first)


def _begin(line: str) -> _Begin | None:
    match = _BEGIN.match(line.translate(_MARKS)) if len(line) < 1 << 20 else None
    if match is None:
        return None
    groups = match.groups()
    year, month, day, hour, minute, second, half, rest = groups[:8] if groups[0] is not None else groups[8:]
    hours = int(hour) % 12 + (12 if half.lower() == "p" else 0) if half else int(hour)
    return _Begin((year, month, day), hours, int(minute), int(second or 0), rest)


def _is_day_first(content: Content) -> bool:
    # 03/04 may be of March or of April: another date of the file says which, and most of the world begins with the day.
    for line in content.lines():
        begin = _begin(line.text)
        if begin is not None and len(begin.date[0]) <= 2:
            if int(begin.date[0]) > 12:
                return True
            if int(begin.date[1]) > 12:
                return False
    return True


def _item(begin: _Begin, texts: list[str], line: int, end_line: int, *, day_first: bool) -> Item:
    match = _SENDER.match("\n".join(texts).strip())
    if match is None:
        return PassedOver("service messages")
    text = match[2].strip()
    if not text or _NO_TEXT.fullmatch(text):
        return PassedOver("messages without text")
    return Part(
        text=text,
        speaker=match[1].strip(" ~"),
        created_at=_time(begin, day_first=day_first),
        line=line,
        end_line=end_line,
    )


def _time(begin: _Begin, *, day_first: bool) -> str | None:
    first, second, third = begin.date
    if len(first) > 2:
        year, month, day = first, second, third
    else:
        year, (day, month) = third, (first, second) if day_first else (second, first)
    years = int(year) + (2000 if len(year) <= 2 else 0)
    try:
        told = datetime(years, int(month), int(day), begin.hour, begin.minute, begin.second)  # noqa: DTZ001 - the file tells no zone
        return told.astimezone().isoformat()
    except (ValueError, OverflowError, OSError):
        return None
