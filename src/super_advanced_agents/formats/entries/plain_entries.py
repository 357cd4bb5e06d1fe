"""Entries of any origin: objects with a text, and turns with a speaker or a role."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from super_advanced_agents.formats.entries.fields import (
    InvalidFieldError,
    is_unique_id,
    message_text,
    remaining_metadata,
    take_name,
    take_number,
    take_string,
    take_time,
)
from super_advanced_agents.formats.parts import Item, Part, PassedOver, Scope

SPOKEN_ROLES = frozenset({"user", "assistant", "human", "ai", "model", "bot", "agent", "customer"})
_TIMES = ("created_at", "timestamp", "date", "time")
_SESSIONS = ("session", "session_id", "conversation_id", "thread_id")


def is_message(value: Any) -> bool:
    """Return whether a value is a message of a chat: a role, and a content."""
    return isinstance(value, dict) and isinstance(value.get("role"), str) and "content" in value


def read_message(value: Mapping[str, Any], *, session: str | None = None, scope: Scope = "file") -> Iterator[Item]:
    """Yield the turn that a message with `role` and `content` is, or what is passed over.

    Args:
        value: the message.
        session: the conversation that it belongs to, unless it names one.
        scope: the files in which `session` means the same conversation.
    """
    rest = dict(value)
    role, text = str(rest.pop("role")), message_text(rest.pop("content"))
    if role.lower() not in SPOKEN_ROLES:
        yield PassedOver("system and tool messages")
        return
    if not text:
        yield PassedOver("messages without text")
        return
    own = take_name(rest, *_SESSIONS)
    name, key = rest.pop("name", None), take_name(rest, "id", "uuid")
    yield Part(
        text=text,
        speaker=name if isinstance(name, str) and name.strip() else role,
        created_at=take_time(rest, *_TIMES),
        session=own or session,
        scope="everywhere" if own else scope,
        key=key,
        is_global=is_unique_id(key),
        metadata=_scalars(rest),
    )


def read_turn(value: Mapping[str, Any]) -> Iterator[Item]:
    """Yield the turn that an object with `speaker` and `text` is."""
    rest = dict(value)
    speaker, text = take_string(rest, "speaker"), take_string(rest, "text")
    if speaker is None or text is None:
        raise InvalidFieldError("it is not an object with a string 'text'")
    if not speaker.strip():
        raise InvalidFieldError("its 'speaker' is empty")
    session = take_name(rest, "session")
    yield Part(
        text=text,
        speaker=speaker,
        session=session,
        scope="everywhere" if session else "file",
        uid=take_string(rest, "uid"),
        created_at=take_time(rest, "created_at"),
        source=take_string(rest, "source"),
        metadata=remaining_metadata(rest),
    )


def read_entry(value: Mapping[str, Any], text_field: str) -> Iterator[Item]:
    """Yield the memory that an object with a text in the field `text_field` is.

    Unknown fields go into the metadata. `expires_at` (seconds since the epoch) becomes the remaining lifetime; an entry
    that has expired is passed over.
    """
    rest = dict(value)
    text = take_string(rest, text_field) or ""
    memory_type = take_string(rest, "memory_type") or take_string(rest, "type")
    expires_in_s, expires_at = take_number(rest, "expires_in_s"), take_number(rest, "expires_at")
    if expires_at is not None:
        expires_in_s = expires_at - time.time()
        if expires_in_s <= 0:
            yield PassedOver("expired entries")
            return
    session, key = take_name(rest, "session"), None if text_field == "text" else take_name(rest, "id")
    yield Part(
        text=text,
        memory_type=memory_type or "fact",
        session=session,
        scope="everywhere" if session else "file",
        uid=take_string(rest, "uid"),
        key=key,
        is_global=is_unique_id(key),
        source=take_string(rest, "source"),
        expires_in_s=expires_in_s,
        priority=take_number(rest, "priority"),
        metadata=remaining_metadata(rest),
    )


def _scalars(rest: Mapping[str, Any]) -> dict[str, Any]:
    # A message's other fields (tool calls, token counts, annotations) are the service's, not the speaker's.
    return {
        name: value for name, value in rest.items() if isinstance(value, str | int | float | bool) and name != "type"
    }
