"""Validation of texts, dicts and conversation turns, and their conversion to memories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields

from super_advanced_agents.config import LIMITS, checked_text
from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.types import JSONValue, Memory, Metadata, Turn, Where

_RESERVED_KEYS = frozenset({"text", "type", "session"})
_TURN_KEYS = frozenset({"speaker", "session", "turn", "created_at"})


def as_memories(items: Sequence[str | Memory | Mapping[str, JSONValue]]) -> list[Memory]:
    """Convert a list of texts, `Memory` objects or dicts of their fields to `Memory` objects.

    Raises:
        InvalidInputError: `items` is not a list, or an item is none of these or has an unknown or missing field.
    """
    if isinstance(items, str | Mapping) or not isinstance(items, Sequence):
        raise InvalidInputError("items must be a list of texts, Memory values or dicts", field="items")
    return [_as_memory(item, f"items[{i}]") for i, item in enumerate(items)]


def _as_memory(item: object, field: str) -> Memory:
    if isinstance(item, str):
        return Memory(text=item)
    if isinstance(item, Memory):
        return item
    return Memory(**_checked_fields(item, Memory, ("text",), field))  # type: ignore[arg-type]  # values are checked later


def as_turns(turns: Sequence[Turn | Mapping[str, JSONValue]]) -> list[Turn]:
    """Convert `Turn` objects (conversation turns) or dicts of their fields to checked `Turn`s.

    Raises:
        InvalidInputError: `turns` is not a list, or an item is neither of these or has a wrong field.
    """
    if isinstance(turns, str | Mapping) or not isinstance(turns, Sequence):
        raise InvalidInputError("turns must be a list of Turn values or dicts", field="turns")
    checked = []
    for i, item in enumerate(turns):
        field = f"turns[{i}]"
        # The values are validated below, and by the functions that the turns are passed to.
        turn = item if isinstance(item, Turn) else Turn(**_checked_fields(item, Turn, ("speaker", "text"), field))  # type: ignore[arg-type]
        checked_text(turn.speaker, f"{field}.speaker", max_bytes=LIMITS.uid_chars)
        checked_text(turn.text, f"{field}.text", max_bytes=LIMITS.text_bytes)
        checked.append(turn)
    return checked


def _checked_fields(
    item: object, kind: type[Memory] | type[Turn], required: Sequence[str], field: str
) -> dict[str, object]:
    if not isinstance(item, Mapping):
        raise InvalidInputError(f"{field} must be a dict or a {kind.__name__}, not {type(item).__name__}", field=field)
    known = {known_field.name for known_field in fields(kind)}
    for name in item:
        if name not in known:
            raise InvalidInputError(
                f"{field} has an unknown key {str(name)[:64]!r}",
                field=field,
                hint=f"known are {', '.join(sorted(known))}; further metadata goes into 'extra'",
            )
    for name in required:
        if not isinstance(item.get(name), str):
            raise InvalidInputError(f"{field} needs a string {name!r}", field=f"{field}.{name}")
    return dict(item)


def memory_metadata(memory: Memory, *, field: str = "") -> Metadata:
    """Build a memory's metadata dict from its text, type, conversation name and extra keys.

    Args:
        memory: the memory.
        field: the argument that the memory comes from, for error messages.

    Raises:
        InvalidInputError: a value is wrong, or `extra` holds a key that the agent sets itself.
    """
    prefix = f"{field}." if field else ""
    checked_text(memory.text, f"{prefix}text", max_bytes=LIMITS.text_bytes)
    checked_text(memory.memory_type, f"{prefix}memory_type", max_bytes=LIMITS.uid_chars)
    metadata: Metadata = {"text": memory.text, "type": memory.memory_type}
    if memory.session is not None:
        checked_text(memory.session, f"{prefix}session", max_bytes=LIMITS.uid_chars)
        metadata["session"] = memory.session
    return {**metadata, **_checked_extra(memory.extra, f"{prefix}extra", frozenset(metadata))}


def memory_changes(text: str | None, memory_type: str | None, extra: object, *, prefix: str = "") -> Metadata:
    """Build a JSON merge patch (RFC 7396) that changes a memory's text, type and extra metadata.

    `prefix` stands before the names of the fields in errors.

    Raises:
        InvalidInputError: a value is wrong, or `extra` holds a key that the agent sets itself.
    """
    changes: Metadata = {}
    if text is not None:
        changes["text"] = checked_text(text, "text", max_bytes=LIMITS.text_bytes)
    if memory_type is not None:
        changes["type"] = checked_text(memory_type, "memory_type", max_bytes=LIMITS.uid_chars)
    return {**changes, **_checked_extra(extra, f"{prefix}extra", _RESERVED_KEYS)}


def turn_memory(turn: Turn, session: str | None, position: int) -> Memory:
    """Convert one turn of a conversation to a `Memory` that keeps its speaker and position.

    Raises:
        InvalidInputError: `extra` holds a key that the agent sets itself.
    """
    metadata: dict[str, JSONValue] = {"speaker": turn.speaker, "turn": position}
    if turn.created_at is not None:
        metadata["created_at"] = turn.created_at
    extra = _checked_extra(turn.extra, f"turns[{position}].extra", _TURN_KEYS)
    text = f"{turn.speaker}: {turn.text}"
    return Memory(text=text, memory_type="turn", uid=turn.uid, extra={**metadata, **extra}, session=session)


def _checked_extra(extra: object, field: str, reserved: frozenset[str]) -> dict[str, JSONValue]:
    if extra is None:
        return {}
    if not isinstance(extra, Mapping):
        raise InvalidInputError(f"{field} must be a dict, not {type(extra).__name__}", field=field)
    taken = reserved.intersection(extra)
    if taken:
        raise InvalidInputError(f"{field} may not hold {min(taken)!r}", field=field, hint="the agent sets it itself")
    return dict(extra)


def narrow_to_type(memory_type: str | None, where: Where | None) -> Where | None:
    """Add the condition `type == memory_type` to a metadata filter; None adds no condition.

    Without a filter, the condition alone is returned.
    """
    if memory_type is None:
        return where
    checked_text(memory_type, "memory_type", max_bytes=LIMITS.uid_chars)
    type_filter: Where = {"type": memory_type}
    return type_filter if where is None else {"$and": [dict(type_filter), dict(where)]}
