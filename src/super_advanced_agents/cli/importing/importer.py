"""Importer of text, Markdown and JSON lines, which stores memories in threads as it reads."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain

from super_advanced_agents.agents import LLMAgent
from super_advanced_agents.cli.importing.entries import Entry, MemoryEntry, RejectedLine, TurnEntry
from super_advanced_agents.cli.importing.files import Format, Input, Line, open_input, read_lines, sniff_format
from super_advanced_agents.cli.importing.jsonl import read_jsonl
from super_advanced_agents.cli.importing.prose import read_prose
from super_advanced_agents.cli.importing.units import Conversation, Memories, Unit, gather
from super_advanced_agents.errors import InvalidInputError, SuperAdvancedAgentsError

_WORKERS = 4
_IN_FLIGHT = 6
_MAX_REJECTED = 1_000
_INDEX = re.compile(r"^\w+\[(\d+)\]")


@dataclass(slots=True)
class Summary:
    """The progress of an import: the numbers of stored memories, read files and rejected lines.

    Attributes:
        stored: the number of memories and turns made durable by this run.
        known: the number of memories and turns that an earlier run had stored.
        files: the number of files read to their end.
        failed: the number of lines that could not be imported.
        rejected_lines: the first 1,000 of these lines.
        agents: the number of agents whose settings were stored.
        collections: the number of collections that were created or filled.
        left_out: for each reason to leave valid records or settings out, their number.
        untold: the exports of an older version, which did not tell tenants.
    """

    stored: int = 0
    known: int = 0
    files: int = 0
    failed: int = 0
    rejected_lines: list[RejectedLine] = field(default_factory=list)
    agents: int = 0
    collections: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    untold: list[str] = field(default_factory=list)


class StrictStopError(SuperAdvancedAgentsError):
    """Raised at the first line that cannot be imported, when the option `--strict` is given."""


class Importer:
    """An importer that stores the contents of files as memories of one agent.

    `run` may be interrupted (Ctrl-C); the memories stored until then stay.

    Args:
        agent: the agent that gets the memories.
        memory_type: the label of memories from plain text and Markdown.
        strict: stop at the first line that cannot be imported.
        on_bytes: called with the number of bytes read since the last call.
        on_rejected: called from any thread with each line that cannot be imported.
        summary: the progress so far, which this import adds to.
    """

    def __init__(
        self,
        agent: LLMAgent,
        *,
        memory_type: str,
        strict: bool,
        on_bytes: Callable[[int], None],
        on_rejected: Callable[[RejectedLine], None],
        summary: Summary | None = None,
    ) -> None:
        self.summary = Summary() if summary is None else summary
        self._agent = agent
        self._memory_type = memory_type
        self._strict = strict
        self._on_bytes = on_bytes
        self._on_rejected = on_rejected
        self._lock = threading.Lock()
        self._permits = threading.Semaphore(_IN_FLIGHT)
        self._failure: BaseException | None = None
        self._busy_sessions: dict[str, Future[None]] = {}

    def run(self, inputs: Iterable[Input]) -> None:
        """Read the given files, and return when all memories and turns in them are stored.

        Raises:
            StrictStopError: a line cannot be imported, and `strict` is set.
            KeyboardInterrupt: Ctrl-C was pressed; units whose storing had begun are stored.
            SuperAdvancedAgentsError: the store or the model failed; `summary` holds the progress.
        """
        pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="import")
        try:
            for unit in gather(self._entries(inputs)):
                if isinstance(unit, RejectedLine):
                    self._report(unit)
                else:
                    self._wait_for_session(unit.session)
                    self._permits.acquire()
                    future = pool.submit(self._store, unit)
                    if unit.session is not None:
                        self._busy_sessions[unit.session] = future
                self._raise_failure()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
        pool.shutdown()
        self._raise_failure()

    def _wait_for_session(self, session: str | None) -> None:
        # The turns of a session are neighbours in the order they are stored, so its units must not overtake each other.
        if session is None:
            return
        earlier = self._busy_sessions.get(session)
        if earlier is not None:
            earlier.result()
        self._busy_sessions = {name: future for name, future in self._busy_sessions.items() if not future.done()}

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _entries(self, inputs: Iterable[Input]) -> Iterator[Entry]:
        for file_input in inputs:
            with open_input(file_input) as file:
                lines = read_lines(file, self._on_bytes)
                yield from self._entries_of(lines, file_input.source, file_input.format)
            self.summary.files += 1

    def _entries_of(self, lines: Iterator[Line], source: str, known: Format | None) -> Iterator[Entry]:
        first_lines: list[Line] = []
        while known is None:
            line = next(lines, None)
            if line is None:
                known = "text"
                break
            first_lines.append(line)
            if line.text.strip():
                known = sniff_format(line)
        all_lines = chain(first_lines, lines)
        if known == "jsonl":
            yield from read_jsonl(all_lines, source)
        else:
            yield from read_prose(all_lines, source, memory_type=self._memory_type, markdown=known == "markdown")

    def _store(self, unit: Unit) -> None:
        try:
            if self._failure is None:
                entries = self._not_yet_stored(unit)
                while entries:
                    entries = self._try_store(unit, entries)
        except BaseException as exc:
            with self._lock:
                self._failure = self._failure or exc
        finally:
            self._permits.release()

    def _try_store(self, unit: Unit, entries: Sequence[MemoryEntry | TurnEntry]) -> Sequence[MemoryEntry | TurnEntry]:
        # Returns the entries to try again, without the invalid one that was reported. There are none when all are
        # stored, or when the store refuses all of them.
        try:
            if isinstance(unit, Conversation):
                self._agent.add_turns(
                    [entry.turn for entry in entries if isinstance(entry, TurnEntry)], session=unit.session
                )
            else:
                self._agent.add_text_memories([entry.memory for entry in entries if isinstance(entry, MemoryEntry)])
        except InvalidInputError as exc:
            index = _INDEX.match(exc.field)
            invalid = int(index[1]) if index else None
            if invalid is not None and invalid < len(entries):
                self._report(RejectedLine(entries[invalid].location, exc.message.removeprefix(exc.field).strip()))
                return [*entries[:invalid], *entries[invalid + 1 :]]
            for entry in entries:
                self._report(RejectedLine(entry.location, exc.message))
            return []
        with self._lock:
            self.summary.stored += len(entries)
        return []

    def _not_yet_stored(self, unit: Unit) -> Sequence[MemoryEntry | TurnEntry]:
        # A conversation of which any turn is missing is returned as a whole.
        uids = [uid for entry in unit.entries if not entry.overwrite and (uid := _uid(entry))]
        if not uids:
            return unit.entries
        store, namespace = self._agent.vector_store, self._agent.namespace
        known = {record.uid for record in store.get(uids, namespace=namespace)}
        if isinstance(unit, Memories) and unit.session is None:
            missing: Sequence[MemoryEntry | TurnEntry] = [
                entry for entry in unit.entries if entry.overwrite or entry.memory.uid not in known
            ]
        else:
            missing = [] if len(known) == len(unit.entries) else unit.entries
        with self._lock:
            self.summary.known += len(unit.entries) - len(missing)
        return missing

    def _report(self, rejected: RejectedLine) -> None:
        with self._lock:
            self.summary.failed += 1
            if len(self.summary.rejected_lines) < _MAX_REJECTED:
                self.summary.rejected_lines.append(rejected)
        self._on_rejected(rejected)
        if self._strict:
            stop = StrictStopError(
                f"stopped at {rejected.location}: {rejected.reason}",
                hint="correct the line, then run the same command again",
            )
            with self._lock:
                self._failure = self._failure or stop


def _uid(entry: MemoryEntry | TurnEntry) -> str | None:
    return entry.memory.uid if isinstance(entry, MemoryEntry) else entry.turn.uid
