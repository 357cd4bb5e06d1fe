"""Telegram's export: `result.json`, one chat or all chats of an account."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from super_advanced_agents.formats.content import Content
from super_advanced_agents.formats.entries.fields import iso_time
from super_advanced_agents.formats.parts import Item, Part, PassedOver
from super_advanced_agents.types import JSONValue


def is_export(value: Any) -> bool:
    """Return whether a JSON value is the export of an account: a list of chats."""
    return (
        isinstance(value, dict)
        and isinstance(value.get("chats"), dict)
        and isinstance(value["chats"].get("list"), list)
    )


def is_chat(value: Any) -> bool:
    """Return whether a JSON value is the export of one chat."""
    if not isinstance(value, dict) or not isinstance(value.get("messages"), list):
        return False
    messages = value["messages"]
    if not messages:
        return "type" in value and "id" in value
    return isinstance(messages[0], dict) and "date" in messages[0] and ("from" in messages[0] or "actor" in messages[0])


def read_export(value: Mapping[str, Any], content: Content) -> Iterator[Item]:
    """Yield the turns of all chats of an account."""
    for name in ("chats", "left_chats"):
        chats = value[name].get("list") if isinstance(value.get(name), dict) else None
        for chat in chats if isinstance(chats, list) else ():
            if is_chat(chat):
                yield from read_chat(chat, content)


def read_chat(value: Mapping[str, Any], _: Content) -> Iterator[Item]:
    """Yield the turns of one chat."""
    name, chat = value.get("name"), value.get("id")
    session = " ".join(str(each) for each in (name, chat) if each)
    metadata: dict[str, JSONValue] = {"title": name} if isinstance(name, str) and name.strip() else {}
    for message in value["messages"]:
        if not isinstance(message, dict) or message.get("type") != "message":
            yield PassedOver("service messages")
            continue
        text = _text(message.get("text"))
        if not text:
            yield PassedOver("messages without text")
            continue
        key, date = message.get("id"), message.get("date")
        answered = message.get("reply_to_message_id")
        yield Part(
            text=text,
            speaker=str(message.get("from") or message.get("from_id") or "unknown"),
            created_at=iso_time(message.get("date_unixtime")) or (date if isinstance(date, str) else None),
            session=session or None,
            scope="everywhere" if chat else "file",
            key=None if key is None else str(key),
            is_global=bool(chat),
            metadata={**metadata, "reply_to": answered} if isinstance(answered, int) else metadata,
        )


def _text(text: object) -> str:
    # A text with links or bold words is a list of strings and objects; their white space is part of it.
    if isinstance(text, str):
        return text.strip()
    if not isinstance(text, list):
        return ""
    pieces = [piece.get("text") if isinstance(piece, dict) else piece for piece in text]
    return "".join(piece for piece in pieces if isinstance(piece, str)).strip()
