"""Groups of imported entries, each stored by one call: memory batches and conversations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from super_advanced_agents.cli.importing.entries import Entry, MemoryEntry, RejectedLine, TurnEntry

_MAX_MEMORIES = 256
_MAX_TURNS = 1_000
_IDLE_ENTRIES = 256
_MAX_WAITING = 8_000

E = TypeVar("E", MemoryEntry, TurnEntry)


@dataclass(frozen=True, slots=True)
class Memories:
    """A batch of memories, stored by one call in this order.

    All are of one session (conversation), or none has a session.
    """

    entries: list[MemoryEntry]
    session: str | None = None


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns (messages) of one conversation, stored by one call in this order."""

    entries: list[TurnEntry]
    session: str


Unit: TypeAlias = Memories | Conversation


def gather(entries: Iterable[Entry]) -> Iterator[Unit | RejectedLine]:
    """Group memories into batches and turns into conversations, and yield each when complete.

    Rejected lines are yielded unchanged. Sessions may be interleaved in a file. A session ends when it had no turn for
    256 entries, when it has 1,000 turns, or when more than 8,000 turns of all sessions wait; a later turn begins a new
    conversation. Memories that were turns of a conversation (`saa export` writes them so) are put back into the order
    of their turns.
    """
    loose: list[MemoryEntry] = []
    turns: _OpenSessions[TurnEntry] = _OpenSessions()
    former_turns: _OpenSessions[MemoryEntry] = _OpenSessions()
    for entry in entries:
        if isinstance(entry, RejectedLine):
            yield entry
        elif isinstance(entry, TurnEntry):
            turns.add(entry.session, entry)
        elif entry.memory.session is not None:
            former_turns.add(entry.memory.session, entry)
        else:
            loose.append(entry)
            if len(loose) == _MAX_MEMORIES:
                yield Memories(loose)
                loose = []
        yield from (Conversation(group, session) for session, group in turns.pop_ended())
        yield from (_in_turn_order(session, group) for session, group in former_turns.pop_ended())
    if loose:
        yield Memories(loose)
    yield from (Conversation(group, session) for session, group in turns.remaining())
    yield from (_in_turn_order(session, group) for session, group in former_turns.remaining())


def _in_turn_order(session: str, entries: list[MemoryEntry]) -> Memories:
    turn_numbers = [entry.memory.extra.get("turn") for entry in entries]
    if all(isinstance(number, int) for number in turn_numbers):
        entries = [entries[i] for i in sorted(range(len(entries)), key=turn_numbers.__getitem__)]  # type: ignore[arg-type]
    return Memories(entries, session)


class _OpenSessions(Generic[E]):
    # `_open` is in the order of the sessions' last entries.

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], tuple[int, list[E]]] = {}
        self._ended: list[tuple[str, list[E]]] = []
        self._count = 0
        self._waiting = 0

    def add(self, session: str, entry: E) -> None:
        key = (entry.location.source, session)
        _, entries = self._open.pop(key, (0, []))
        entries.append(entry)
        self._count += 1
        self._waiting += 1
        if len(entries) < _MAX_TURNS:
            self._open[key] = (self._count, entries)
        else:
            self._waiting -= len(entries)
            self._ended.append((session, entries))

    def pop_ended(self) -> Iterator[tuple[str, list[E]]]:
        # A session ends when it is full or idle for long, and, when too many entries wait, when it is idle for longest.
        while self._open:
            (_, session), (seen, entries) = next(iter(self._open.items()))
            if self._waiting <= _MAX_WAITING and self._count - seen < _IDLE_ENTRIES:
                break
            self._waiting -= len(entries)
            del self._open[next(iter(self._open))]
            self._ended.append((session, entries))
        ended, self._ended = self._ended, []
        yield from ended

    def remaining(self) -> Iterator[tuple[str, list[E]]]:
        for (_, session), (_, entries) in self._open.items():
            yield session, entries
