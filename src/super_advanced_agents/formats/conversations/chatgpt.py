"""ChatGPT's export: `conversations.json`, an array of conversations as trees of messages."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from super_advanced_agents.formats.content import Content
from super_advanced_agents.formats.entries.fields import iso_time, message_text
from super_advanced_agents.formats.parts import Item, Part, PassedOver
from super_advanced_agents.types import JSONValue

_CONTENTS = (None, "text", "multimodal_text", "code")  # compared and not hashed: a damaged file may hold a list
_MAX_MESSAGES = 100_000
_CITATION = re.compile("\ue200[^\ue201]{0,500}\ue201|\u3010[^\u3010\u3011]{0,100}\u2020[^\u3010\u3011]{0,200}\u3011")
"""Marks of sources, which are of no use outside of the service."""


def is_conversation(value: Any) -> bool:
    """Return whether a JSON value is a conversation of this export."""
    return isinstance(value, dict) and isinstance(value.get("mapping"), dict)


def read_conversation(value: Mapping[str, Any], _: Content) -> Iterator[Item]:
    """Yield the turns of one conversation: of its tree, the branch that the user saw last."""
    mapping = value["mapping"]
    session = value.get("conversation_id") or value.get("id")
    title = value.get("title")
    metadata: dict[str, JSONValue] = {"title": title} if isinstance(title, str) and title.strip() else {}
    branch = _branch(mapping, value.get("current_node"))
    seen = set(branch)
    for key in mapping:
        if key not in seen and _is_spoken(mapping[key]):
            yield PassedOver("messages of other branches")
    for key in branch:
        message = mapping[key].get("message")
        if not isinstance(message, dict):
            continue
        if not _is_spoken(mapping[key]):
            yield PassedOver("system and tool messages")
            continue
        text = _text(message.get("content"))
        if not text:
            yield PassedOver("messages without text")
            continue
        yield Part(
            text=text,
            speaker=message["author"]["role"],
            created_at=iso_time(message.get("create_time")) or iso_time(value.get("create_time")),
            session=session if isinstance(session, str) else _first_key(mapping, title),
            scope="everywhere" if isinstance(session, str) else "file",
            key=key[:200],
            is_global=isinstance(session, str),
            metadata=metadata,
        )


def is_feedback(value: Any) -> bool:
    """Return whether a JSON value is a rating of a message, in `message_feedback.json`."""
    return isinstance(value, dict) and isinstance(value.get("rating"), str) and "conversation_id" in value


def read_feedback(_: Mapping[str, Any], __: Content) -> Iterator[Item]:
    """Pass over a rating, whose content is the service's."""
    yield PassedOver("ratings of messages")


def _branch(mapping: Mapping[str, Any], current: object) -> list[str]:
    # From the last message up to the root, each parent once: a damaged file may have a cycle.
    if not isinstance(current, str) or current not in mapping:
        leaves = [key for key, node in mapping.items() if isinstance(node, dict) and not node.get("children")]
        current = leaves[-1] if leaves else None
    branch: dict[str, None] = {}
    while isinstance(current, str) and isinstance(mapping.get(current), dict) and current not in branch:
        branch[current] = None
        if len(branch) >= _MAX_MESSAGES:
            break
        current = mapping[current].get("parent")
    return list(reversed(branch))


def _is_spoken(node: object) -> bool:
    # False for messages of the model to a tool, and for hidden messages of the service.
    message = node.get("message") if isinstance(node, dict) else None
    if not isinstance(message, dict) or message.get("recipient") not in (None, "all"):
        return False
    author, about = message.get("author"), message.get("metadata")
    if isinstance(about, dict) and about.get("is_visually_hidden_from_conversation") is True:
        return False
    return isinstance(author, dict) and author.get("role") in ("user", "assistant")


def _first_key(mapping: Mapping[str, Any], title: object) -> str:
    return f"{title if isinstance(title, str) else ''} {next(iter(mapping), '')}".strip()[:200]


def _text(content: object) -> str:
    if not isinstance(content, dict) or content.get("content_type") not in _CONTENTS:
        return ""
    text = message_text(content["parts"]) if isinstance(content.get("parts"), list) else message_text(content)
    return _CITATION.sub("", text).strip()
