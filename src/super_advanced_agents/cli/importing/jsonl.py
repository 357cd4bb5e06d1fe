"""Reader of JSON lines: each is a memory (`text`) or a message (`speaker` and `text`)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from typing import cast

from super_advanced_agents.cli.importing.entries import (
    Entry,
    MemoryEntry,
    RejectedLine,
    SourceLocation,
    TurnEntry,
    stable_uid,
)
from super_advanced_agents.cli.importing.files import Line
from super_advanced_agents.types import JSONValue, Memory, Metadata, Turn

_SESSION_CHARS = 200


def read_jsonl(lines: Iterable[Line], source: str) -> Iterator[Entry]:
    """Parse each line as a JSON object, and yield a memory, a conversation turn or a rejection.

    Unknown fields go into the metadata. A turn without `session` belongs to a session named after the file. A
    memory's `expires_at` (seconds since the epoch, as `saa export` writes it) becomes its remaining lifetime; expired
    memories are left out.
    """
    for line in lines:
        location = SourceLocation(source, line.number)
        if line.problem:
            yield RejectedLine(location, line.problem)
            continue
        if not line.text.strip():
            continue
        try:
            value = json.loads(line.text, parse_constant=_refuse_constant)
        except RecursionError:
            yield RejectedLine(location, "it is nested too deeply")
            continue
        except ValueError as exc:
            yield RejectedLine(location, f"it is not JSON: {exc.msg if isinstance(exc, json.JSONDecodeError) else exc}")
            continue
        if not isinstance(value, dict) or not isinstance(value.get("text"), str):
            yield RejectedLine(location, "it is not an object with a string 'text'")
            continue
        try:
            entry = _turn(value, location) if "speaker" in value else _memory(value, location)
        except _InvalidMemberError as exc:
            yield RejectedLine(location, str(exc))
            continue
        if entry is not None:
            yield entry


class _InvalidMemberError(Exception):
    """Raised when a field of a line's JSON object has the wrong type; caught in this module."""


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not a JSON number")


def _turn(value: Metadata, location: SourceLocation) -> TurnEntry:
    rest = dict(value)
    speaker, text = _string(rest, "speaker"), _string(rest, "text")
    session = rest.pop("session", None)
    if session is None:
        session = location.source[-_SESSION_CHARS:]
    elif isinstance(session, int) and not isinstance(session, bool):
        session = str(session)
    elif not isinstance(session, str):
        raise _InvalidMemberError("its 'session' is not a string")
    uid = _optional_string(rest, "uid")
    created_at = rest.pop("created_at", None)
    if isinstance(created_at, bool) or not isinstance(created_at, str | int | float | None):
        raise _InvalidMemberError("its 'created_at' is neither a string nor a number")
    turn = Turn(
        speaker=speaker,
        text=text,
        uid=uid or stable_uid(location.source, session, speaker, text, line=location.line),
        created_at=created_at,
        extra=_extra(rest),
    )
    return TurnEntry(location=location, turn=turn, session=session, overwrite=uid is not None)


def _memory(value: Metadata, location: SourceLocation) -> MemoryEntry | None:
    rest = dict(value)
    text = _string(rest, "text")
    uid = _optional_string(rest, "uid")
    memory_type = _optional_string(rest, "memory_type") or _optional_string(rest, "type") or "fact"
    session = _optional_string(rest, "session")
    source = _optional_string(rest, "source") if "source" in rest else location.source
    expires_in_s = _optional_number(rest, "expires_in_s")
    expires_at = _optional_number(rest, "expires_at")
    if expires_at is not None:
        expires_in_s = expires_at - time.time()
        if expires_in_s <= 0:
            return None
    memory = Memory(
        text=text,
        memory_type=memory_type,
        uid=uid or stable_uid(location.source, json.dumps(value, sort_keys=True), line=location.line),
        extra=_extra(rest),
        expires_in_s=expires_in_s,
        source=source,
        session=session,
    )
    # A memory with a lifetime is stored at every import, so that its lifetime begins again.
    return MemoryEntry(location=location, memory=memory, overwrite=uid is not None or expires_in_s is not None)


def _extra(rest: Metadata) -> Metadata:
    extra = rest.pop("extra", None)
    if extra is None:
        return rest
    if not isinstance(extra, dict):
        raise _InvalidMemberError("its 'extra' is not an object")
    return {**rest, **extra}


def _string(rest: Metadata, name: str) -> str:
    value = rest.pop(name)
    if not isinstance(value, str):
        raise _InvalidMemberError(f"its {name!r} is not a string")
    return value


def _optional_string(rest: Metadata, name: str) -> str | None:
    value: JSONValue = rest.pop(name, None)
    if value is not None and not isinstance(value, str):
        raise _InvalidMemberError(f"its {name!r} is not a string")
    return value


def _optional_number(rest: Metadata, name: str) -> float | None:
    value = rest.pop(name, None)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise _InvalidMemberError(f"its {name!r} is not a number")
    return cast("float | None", value)
