"""mem0's memories, as its `get_all` returns them: objects with `memory` and `id`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from super_advanced_agents.formats.content import Content
from super_advanced_agents.formats.entries.fields import is_unique_id, remaining_metadata, take_name, take_string
from super_advanced_agents.formats.parts import Item, Part


def is_memory(value: Any) -> bool:
    """Return whether a JSON value is such a memory."""
    return isinstance(value, dict) and isinstance(value.get("memory"), str)


def read_memory(value: Mapping[str, Any], _: Content) -> Iterator[Item]:
    """Yield the part that a memory is; its scores and hashes are left out."""
    rest = {name: field for name, field in value.items() if field is not None and name not in {"hash", "score"}}
    text = take_string(rest, "memory") or ""
    key = take_name(rest, "id")
    yield Part(
        text=text,
        memory_type=take_string(rest, "type") or "fact",
        key=key,
        is_global=is_unique_id(key),
        metadata=remaining_metadata(rest),
    )
