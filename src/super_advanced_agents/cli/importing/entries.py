"""Entries read from an imported file: memories, conversation turns and rejected lines."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import TypeAlias

from super_advanced_agents.types import Memory, Turn


@dataclass(frozen=True, slots=True)
class SourceLocation:
    """A place in an imported file: the file's name and a line number."""

    source: str
    line: int

    def __str__(self) -> str:
        return f"{self.source}:{self.line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryEntry:
    """A text to store as a memory, read from a file, with the line where it begins.

    Attributes:
        location: the line where the memory begins.
        memory: the memory, with its uid.
        overwrite: store the memory even when the store has its uid: the file gave the uid, so that the text may have
            changed since the last import, or the memory has a lifetime, which begins again.
    """

    location: SourceLocation
    memory: Memory
    overwrite: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnEntry:
    """A conversation's turn (one message) read from a file, with its line and conversation.

    Attributes:
        location: the line of the turn.
        turn: the turn, with its uid.
        session: the id of the conversation (session) that the turn belongs to.
        overwrite: store the turn even when the store has its uid, since the file gave the uid.
    """

    location: SourceLocation
    turn: Turn
    session: str
    overwrite: bool = False


@dataclass(frozen=True, slots=True)
class RejectedLine:
    """A line of an imported file that cannot be stored, and the reason."""

    location: SourceLocation
    reason: str


Entry: TypeAlias = MemoryEntry | TurnEntry | RejectedLine


def stable_uid(source: str, *parts: str, line: int | None = None) -> str:
    """Return an id (uid) hashed from a file's name and a text, the same at every import.

    So a second import stores no memory twice. The uid begins with a digest of the source, then the line
    where it is given: memories of one file are neighbours in the store's order of uids, which also keeps the index
    append-only while a file is imported.
    """
    line_part = "" if line is None else f"{line:08x}-"
    return f"{_digest(source, size=6)}-{line_part}{_digest(*parts, size=10)}"


def _digest(*parts: str, size: int) -> str:
    digest = blake2b(digest_size=size)
    for part in parts:
        encoded = part.encode(errors="surrogatepass")
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return digest.hexdigest()
