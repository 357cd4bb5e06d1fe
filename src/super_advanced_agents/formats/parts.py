"""Items that a parser yields: parts to store, problems, and entries passed over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.types import JSONValue

Scope: TypeAlias = Literal["file", "folder", "everywhere"]
"""The files in which a session's name means the same conversation."""


class NotUnderstoodError(InvalidInputError):
    """Report that a file is of no known format, or too large for its format."""


class UnreadableError(NotUnderstoodError):
    """Report that a file is damaged or may not be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Hold one text of a file, with the place that it stands at and what is known about it.

    Attributes:
        text: the text; without the speaker for a turn of a conversation.
        line: the line where it begins, counted from 1; 0 where the format has no lines.
        end_line: the line where it ends.
        heading: the path of its headings, such as `"Install > Licence"`.
        speaker: who said or wrote it; None for what is no turn of a conversation.
        created_at: when it was said, as the file writes it; what `FileFormat` yields is ISO 8601 with a zone.
        session: the conversation (thread) that it belongs to; None for the only one of the scope.
        scope: the files in which `session` means the same conversation.
        key: identifies the part within its session, where the format gives it an id; None otherwise.
        is_global: whether the service gives each session and key once, so that equal ones in two files are one part.
        uid: the uid that the file asks for.
        memory_type: the label that the file asks for.
        source: the source that the file gives instead of its own name.
        metadata: further fields.
        expires_in_s: seconds after which it is never returned.
        priority: how much it matters.
    """

    text: str
    line: int = 0
    end_line: int = 0
    heading: str = ""
    speaker: str | None = None
    created_at: str | float | None = None
    session: str | None = None
    scope: Scope = "file"
    key: str | None = None
    is_global: bool = False
    uid: str | None = None
    memory_type: str | None = None
    source: str | None = None
    metadata: Mapping[str, JSONValue] = field(default_factory=dict)
    expires_in_s: float | None = None
    priority: float | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """Describe a line that cannot be read: its number (0 for the whole file) and the reason."""

    line: int
    why: str


@dataclass(frozen=True, slots=True)
class PassedOver:
    """Say what of a file is not stored on purpose, such as `"system message"`."""

    what: str


Item: TypeAlias = Part | Problem | PassedOver
