"""The outcome of an import: what was stored, and what could not be or was left out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from super_advanced_agents.errors import SuperAdvancedAgentsError

_MAX_REJECTED = 1_000
_MAX_CHANGED = 1_000

Change: TypeAlias = Literal["added", "replaced", "deleted"]


@dataclass(frozen=True, slots=True)
class SourceLocation:
    """A place in an imported file: the file's name and a line number; 0 for the file as a whole."""

    source: str
    line: int

    def __str__(self) -> str:
        return f"{self.source}:{self.line}" if self.line else self.source


@dataclass(frozen=True, slots=True)
class RejectedLine:
    """Hold a line of an imported file that cannot be stored, and the reason."""

    location: SourceLocation
    reason: str


@dataclass(slots=True)
class Summary:
    """Count the stored memories, read files and rejected lines of an import.

    Attributes:
        stored: the number of memories and turns made durable by this run.
        replaced: how many of these took the place of an older text.
        known: the number of memories and turns that were stored before, unchanged.
        deleted: the number of memories that are gone from their files, and were deleted.
        kept: the number of memories that are gone from their files, and were not deleted.
        files: the number of files read to their end.
        failed: the number of lines that could not be imported.
        rejected_lines: the first 1,000 of these lines.
        passed_over: for each reason to leave files out, their number.
        not_understood: the first 1,000 of the files left out because nobody can tell what they hold.
        left_out: for each reason to leave valid entries, records or settings out, their number.
        changes: for each source, the numbers of memories that the plan adds, replaces and deletes.
        vanished: the sources of files that are gone.
        agents: the number of agents whose settings were stored.
        collections: the number of collections that were created or filled.
        untold: the exports of an older version, which did not tell tenants.
    """

    stored: int = 0
    replaced: int = 0
    known: int = 0
    deleted: int = 0
    kept: int = 0
    files: int = 0
    failed: int = 0
    rejected_lines: list[RejectedLine] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)
    not_understood: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    changes: dict[str, Counter[Change]] = field(default_factory=dict)
    vanished: list[str] = field(default_factory=list)
    agents: int = 0
    collections: int = 0
    untold: list[str] = field(default_factory=list)

    def change(self, source: str, how: Change) -> None:
        """Count a change that is planned, for each of the first 1,000 files that have one."""
        if source in self.changes or len(self.changes) < _MAX_CHANGED:
            self.changes.setdefault(source, Counter())[how] += 1

    def pass_over(self, source: str) -> None:
        """Keep the name of a file that is not understood if it is one of the first."""
        if len(self.not_understood) < _MAX_REJECTED:
            self.not_understood.append(source)

    def reject(self, rejected: RejectedLine) -> None:
        """Count a line that cannot be imported, and keep it if it is one of the first."""
        self.failed += 1
        if len(self.rejected_lines) < _MAX_REJECTED:
            self.rejected_lines.append(rejected)


class StrictStopError(SuperAdvancedAgentsError):
    """Raised at the first line that cannot be imported, when the option `--strict` is given."""
