"""Protocols of the agent whose memories an import changes, in a folder or at a server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from super_advanced_agents.types import Memory, Record, Relocation, Where

_PAGE = 1_000


class Scans(Protocol):
    """Read memories page by page; an `LLMAgent` and a `RemoteAgent` do."""

    def scan(self, where: Where | None = None, *, after: str | None = None, limit: int = 100) -> list[Record]:
        """Return one page of memories, in the order of their uids."""


class Target(Scans, Protocol):
    """Read and change memories; an `LLMAgent` and a `RemoteAgent` do."""

    def add_text_memories(self, items: Sequence[str | Memory], /) -> list[str]:
        """Embed texts and store them durably, all or none; return their uids."""

    def forget(self, uids: Sequence[str] | None = None) -> int:
        """Delete memories by their uids; return the number deleted."""

    def relocate_memories(self, relocations: Sequence[Relocation] = (), *, order: Sequence[str] = ()) -> int:
        """Change where memories stand, or the order of a session's turns; return the number changed."""


def scan_all(memories: Scans, where: Where) -> Iterator[Record]:
    """Yield the memories that match a filter, read page by page.

    A server sends them without their vectors.
    """
    after: str | None = None
    while page := memories.scan(where, after=after, limit=_PAGE):
        yield from page
        after = page[-1].uid
