"""Telegram's export as pages: `messages.html`, and further pages of a long chat beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

from super_advanced_agents.formats.content import Content
from super_advanced_agents.formats.parts import Item, Part, PassedOver
from super_advanced_agents.types import JSONValue

_MAX_BYTES = 16 << 20
_TIME = re.compile(r"(\d\d)\.(\d\d)\.(\d{4}) (\d\d:\d\d:\d\d)(?: UTC([+-]\d\d:\d\d))?")
_ANSWERED = re.compile(r"#go_to_message(\d+)")
_READ = ("from_name", "text", "reply_to")


def is_page(content: Content) -> bool:
    """Return whether a file is a page of this export."""
    return 'class="page_body chat_page"' in (content.head_text or "")


def read_page(content: Content) -> Iterator[Item]:
    """Yield the turns of one page; all pages of a folder are one chat.

    The pages do not tell the chat's id.
    """
    reader = _Reader()
    reader.feed(content.text(_MAX_BYTES))
    reader.close()
    speaker = "unknown"
    for message in reader.messages:
        if message.is_service:
            yield PassedOver("service messages")
            continue
        speaker = _line(message.texts["from_name"]) or (speaker if message.is_joined else "unknown")
        text = "\n".join(line.strip() for line in "".join(message.texts["text"]).split("\n")).strip()
        if not text:
            yield PassedOver("messages without text")
            continue
        title = _line(reader.title)
        metadata: dict[str, JSONValue] = {"title": title} if title else {}
        if message.answered:
            metadata["reply_to"] = int(message.answered)
        yield Part(
            text=text,
            speaker=speaker,
            created_at=message.time,
            session=title or None,
            scope="folder",
            key=message.key or None,
            metadata=metadata,
        )


@dataclass(slots=True)
class _Message:
    key: str
    is_service: bool
    is_joined: bool  # shown below the message before it, without repeating the sender
    time: str | None = None
    answered: str = ""
    texts: dict[str, list[str]] = field(default_factory=lambda: {name: [] for name in _READ})


class _Reader(HTMLParser):
    # The classes of a `div` say what it holds; the stack has an entry for each open `div`.

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.messages: list[_Message] = []
        self.title: list[str] = []
        self._message: _Message | None = None
        self._open: list[str] = []
        self._code = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        if tag == "div":
            self._begin(attributes.get("class", "").split(), attributes)
        elif tag == "br":
            self._add("\n")
        elif tag == "pre":
            self._code += 1
        elif tag == "a" and "reply_to" in self._open and self._message is not None:
            found = _ANSWERED.search(attributes.get("href", ""))
            self._message.answered = found[1] if found else ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "pre":
            self._code = max(0, self._code - 1)
        elif tag == "div" and self._open and self._open.pop() == "message":
            self._message = None

    def handle_data(self, data: str) -> None:
        self._add(data if self._code else re.sub(r"\s+", " ", data))

    def _begin(self, classes: list[str], attributes: dict[str, str]) -> None:
        name = next((each for each in ("message", "forwarded", *_READ, "page_header") if each in classes), "")
        if name == "message":
            key = attributes.get("id", "").removeprefix("message")
            self._message = _Message(key, "service" in classes, "joined" in classes)
            self.messages.append(self._message)
        elif "date" in classes and self._message is not None and self._message.time is None:
            self._message.time = _time(attributes.get("title", ""))
        self._open.append(name)

    def _add(self, text: str) -> None:
        if self._message is None:
            if "page_header" in self._open:
                self.title.append(text)
            return
        name = next((each for each in reversed(self._open) if each), "")
        is_of_other = name == "from_name" and "forwarded" in self._open
        if name in self._message.texts and not is_of_other:
            self._message.texts[name].append(text)


def _line(texts: list[str]) -> str:
    return " ".join("".join(texts).split())


def _time(title: str) -> str | None:
    found = _TIME.match(title)
    if found is None:
        return None
    day, month, year, time, zone = found.groups()
    return f"{year}-{month}-{day}T{time}{zone or ''}"
