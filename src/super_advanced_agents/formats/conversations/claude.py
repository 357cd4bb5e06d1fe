"""Claude's export: `conversations.json`, an array of conversations with `chat_messages`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from super_advanced_agents.formats.content import Content
from super_advanced_agents.formats.documents.markdown import markdown_parts
from super_advanced_agents.formats.entries.fields import message_text
from super_advanced_agents.formats.parts import Item, Part, PassedOver
from super_advanced_agents.types import JSONValue

_PASTED = frozenset({"", "paste.txt", "pasted"})
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
        text = "\n\n".join(filter(None, (message_text(texts) or message_text(message.get("text")), _pasted(message))))
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


def is_project(value: Any) -> bool:
    """Return whether a JSON value is a project of this export, in its `projects.json`."""
    return isinstance(value, dict) and isinstance(value.get("docs"), list) and "uuid" in value and "name" in value


def read_project(value: Mapping[str, Any], _: Content) -> Iterator[Item]:
    """Yield the parts of the documents of a project."""
    for document in value["docs"]:
        text = document.get("content") if isinstance(document, dict) else None
        if not isinstance(text, str) or not text.strip():
            yield PassedOver("documents without text")
            continue
        name = document.get("filename")
        for part in markdown_parts(text, PurePosixPath(name).stem if isinstance(name, str) else ""):
            yield replace(
                part, metadata={"project": str(value["name"])[:200], "document": str(name)[:200], **part.metadata}
            )


def _pasted(message: Mapping[str, Any]) -> str:
    # A long text that was pasted into the conversation is exported as an attachment without a name.
    attachments = message.get("attachments")
    texts = [
        attachment.get("extracted_content")
        for attachment in (attachments if isinstance(attachments, list) else ())
        if isinstance(attachment, dict) and str(attachment.get("file_name")) in _PASTED
    ]
    return "\n\n".join(text.strip() for text in texts if isinstance(text, str) and text.strip())
