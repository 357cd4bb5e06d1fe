"""What comes out of a file: memories, turns, and what could not be read."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import TypeAlias

from super_advanced_agents.types import Memory, Turn


@dataclass(frozen=True, slots=True)
class SourceLocation:
    """A line of a file."""

    source: str
    line: int

    def __str__(self) -> str:
        return f"{self.source}:{self.line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryEntry:
    """A memory read from a file.

    Attributes:
        place: where it begins.
        memory: with its uid.
        named: the file itself gave the uid, so the text may have changed since it was last imported.
    """

    place: SourceLocation
    memory: Memory
    named: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnEntry:
    """A conversation's turn read from a file; attributes as those of `MemoryEntry`."""

    place: SourceLocation
    turn: Turn
    session: str
    named: bool = False


@dataclass(frozen=True, slots=True)
class Trouble:
    """A line that could not be imported, and why."""

    place: SourceLocation
    why: str


Entry: TypeAlias = MemoryEntry | TurnEntry | Trouble


def stable_uid(source: str, *parts: str, line: int | None = None) -> str:
    """A name that is the same each time the same thing is imported, so that a second import replaces, not repeats.

    It begins with what stands for the source (and the line, where given): memories of one file lie together in the
    store's order, which also keeps its index append-only while a file is imported.
    """
    place = "" if line is None else f"{line:08x}-"
    return f"{_digest(source, size=6)}-{place}{_digest(*parts, size=10)}"


def _digest(*parts: str, size: int) -> str:
    digest = blake2b(digest_size=size)
    for part in parts:
        encoded = part.encode(errors="surrogatepass")
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return digest.hexdigest()
