"""Files of earlier imports that are not in this one: renamed, moved, unpacked or gone."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator

from super_advanced_agents.tenancy.importing.files import Input
from super_advanced_agents.tenancy.importing.stored import AbsentFile, StoredFiles, StoredPart


class AbsentFiles:
    """Find the memories of absent files again: of renamed, moved and unpacked ones.

    A file that was renamed or moved has vanished from its place. One that was unpacked has not: its zip file is still
    there. One whose place is not known, since it was imported on another machine, is recognized by its source.

    Args:
        stored: the memories of earlier imports.
        files: the absent files.
    """

    def __init__(self, stored: StoredFiles, files: Iterable[AbsentFile]) -> None:
        self._stored = stored
        self._files = {file.file_id: file for file in files}
        self._parts: dict[str, list[StoredPart]] = {}
        self._holders: dict[bytes, set[str]] = defaultdict(set)
        self._by_body: dict[bytes, deque[StoredPart]] = defaultdict(deque)
        self._claimed: set[str] = set()
        self._adopted: set[str] = set()
        for file in self._files.values():
            if file.has_vanished:
                self._load(file)

    def vanished(self, file_id: str) -> bool:
        """Return whether a file has vanished."""
        return file_id in self._files and self._files[file_id].has_vanished

    def adopt(self, file: Input, digests: Iterable[bytes]) -> list[StoredPart]:
        """Return the memories of the absent file that a new file was before it was renamed or moved.

        That is the one of which most memories, and at least half, stand in the new file. They are its own then.
        """
        counted = Counter(digests)
        candidates = {holder for digest in counted for holder in self._holders.get(digest, ())}
        candidates |= {other.file_id for other in self._files.values() if _is_alike(file, other)}
        best, most = "", 0
        for file_id in sorted(candidates - self._adopted):
            parts = self._load(self._files[file_id])
            held = (counted & Counter(part.digest for part in parts)).total()
            if held > most and held * 2 >= len(parts):
                best, most = file_id, held
        if not best:
            return []
        self._adopted.add(best)
        return [part for part in self._parts[best] if part.uid not in self._claimed]

    def claim(self, body: bytes) -> str | None:
        """Return the uid of a memory with this text in a vanished file, or None.

        Each memory is returned once.
        """
        waiting = self._by_body.get(body)
        while waiting:
            part = waiting.popleft()
            if part.file_id not in self._adopted and part.uid not in self._claimed:
                self._claimed.add(part.uid)
                return part.uid
        return None

    def left(self) -> Iterator[tuple[AbsentFile, list[StoredPart], bool]]:
        """Yield each vanished file with its memories that were found nowhere else.

        The third value says whether at least half of its memories were found.
        """
        for file in self._files.values():
            if file.has_vanished and file.file_id not in self._adopted:
                parts = self._parts[file.file_id]
                left = [part for part in parts if part.uid not in self._claimed]
                yield file, left, len(left) * 2 <= len(parts)

    def _load(self, file: AbsentFile) -> list[StoredPart]:
        if file.file_id not in self._parts:
            parts = self._parts[file.file_id] = self._stored.parts_of(file.file_id)
            for part in parts if file.has_vanished else ():
                self._holders[part.digest].add(file.file_id)
                if not part.is_turn:
                    self._by_body[part.body].append(part)
        return self._parts[file.file_id]


def _is_alike(file: Input, other: AbsentFile) -> bool:
    # The same path in another root, or in a zip file and unpacked.
    if not file.location:
        return False
    if not other.location and (f"/{file.source}".endswith(f"/{other.source}") or _ends(file.location, other.source)):
        return True
    inner, others_inner = file.inner, _inner(other.source)
    if bool(inner) == bool(others_inner):
        return False
    return _ends(other.source, inner) if inner else _ends(file.location, others_inner)


def _inner(source: str) -> str:
    # The path inside of a zip file, of a source that names one.
    position = source.lower().rfind(".zip/")
    return source[position + 5 :] if position >= 0 else ""


def _ends(path: str, end: str) -> bool:
    return f"/{path}".endswith(f"/{end}")
