"""Entries gathered into what is stored by one call: a batch of memories, or one conversation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from super_advanced_agents.cli.importing.entries import Entry, MemoryEntry, Trouble, TurnEntry

_MEMORIES = 256
_TURNS = 1_000
_QUIET_ENTRIES = 256
_HELD_ENTRIES = 8_000

E = TypeVar("E", MemoryEntry, TurnEntry)


@dataclass(frozen=True, slots=True)
class Memories:
    """Memories that are stored together, in this order; of one session, or of none."""

    entries: list[MemoryEntry]
    session: str | None = None


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns of one session that are stored together, in this order."""

    entries: list[TurnEntry]
    session: str


Unit: TypeAlias = Memories | Conversation


def gather(entries: Iterable[Entry]) -> Iterator[Unit | Trouble]:
    """Units as soon as they are whole; sessions may be interleaved in a file, a few thousand turns apart at most.

    A session ends when none of its turns came for 256 entries, or at 1,000 turns; what comes later begins a new unit.
    Memories that were turns once (`saa export` writes them so) are brought back into the order they were said in.
    """
    loose: list[MemoryEntry] = []
    turns: _Sessions[TurnEntry] = _Sessions()
    former_turns: _Sessions[MemoryEntry] = _Sessions()
    for entry in entries:
        if isinstance(entry, Trouble):
            yield entry
        elif isinstance(entry, TurnEntry):
            turns.add(entry.session, entry)
        elif entry.memory.session is not None:
            former_turns.add(entry.memory.session, entry)
        else:
            loose.append(entry)
            if len(loose) == _MEMORIES:
                yield Memories(loose)
                loose = []
        yield from (Conversation(each, session) for session, each in turns.ended())
        yield from (_as_said(session, each) for session, each in former_turns.ended())
    if loose:
        yield Memories(loose)
    yield from (Conversation(each, session) for session, each in turns.left())
    yield from (_as_said(session, each) for session, each in former_turns.left())


def _as_said(session: str, entries: list[MemoryEntry]) -> Memories:
    places = [entry.memory.extra.get("turn") for entry in entries]
    if all(isinstance(place, int) for place in places):
        entries = [entries[i] for i in sorted(range(len(entries)), key=places.__getitem__)]  # type: ignore[arg-type]
    return Memories(entries, session)


class _Sessions(Generic[E]):
    """Sessions that may still go on, the one that has been quiet for longest first."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], tuple[int, list[E]]] = {}
        self._ended: list[tuple[str, list[E]]] = []
        self._count = 0
        self._held = 0

    def add(self, session: str, entry: E) -> None:
        """Take the next entry of a session."""
        key = (entry.place.source, session)
        _, entries = self._open.pop(key, (0, []))
        entries.append(entry)
        self._count += 1
        self._held += 1
        if len(entries) < _TURNS:
            self._open[key] = (self._count, entries)
        else:
            self._held -= len(entries)
            self._ended.append((session, entries))

    def ended(self) -> Iterator[tuple[str, list[E]]]:
        """Sessions that are whole by now."""
        while self._open:
            (_, session), (seen, entries) = next(iter(self._open.items()))
            if self._held <= _HELD_ENTRIES and self._count - seen < _QUIET_ENTRIES:
                break
            self._held -= len(entries)
            del self._open[next(iter(self._open))]
            self._ended.append((session, entries))
        ended, self._ended = self._ended, []
        yield from ended

    def left(self) -> Iterator[tuple[str, list[E]]]:
        """All others, at the end."""
        for (_, session), (_, entries) in self._open.items():
            yield session, entries
