"""Fields of an entry's JSON object: taken out of it, with their types checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast

from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.types import JSONValue

_UUID = re.compile(r"[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}", re.IGNORECASE)
_EPOCH = re.compile(r"\d{9,10}(\.\d{1,9})?|\d{13}")
_DAY_CHARS = len("2024-03-01")
_LEAST_MILLISECONDS = 1e11  # as seconds, the year 5138
_MAX_EPOCH_S = 253_402_300_799  # the end of the year 9999


class InvalidFieldError(InvalidInputError):
    """Report that a field of an entry has the wrong type; the parsers make a problem of it."""


def take_string(rest: dict[str, Any], *names: str) -> str | None:
    """Take the first named field that is there out of an object; return None if none is.

    Raises:
        InvalidFieldError: it is not a string.
    """
    for name in names:
        value = rest.pop(name, None)
        if value is None:
            continue
        if not isinstance(value, str):
            raise InvalidFieldError(f"its {name!r} is not a string")
        return value
    return None


def take_name(rest: dict[str, Any], *names: str) -> str | None:
    """Take the first named field that is there: a string, or a number that is meant as one.

    Raises:
        InvalidFieldError: it is neither a string nor a whole number.
    """
    for name in names:
        value = rest.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            rest[name] = str(value)
        taken = take_string(rest, name)
        if taken:
            return taken
    return None


def take_number(rest: dict[str, Any], name: str) -> float | None:
    """Take a number out of an object; return None if it is not there.

    Raises:
        InvalidFieldError: it is not a number.
    """
    value = rest.pop(name, None)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise InvalidFieldError(f"its {name!r} is not a number")
    return cast("float | None", value)


def take_time(rest: dict[str, Any], *names: str) -> str | float | None:
    """Take a time out of an object, as the file writes it: ISO 8601, or seconds since the epoch.

    Raises:
        InvalidFieldError: it is neither a string nor a number.
    """
    for name in names:
        value = rest.pop(name, None)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise InvalidFieldError(f"its {name!r} is neither a string nor a number")
        return value
    return None


def iso_time(seconds: object) -> str | None:
    """Return seconds since the epoch (a number or its digits) as ISO 8601 in UTC, or None."""
    try:
        number = float(cast("float", seconds))
        if not -_MAX_EPOCH_S < number < _MAX_EPOCH_S:
            return None
        return datetime.fromtimestamp(number, UTC).isoformat(timespec="seconds")
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def zoned_time(value: str | float | None) -> str | float | None:
    """Return a time as ISO 8601 with a zone: that of this machine where the file tells none.

    A day, and what is no time that is known here, stay as the file writes them.
    """
    if isinstance(value, str) and not _EPOCH.fullmatch(value.strip()):
        try:
            time = datetime.fromisoformat(value.strip())
            return (
                value if time.tzinfo is not None or len(value.strip()) <= _DAY_CHARS else time.astimezone().isoformat()
            )
        except (ValueError, OverflowError, OSError):
            return value
    if value is None:
        return None
    try:
        seconds = float(value)
    except OverflowError:
        return str(value)
    return iso_time(seconds / 1_000 if abs(seconds) >= _LEAST_MILLISECONDS else seconds) or value


def is_unique_id(value: object) -> bool:
    """Return whether an id is a UUID, or contains one, so that nothing else in the world has it."""
    return isinstance(value, str) and _UUID.search(value) is not None


def message_text(content: object) -> str:
    """Return the text of a message's content, which is a string or a list of parts."""
    if isinstance(content, str):
        return content.strip()
    if isinstance(content, Mapping):
        inner = content.get("text")
        return inner.strip() if isinstance(inner, str) else ""
    if isinstance(content, list):
        texts = [message_text(part) if isinstance(part, str | Mapping) else "" for part in content]
        return "\n".join(text for text in texts if text)
    return ""


def remaining_metadata(rest: Mapping[str, Any]) -> dict[str, JSONValue]:
    """Return the fields that are left, with those of `extra` and `metadata` beside them.

    Raises:
        InvalidFieldError: `extra` is not an object.
    """
    merged = dict(rest)
    extra = merged.pop("extra", None)
    metadata = merged.pop("metadata", None)
    if extra is not None and not isinstance(extra, dict):
        raise InvalidFieldError("its 'extra' is not an object")
    if isinstance(metadata, dict):
        merged.update(metadata)
    elif metadata is not None:
        merged["metadata"] = metadata
    merged.update(extra or {})
    return merged
