"""Memories that earlier imports stored: those of a file, and of files that have vanished."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from super_advanced_agents.tenancy.importing.files import Inputs, digest_of_location
from super_advanced_agents.tenancy.importing.locations import Locations
from super_advanced_agents.tenancy.importing.memories import body_digest, content_digest
from super_advanced_agents.tenancy.importing.target import Scans, scan_all
from super_advanced_agents.types import Record

_UIDS = 200  # of 256 characters each, they are within the limit of a filter
_MAX_GUESSES = 500_000


@dataclass(slots=True)
class StoredPart:
    """A memory that an earlier import stored; its digests are those of `NewPart`.

    Attributes:
        uid: its uid.
        digest: says what it is, without its place.
        body: the same, without names and headings.
        place: where it stood: its lines, turn, file, source and session.
        is_turn: whether it is a turn of a conversation.
        file_id: the file that it is of.
    """

    uid: str
    digest: bytes
    body: bytes
    place: tuple[object, ...]
    is_turn: bool
    file_id: str


@dataclass(frozen=True, slots=True)
class AbsentFile:
    """A file of an earlier import that is not among the files of this one.

    Attributes:
        file_id: its id.
        source: the source of its memories.
        location: its absolute path; empty when it is not known.
        has_vanished: whether it is known to be gone.
    """

    file_id: str
    source: str
    location: str
    has_vanished: bool


def place_of(metadata: object, source: str | None, session: str | None) -> tuple[object, ...]:
    """Return the place of a memory, to compare it with another."""
    fields = metadata if isinstance(metadata, dict) else {}
    lines = fields.get("lines")
    return (
        tuple(lines) if isinstance(lines, list) else None,
        fields.get("turn"),
        fields.get("file_id"),
        source,
        session,
    )


class StoredFiles:
    """Read the memories of files that one agent has.

    Args:
        memories: the agent's memories.
    """

    def __init__(self, memories: Scans) -> None:
        self._memories = memories
        self._sources: dict[str, str] | None = None

    def parts_of(self, file_id: str) -> list[StoredPart]:
        """Return the memories of a file, in their order in the file."""
        if file_id not in self.sources():
            return []
        numbered = [(_order(record), _stored_part(record)) for record in scan_all(self._memories, {"file_id": file_id})]
        numbered.sort(key=lambda pair: pair[0])
        return [part for _, part in numbered]

    def sources(self) -> dict[str, str]:
        """Return the source of each imported file by its id; read once."""
        if self._sources is None:
            self._sources = {}
            for record in scan_all(self._memories, {"file_id": {"$exists": True}}):
                file_id, source = record.metadata.get("file_id"), record.metadata.get("file", record.source)
                if isinstance(file_id, str) and isinstance(source, str):
                    self._sources.setdefault(file_id, source)
        return self._sources

    def with_uids(self, uids: list[str]) -> Iterator[StoredPart]:
        """Yield the stored memories with these uids, in the order of the uids."""
        for start in range(0, len(uids), _UIDS):
            batch = uids[start : start + _UIDS]
            found = {record.uid: record for record in scan_all(self._memories, {"$uid": {"$in": batch}})}
            yield from (_stored_part(found[uid]) for uid in batch if uid in found)

    def absent(self, inputs: Inputs, present: Iterable[str], locations: Locations) -> Iterator[AbsentFile]:
        """Yield the imported files that are not among those of this import.

        A memory tells only a digest of its file's path. The path is that of an earlier import on this machine, or is
        guessed: the source is relative to a folder at, above or below those that are imported now.

        Args:
            inputs: the files that are imported now.
            present: their ids.
            locations: the paths of files that were imported on this machine.
        """
        there = set(present)
        left = {file_id: source for file_id, source in self.sources().items() if file_id not in there}
        above = {str(each) for folder in inputs.folders for each in (Path(folder), *Path(folder).parents)}
        above |= {folder.rpartition("/")[0] for folder in inputs.complete}
        below = set(inputs.subfolders) - above
        guesses = len(left) * len(below)
        for file_id, source in left.items():
            location = (
                locations.get(file_id)
                or _guess(source, file_id, above)
                or (_guess(source, file_id, below) if guesses < _MAX_GUESSES else None)
                or ""
            )
            gone = bool(location) and not _exists(location, inputs.complete)
            yield AbsentFile(file_id, source, location, has_vanished=gone)


def _stored_part(record: Record) -> StoredPart:
    text, memory_type = record.text or "", str(record.metadata.get("type", ""))
    extra = {name: value for name, value in record.metadata.items() if name not in {"text", "type", "session"}}
    return StoredPart(
        record.uid,
        content_digest(text, memory_type, extra),
        body_digest(text),
        place_of(record.metadata, record.source, record.session),
        memory_type == "turn",
        str(record.metadata.get("file_id", "")),
    )


def _order(record: Record) -> tuple[int, int, int, str]:
    lines, turn = record.metadata.get("lines"), record.metadata.get("turn")
    first = lines[0] if isinstance(lines, list) and lines and isinstance(lines[0], int) else 0
    return (first, turn if isinstance(turn, int) else 0, record.place or 0, record.uid)


def _guess(source: str, file_id: str, folders: Iterable[str]) -> str | None:
    for folder in folders:
        location = f"{folder.rstrip('/')}/{source}"
        if digest_of_location(location) == file_id:
            return location
    return None


def _exists(location: str, looked_into: Iterable[str]) -> bool:
    # A path may go on inside a zip file. Its member counts as existing unless this import has read the zip file.
    if os.path.lexists(location):
        return True
    archive = next((str(parent) for parent in Path(location).parents if parent.is_file()), None)
    return archive is not None and archive not in looked_into
