"""Dumps of LangChain and LangGraph: messages, documents, states and items of stores."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from super_advanced_agents.formats.content import Content
from super_advanced_agents.formats.entries.fields import is_unique_id, message_text, remaining_metadata, take_string
from super_advanced_agents.formats.parts import Item, Part, PassedOver, Problem
from super_advanced_agents.types import JSONValue

_SPEAKERS = {"human": "user", "ai": "assistant"}
_KINDS = {"system", "tool", "function", "chat", "remove", *_SPEAKERS}
_MESSAGE_CLASSES = {"HumanMessage": "human", "AIMessage": "ai", "HumanMessageChunk": "human", "AIMessageChunk": "ai"}


def is_message(value: Any) -> bool:
    """Return whether a value is a message of `dumpd`, `messages_to_dict` or `model_dump`."""
    return _kind(value) is not None


def read_message(value: Mapping[str, Any], _: Content | None = None) -> Iterator[Item]:
    """Yield the turn that a message is."""
    kind, fields = _kind(value), _fields(value)
    if kind == "chat":
        speaker = str(fields.get("role") or "chat")
    elif kind in _SPEAKERS:
        speaker = _SPEAKERS[kind]
    else:
        yield PassedOver("system and tool messages")
        return
    text = message_text(fields.get("content"))
    if not text:
        yield PassedOver("messages without text")
        return
    name, key = fields.get("name"), fields.get("id")
    yield Part(
        text=text,
        speaker=name if isinstance(name, str) and name.strip() else speaker,
        key=key if isinstance(key, str) and key else None,
        is_global=is_unique_id(key),
    )


def is_document(value: Any) -> bool:
    """Return whether a JSON value is a document: it has `page_content`, or `dumpd` wrote it so."""
    return isinstance(value, dict) and isinstance(_fields(value).get("page_content"), str)


def read_document(value: Mapping[str, Any], _: Content) -> Iterator[Item]:
    """Yield the part that a document is, with its metadata."""
    rest = {name: field for name, field in _fields(value).items() if field is not None}
    text = take_string(rest, "page_content") or ""
    rest.pop("type", None)
    metadata = remaining_metadata(rest)
    key = metadata.pop("id", None)
    source = metadata.pop("source", None)
    yield Part(
        text=text,
        memory_type="document",
        key=key if isinstance(key, str) else None,
        is_global=is_unique_id(key),
        metadata=metadata,
        source=source if isinstance(source, str) and source.isprintable() and len(source) <= 1_024 and source else None,
    )


def is_state(value: Any) -> bool:
    """Return whether a JSON value is a state or a checkpoint of a graph that holds messages."""
    return isinstance(value, dict) and _state_messages(value) is not None


def read_state(value: Mapping[str, Any], _: Content) -> Iterator[Item]:
    """Yield the turns of a state: its thread is the session."""
    thread = _thread(value)
    if not _state_messages(value):
        yield PassedOver("states without messages")
    for index, message in enumerate(_state_messages(value) or ()):
        if not is_message(message):
            yield Problem(0, "one of its messages is of no known type")
            continue
        for item in read_message(message):
            if isinstance(item, Part):
                # Each checkpoint of a thread repeats the messages before it, at the same index.
                yield replace(
                    item,
                    key=item.key or (f"{index} {item.text}" if thread else None),
                    session=thread,
                    scope="everywhere" if thread else "file",
                    created_at=_state_time(value),
                )
            else:
                yield item


def is_store_item(value: Any) -> bool:
    """Return whether a value is an item of a LangGraph store: `namespace`, `key` and `value`."""
    return isinstance(value, dict) and isinstance(value.get("value"), dict) and "namespace" in value and "key" in value


def read_store_item(value: Mapping[str, Any], _: Content) -> Iterator[Item]:
    """Yield the part that an item is: its one text, or its value as JSON."""
    held = dict(value["value"])
    name = next(
        (name for name in ("text", "content", "memory", "data", "value") if isinstance(held.get(name), str)), None
    )
    text = str(held.pop(name)) if name else json.dumps(held, ensure_ascii=False)
    namespace = value["namespace"]
    metadata: dict[str, JSONValue] = {"store_namespace": namespace, "store_key": value["key"]}
    for field in ("created_at", "updated_at"):
        if isinstance(value.get(field), str):
            metadata[field] = value[field]
    yield Part(
        text=text,
        memory_type="fact",
        key=f"{namespace} {value['key']}",
        metadata={
            **({k: v for k, v in held.items() if k not in {"text", "type", "session"}} if name else {}),
            **metadata,
        },
    )


def _kind(value: Any) -> str | None:
    if not isinstance(value, dict):
        return None
    if value.get("lc") and isinstance(value.get("id"), list) and value["id"]:
        name = str(value["id"][-1])
        return _MESSAGE_CLASSES.get(name) or ("system" if name.endswith(("Message", "MessageChunk")) else None)
    kind = value.get("type")
    if not isinstance(kind, str):
        return None
    kind = _MESSAGE_CLASSES.get(kind, kind)
    return kind if kind in _KINDS and "content" in _fields(value) else None


def _fields(value: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = (
        value.get("kwargs") if value.get("lc") else value.get("data") if isinstance(value.get("type"), str) else None
    )
    return inner if isinstance(inner, dict) else value


def _state_messages(value: Mapping[str, Any]) -> list[Any] | None:
    if isinstance(value.get("checkpoint"), dict):
        return _state_messages(value["checkpoint"])
    for name in ("channel_values", "values"):
        held = value.get(name)
        if isinstance(held, dict) and isinstance(held.get("messages"), list):
            return list(held["messages"])
    messages = value.get("messages")
    if isinstance(messages, list) and messages and all(map(is_message, messages)):
        return messages
    # The first state of a thread holds no message yet.
    return [] if isinstance(value.get("values"), dict) and isinstance(value.get("config"), dict) else None


def _thread(value: Mapping[str, Any]) -> str | None:
    config = value.get("config")
    configurable = config.get("configurable") if isinstance(config, dict) else None
    held = configurable if isinstance(configurable, dict) else value
    thread = held.get("thread_id") or value.get("thread_id")
    return str(thread) if thread else None


def _state_time(value: Mapping[str, Any]) -> str | None:
    checkpoint = value.get("checkpoint")
    inner = checkpoint.get("ts") if isinstance(checkpoint, dict) else None
    time = value.get("created_at") or value.get("ts") or inner
    return time if isinstance(time, str) else None
