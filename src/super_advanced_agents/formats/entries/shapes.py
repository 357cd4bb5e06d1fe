"""The known shapes of JSON values, and the parser of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from super_advanced_agents.formats.content import Content
from super_advanced_agents.formats.conversations import chatgpt, claude, langchain, mem0, slack, telegram
from super_advanced_agents.formats.conversations.messages import read_conversation, read_messages
from super_advanced_agents.formats.entries.fields import InvalidFieldError
from super_advanced_agents.formats.entries.plain_entries import is_message, read_entry, read_message, read_turn
from super_advanced_agents.formats.parts import Item, Part, Problem

UNKNOWN_SHAPE = "it is of no known shape, such as a text, a message or a conversation"


@dataclass(frozen=True, slots=True)
class Shape:
    """One shape of a JSON value.

    Attributes:
        matches: whether a value has this shape.
        read: yields the parts of such a value of a file.
    """

    matches: Callable[[Any], bool]
    read: Callable[[Any, Content], Iterator[Item]]


def _has_text(field: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and isinstance(value.get(field), str)


def _entry_reader(field: str) -> Callable[[Any, Content], Iterator[Item]]:
    return lambda value, _: read_entry(value, field)


def _holds_messages(value: Any) -> bool:
    messages = value.get("messages") if isinstance(value, dict) else None
    return isinstance(messages, list) and (
        not messages or any(is_message(message) or langchain.is_message(message) for message in messages)
    )


def _holds_list(value: Any) -> bool:
    return isinstance(value, dict) and _list_in(value) is not None


def _list_in(value: Mapping[str, Any]) -> list[Any] | None:
    for name in ("results", "memories", "conversations", "documents", "items", "data", "entries", "turns"):
        if isinstance(value.get(name), list):
            return list(value[name])
    return None


def _read_list(value: Mapping[str, Any], content: Content) -> Iterator[Item]:
    for element in _list_in(value) or ():
        yield from read_value(element, content)


SHAPES = (
    Shape(chatgpt.is_conversation, chatgpt.read_conversation),
    Shape(chatgpt.is_feedback, chatgpt.read_feedback),
    Shape(claude.is_conversation, claude.read_conversation),
    Shape(claude.is_project, claude.read_project),
    Shape(telegram.is_export, telegram.read_export),
    Shape(telegram.is_chat, telegram.read_chat),
    Shape(slack.is_message, slack.read_message),
    Shape(slack.is_directory, slack.read_directory),
    Shape(langchain.is_message, langchain.read_message),
    Shape(langchain.is_state, langchain.read_state),
    Shape(langchain.is_store_item, langchain.read_store_item),
    Shape(langchain.is_document, langchain.read_document),
    Shape(is_message, lambda value, _: read_message(value)),
    Shape(_holds_messages, read_conversation),
    Shape(lambda value: isinstance(value, list) and all(map(is_message, value)), read_messages),
    Shape(
        lambda value: isinstance(value, dict) and "speaker" in value and "text" in value,
        lambda value, _: read_turn(value),
    ),
    Shape(mem0.is_memory, mem0.read_memory),
    *(Shape(_has_text(field), _entry_reader(field)) for field in ("text", "content", "body", "note")),
    Shape(_holds_list, _read_list),
    Shape(
        lambda value: isinstance(value, str) and bool(value.strip()),
        lambda value, _: iter([Part(text=value, memory_type="fact")]),
    ),
)
"""The shapes in the order in which they are tried; a special one stands before general ones."""


def shape_of(value: Any) -> Shape | None:
    """Return the shape of a JSON value, or None if it is not known."""
    return next((shape for shape in SHAPES if shape.matches(value)), None)


def read_value(value: Any, content: Content, line: int = 0, end_line: int = 0) -> Iterator[Item]:
    """Yield the parts of one JSON value of a file, or a problem where it is not understood."""
    shape = shape_of(value)
    if shape is None:
        yield Problem(line, UNKNOWN_SHAPE)
        return
    try:
        for item in shape.read(value, content):
            yield replace(item, line=line, end_line=end_line) if isinstance(item, Part) else item
    except InvalidFieldError as exc:
        yield Problem(line, exc.message)
