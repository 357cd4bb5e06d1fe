"""Text exports of messengers, such as WhatsApp: messages begin with a time and a sender.

Such a file gives times without a zone; they are taken as those of this machine's zone (`TZ`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from typing import NamedTuple

from super_advanced_agents.formats.content import Content
from super_advanced_agents.formats.parts import Item, Part, PassedOver, Problem

# Each language of a telephone writes its dates in its own way; \d matches the digits of other scripts, too.
_AM = "a\\.?\\s?m\\.?|上午|凌晨|早上|오전|午前|ص|π\\.?μ\\.?|öö"
_PM = "p\\.?\\s?m\\.?|下午|中午|晚上|오후|午後|م|μ\\.?μ\\.?|ös"
_DATE = r"(?P<first>\d{1,4})[./\-년年]\s?(?P<second>\d{1,2})[./\-월月]\s?(?P<third>\d{1,4})(?:\.|일|日| ?г\.)?"  # noqa: RUF001 - Cyrillic
_HALF = f"(?:(?P<am>{_AM})|(?P<pm>{_PM}))"
_TIME = r"(?P<hour>\d{1,2})[:.](?P<minute>\d{2})(?:[:.](?P<second_>\d{2}))?(?: ?ч\.)?"
_DAY = rf"{_DATE}[,،]?\s(?:(?:à|klo|kl\.|às|um|u|в|o|om|ob|la|lúc|plkst\.)\s)?"
_STAMPS = (rf"{_DAY}{_TIME}(?:\s?{_HALF})?", rf"{_DAY}{_HALF}\s?{_TIME}")
_BEGINS = tuple(
    re.compile(pattern, re.DOTALL | re.IGNORECASE)
    for stamp in _STAMPS
    for pattern in (rf"\[{stamp}\] (?P<rest>.*)", rf"{stamp}(?: [-\u2013] |, (?=[^:]{{1,80}} : ))(?P<rest>.*)")
)
_SENDER = re.compile(r"([^:\n]{1,80}?) ?: (.*)", re.DOTALL)
_MARKS = dict.fromkeys(map(ord, "\u200e\u200f\u202a\u202b\u202c\ufeff")) | {0x202F: " ", 0xA0: " "}
_MARKED = re.compile("\u200e<[^<>\n]{3,80}>")
_NO_TEXT = re.compile(
    r"<[^<>\n]{3,80}>|(image|video|audio|sticker|gif|document|contact card) omitted"
    r"|(this message was deleted|you deleted this message)\.?|null",
    re.IGNORECASE,
)
_AMERICAN = re.compile(r"\[?\d{1,2}/\d{1,2}/\d\d, \d{1,2}:\d\d(:\d\d)? [AP]M\b")
_MAX_LINES = 2_000
_BUDDHIST_ERA = 543
_LATEST_YEAR = 2_400
_FIRST_LINES, _ENOUGH = 40, 5
_LINE_CHARS = 1 << 20


class _Begin(NamedTuple):
    """Hold the first line of a message, without a sender if it is one of the service."""

    date: tuple[str, str, str]
    hour: int
    minute: int
    second: int
    sender: str
    text: str
    is_note: bool


def is_chat(content: Content) -> bool:
    """Return whether a file is such an export.

    Its first line begins a message, and so do a quarter of its first lines, or five lines of its beginning.
    """
    lines = [line.strip() for line in (content.head_text or "").split("\n") if line.strip()]
    if not lines or _begin(lines[0]) is None:
        return False
    first = lines[:_FIRST_LINES]
    if sum(_begin(line) is not None for line in first) * 4 >= len(first):
        return True
    said = (begin for line in lines if (begin := _begin(line)) is not None and begin.sender)
    return sum(1 for _ in islice(said, _ENOUGH)) == _ENOUGH


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
            texts.append(_MARKED.sub("", line.text).translate(_MARKS))
            last = line.number if line.text.strip() else last
            continue
        if begin is not None:
            yield _item(begin, texts, first, last, day_first=day_first)
        begin = begins or begin
        texts = [begins.text if begins else line.text.translate(_MARKS)]
        first = last = line.number
    if begin is not None:
        yield _item(begin, texts, first, last, day_first=day_first)


def _begin(line: str) -> _Begin | None:
    if len(line) > _LINE_CHARS:
        return None
    readable = _MARKED.sub("", line).translate(_MARKS)
    match = next((match for pattern in _BEGINS if (match := pattern.match(readable))), None)
    if match is None:
        return None
    parts = match.groupdict()
    hour = int(parts["hour"])
    if parts["am"] or parts["pm"]:
        hour = hour % 12 + (12 if parts["pm"] else 0)
    sender = _SENDER.match(parts["rest"])
    return _Begin(
        (parts["first"], parts["second"], parts["third"]),
        hour,
        int(parts["minute"]),
        int(parts["second_"] or 0),
        sender[1].strip(" ~") if sender else "",
        sender[2] if sender else parts["rest"],
        # iOS marks what nobody wrote: "image omitted", in each language.
        is_note=sender is not None and line.partition(": ")[2].startswith("\u200e"),
    )


def _is_day_first(content: Content) -> bool:
    # 03/04 may be of March or of April: another date of the file says which, and most of the world begins with the day.
    american = None
    for line in content.lines():
        begin = _begin(line.text)
        if begin is not None and len(begin.date[0]) <= 2:
            if int(begin.date[0]) > 12:
                return True
            if int(begin.date[1]) > 12:
                return False
            if american is None:
                american = _AMERICAN.match(line.text.translate(_MARKS)) is not None
    return not american


def _item(begin: _Begin, texts: list[str], line: int, end_line: int, *, day_first: bool) -> Item:
    text = "\n".join(texts).strip()
    if not begin.sender:
        return PassedOver("service messages")
    if not text or _NO_TEXT.fullmatch(text) or (begin.is_note and len(texts) == 1):
        return PassedOver("messages without text")
    return Part(
        text=text,
        speaker=begin.sender,
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
    if years > _LATEST_YEAR:  # Thai telephones count the years since Buddha's death
        years -= _BUDDHIST_ERA
    try:
        moment = datetime(years, int(month), int(day), begin.hour, begin.minute, begin.second)  # noqa: DTZ001 - the file tells no zone
        return moment.astimezone().isoformat()
    except (ValueError, OverflowError, OSError):
        return None
