"""Storing what is read while the next is read: a few units in flight, each durable when its call returns."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from super_advanced_agents.agents import LLMAgent
from super_advanced_agents.cli.importing.entries import Entry, MemoryEntry, Trouble, TurnEntry
from super_advanced_agents.cli.importing.files import Format, Input, Line, open_input, read_lines, sniffed
from super_advanced_agents.cli.importing.jsonl import read_jsonl
from super_advanced_agents.cli.importing.prose import read_prose
from super_advanced_agents.cli.importing.units import Conversation, Memories, Unit, gather
from super_advanced_agents.errors import InvalidInputError, SuperAdvancedAgentsError

_WORKERS = 4
_IN_FLIGHT = 6
_KEPT_TROUBLES = 1_000
_INDEX = re.compile(r"^\w+\[(\d+)\]")


@dataclass(slots=True)
class Summary:
    """How far an import has come.

    Attributes:
        stored: memories and turns made durable by this run.
        known: those an earlier run had stored already.
        files: files read to their end.
        failed: lines that could not be imported.
        troubles: the first thousand of them.
    """

    stored: int = 0
    known: int = 0
    files: int = 0
    failed: int = 0
    troubles: list[Trouble] = field(default_factory=list)


class StrictStopError(SuperAdvancedAgentsError):
    """The first line that could not be imported, where that ends the import."""


class Importer:
    """One import into one agent; `run` may be interrupted (Ctrl-C), what it had stored stays stored.

    Args:
        agent: whose memories they become.
        memory_type: the label of memories from plain text and Markdown.
        strict: stop at the first line that cannot be imported.
        on_bytes: told how many bytes were read.
        on_trouble: told about each line that cannot be imported, from any thread.
        summary: of what was imported before, to go on with.
    """

    def __init__(
        self,
        agent: LLMAgent,
        *,
        memory_type: str,
        strict: bool,
        on_bytes: Callable[[int], None],
        on_trouble: Callable[[Trouble], None],
        summary: Summary | None = None,
    ) -> None:
        self.summary = Summary() if summary is None else summary
        self._agent = agent
        self._memory_type = memory_type
        self._strict = strict
        self._on_bytes = on_bytes
        self._on_trouble = on_trouble
        self._changed = threading.Lock()
        self._room = threading.Semaphore(_IN_FLIGHT)
        self._failure: BaseException | None = None
        self._busy_sessions: dict[str, Future[None]] = {}

    def run(self, inputs: Iterable[Input]) -> None:
        """Import everything.

        Raises:
            StrictStopError: a line could not be imported, and `strict` was asked for.
            KeyboardInterrupt: Ctrl-C; units that were being stored were finished.
            SuperAdvancedAgentsError: the store or the model failed; `summary` says how far it came.
        """
        pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="import")
        try:
            for unit in gather(self._entries(inputs)):
                if isinstance(unit, Trouble):
                    self._report(unit)
                else:
                    self._await_earlier(unit.session)
                    self._room.acquire()
                    future = pool.submit(self._store, unit)
                    if unit.session is not None:
                        self._busy_sessions[unit.session] = future
                self._check()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
        pool.shutdown()
        self._check()

    def _await_earlier(self, session: str | None) -> None:
        """A session's turns are neighbours in the order they are stored, so its units must not overtake each other."""
        if session is None:
            return
        earlier = self._busy_sessions.get(session)
        if earlier is not None:
            earlier.result()
        self._busy_sessions = {name: future for name, future in self._busy_sessions.items() if not future.done()}

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _entries(self, inputs: Iterable[Input]) -> Iterator[Entry]:
        for given in inputs:
            with open_input(given) as file:
                lines = read_lines(file, self._on_bytes)
                yield from self._entries_of(lines, given.source, given.format)
            self.summary.files += 1

    def _entries_of(self, lines: Iterator[Line], source: str, known: Format | None) -> Iterator[Entry]:
        begun: list[Line] = []
        while known is None:
            line = next(lines, None)
            if line is None:
                known = "text"
                break
            begun.append(line)
            if line.text.strip():
                known = sniffed(line)
        every = _chained(begun, lines)
        if known == "jsonl":
            yield from read_jsonl(every, source)
        else:
            yield from read_prose(every, source, memory_type=self._memory_type, markdown=known == "markdown")

    def _store(self, unit: Unit) -> None:
        """Store one unit, in a worker thread."""
        try:
            if self._failure is None:
                entries = self._unknown(unit)
                while entries:
                    entries = self._attempt(unit, entries)
        except BaseException as exc:
            with self._changed:
                self._failure = self._failure or exc
        finally:
            self._room.release()

    def _attempt(self, unit: Unit, entries: Sequence[MemoryEntry | TurnEntry]) -> Sequence[MemoryEntry | TurnEntry]:
        """Store `entries`; when one of them is to blame for a failure, report it and return the others."""
        try:
            if isinstance(unit, Conversation):
                self._agent.add_turns(
                    [entry.turn for entry in entries if isinstance(entry, TurnEntry)], session=unit.session
                )
            else:
                self._agent.add_text_memories([entry.memory for entry in entries if isinstance(entry, MemoryEntry)])
        except InvalidInputError as exc:
            found = _INDEX.match(exc.field)
            blamed = int(found[1]) if found else None
            if blamed is not None and blamed < len(entries):
                self._report(Trouble(entries[blamed].place, exc.message.removeprefix(exc.field).strip()))
                return [*entries[:blamed], *entries[blamed + 1 :]]
            for entry in entries:
                self._report(Trouble(entry.place, exc.message))
            return []
        with self._changed:
            self.summary.stored += len(entries)
        return []

    def _unknown(self, unit: Unit) -> Sequence[MemoryEntry | TurnEntry]:
        """What of the unit an earlier run has not stored; a conversation is whole, or it is stored again whole."""
        uids = [uid for entry in unit.entries if not entry.named and (uid := _uid(entry))]
        if not uids:
            return unit.entries
        store, namespace = self._agent.vector_store, self._agent.namespace
        known = {record.uid for record in store.get(uids, namespace=namespace)}
        if isinstance(unit, Memories) and unit.session is None:
            left: Sequence[MemoryEntry | TurnEntry] = [
                entry for entry in unit.entries if entry.named or entry.memory.uid not in known
            ]
        else:
            left = [] if len(known) == len(unit.entries) else unit.entries
        with self._changed:
            self.summary.known += len(unit.entries) - len(left)
        return left

    def _report(self, trouble: Trouble) -> None:
        with self._changed:
            self.summary.failed += 1
            if len(self.summary.troubles) < _KEPT_TROUBLES:
                self.summary.troubles.append(trouble)
        self._on_trouble(trouble)
        if self._strict:
            stop = StrictStopError(
                f"stopped at {trouble.place}: {trouble.why}", hint="mend it, then run the same again"
            )
            with self._changed:
                self._failure = self._failure or stop


def _uid(entry: MemoryEntry | TurnEntry) -> str | None:
    return entry.memory.uid if isinstance(entry, MemoryEntry) else entry.turn.uid


def _chained(first: list[Line], rest: Iterator[Line]) -> Iterator[Line]:
    yield from first
    yield from rest
