"""Memories that earlier imports stored: those of a file, and of files that have vanished."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from super_advanced_agents.cli.importing.files import Inputs, digest_of_location
from super_advanced_agents.cli.importing.memories import body_digest, content_digest
from super_advanced_agents.stores import VectorStore
from super_advanced_agents.types import Record, Where

_PAGE = 1_000
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
    """

    uid: str
    digest: bytes
    body: bytes
    place: tuple[object, ...]
    is_turn: bool


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
    """The memories of files in one agent's namespace.

    Args:
        store: the store.
        namespace: the agent's namespace.
    """

    def __init__(self, store: VectorStore, namespace: str) -> None:
        self._store = store
        self._namespace = namespace
        self._sources: dict[str, str] | None = None

    def parts_of(self, file_id: str) -> list[StoredPart]:
        """Return the memories of a file, in their order in the file."""
        if file_id not in self.sources():
            return []
        numbered = [(_order(record), _stored_part(record)) for record in self._scan({"file_id": file_id})]
        numbered.sort(key=lambda pair: pair[0])
        return [part for _, part in numbered]

    def sources(self) -> dict[str, str]:
        """Return the source of each imported file by its id; read once."""
        if self._sources is None:
            self._sources = {}
            for record in self._scan({"file_id": {"$exists": True}}):
                file_id, source = record.metadata.get("file_id"), record.metadata.get("file", record.source)
                if isinstance(file_id, str) and isinstance(source, str):
                    self._sources.setdefault(file_id, source)
        return self._sources

    def vanished(self, inputs: Inputs, present: Iterable[str]) -> Iterator[tuple[str, str]]:
        """Yield the id and the location of each imported file that is no longer there.

        A file's location is not stored, only its digest: it is guessed from its source, which is relative to a folder
        at, above or below those that are imported now.

        Args:
            inputs: the files that are imported now.
            present: the ids of files that are there.
        """
        there = set(present)
        left = {file_id: source for file_id, source in self.sources().items() if file_id not in there}
        above = {str(each) for folder in inputs.folders for each in (Path(folder), *Path(folder).parents)}
        above |= {folder.rpartition("/")[0] for folder in inputs.complete}
        below = set(inputs.subfolders) - above
        guesses = len(left) * len(below)
        for file_id, source in left.items():
            location = _guess(source, file_id, above) or (
                _guess(source, file_id, below) if guesses < _MAX_GUESSES else None
            )
            if location is not None and not _exists(location, inputs.complete):
                yield file_id, location

    def _scan(self, where: Where) -> Iterator[Record]:
        after: str | None = None
        while page := self._store.scan(where, after=after, limit=_PAGE, namespace=self._namespace):
            yield from page
            after = page[-1].uid


def _stored_part(record: Record) -> StoredPart:
    text, memory_type = record.text or "", str(record.metadata.get("type", ""))
    extra = {name: value for name, value in record.metadata.items() if name not in {"text", "type", "session"}}
    return StoredPart(
        record.uid,
        content_digest(text, memory_type, extra),
        body_digest(text),
        place_of(record.metadata, record.source, record.session),
        memory_type == "turn",
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
    # Behind the path of a zip file stands that of its member, which is there as long as nobody has looked into it.
    if os.path.lexists(location):
        return True
    archive = next((str(parent) for parent in Path(location).parents if parent.is_file()), None)
    return archive is not None and archive not in looked_into
