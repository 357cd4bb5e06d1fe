"""Conversations of messages with `role` and `content`, as OpenAI's interface has them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from super_advanced_agents.formats.content import Content
from super_advanced_agents.formats.conversations import langchain
from super_advanced_agents.formats.entries.fields import message_text, take_name, take_time
from super_advanced_agents.formats.entries.plain_entries import is_message, read_message
from super_advanced_agents.formats.parts import Item, Part, PassedOver, Problem

NAMES = "conversations without a name"
"""The key, in the notes of a file, of the names that its conversations got."""


def read_messages(
    messages: Sequence[Any], content: Content, session: str | None = None, *, named: bool = False
) -> Iterator[Item]:
    """Yield the turns of a list of messages, which is one conversation.

    Args:
        messages: messages with `role` and `content`, or messages of LangChain.
        content: the file.
        session: the name of the conversation; made from its first messages when None.
        named: whether the file itself gave the name.
    """
    session = session or _own_name(messages, content)
    for message in messages:
        if is_message(message):
            yield from read_message(message, session=session, scope="everywhere" if named else "file")
        elif langchain.is_message(message):
            for item in langchain.read_message(message):
                if isinstance(item, Part):
                    yield replace(item, session=session, scope="everywhere" if named else "file")
                else:
                    yield item
        else:
            yield Problem(0, "one of its messages has no role and content")


def read_conversation(value: dict[str, Any], content: Content) -> Iterator[Item]:
    """Yield the turns of an object whose `messages` are a conversation."""
    rest = dict(value)
    messages = rest.pop("messages")
    if not messages:
        yield PassedOver("conversations without messages")
        return
    session = take_name(rest, "session", "session_id", "conversation_id", "thread_id", "id", "uuid")
    title = rest.get("title") or rest.get("name")
    created_at = take_time(rest, "created_at", "create_time", "timestamp")
    for item in read_messages(messages, content, session, named=session is not None):
        if isinstance(item, Part):
            metadata = {**({"title": title} if isinstance(title, str) and title else {}), **item.metadata}
            yield replace(
                item, metadata=metadata, created_at=item.created_at if item.created_at is not None else created_at
            )
        else:
            yield item


def _own_name(messages: Sequence[Any], content: Content) -> str:
    # A conversation without a name is called by a digest of its first messages, which stays when others are put before
    # it. Conversations with equal beginnings are numbered.
    texts = [message_text(message.get("content")) for message in messages[:2] if isinstance(message, dict)]
    digest = hashlib.blake2b("\0".join(texts).encode(errors="surrogatepass"), digest_size=6).hexdigest()
    names: Counter[str] = content.notes.setdefault(NAMES, Counter())
    names[digest] += 1
    return digest if names[digest] == 1 else f"{digest} {names[digest]}"
