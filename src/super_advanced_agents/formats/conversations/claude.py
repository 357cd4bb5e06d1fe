"""Claude's export: `conversations.json`, an array of conversations with `chat_messages`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from super_advanced_agents.formats.content import Content
from super_advanced_agents.formats.entries.fields import message_text
from super_advanced_agents.formats.parts import Item, Part, PassedOver
from super_advanced_agents.types import JSONValue

_SPEAKERS = {"human": "user", "user": "user", "assistant": "assistant"}


def is_conversation(value: Any) -> bool:
    """Return whether a JSON value is a conversation of this export."""
    return isinstance(value, dict) and isinstance(value.get("chat_messages"), list)


def read_conversation(value: Mapping[str, Any], _: Content) -> Iterator[Item]:
    """Yield the turns of one conversation."""
    session, title = value.get("uuid"), value.get("name")
    metadata: dict[str, JSONValue] = {"title": title} if isinstance(title, str) and title.strip() else {}
    for message in value["chat_messages"]:
        speaker = _SPEAKERS.get(str(message.get("sender"))) if isinstance(message, dict) else None
        if speaker is None:
            yield PassedOver("system and tool messages")
            continue
        # `content` repeats `text` in parts, with those of tools between them.
        parts = message.get("content")
        texts = (
            [part for part in parts if isinstance(part, dict) and part.get("type") == "text"]
            if isinstance(parts, list)
            else []
        )
        text = message_text(texts) or message_text(message.get("text"))
        if not text:
            yield PassedOver("messages without text")
            continue
        created_at, key = message.get("created_at"), message.get("uuid")
        yield Part(
            text=text,
            speaker=speaker,
            created_at=created_at if isinstance(created_at, str) else None,
            session=session if isinstance(session, str) and session else str(title),
            scope="everywhere" if isinstance(session, str) and session else "file",
            key=key if isinstance(key, str) else None,
            is_global=isinstance(session, str) and bool(session),
            metadata=metadata,
        )
