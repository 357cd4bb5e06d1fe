"""The files of an audit log: JSON lines in a chain of hashes.

Each line has the hash of itself and of the line before it, so one that was edited, left out or moved breaks the chain.
The file `head.json` names the last line, so that a file that was cut at its end is found too, and the first line that
is kept. Who may write the whole folder could forge all of it; a head that was noted elsewhere finds that as well.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import orjson

from super_advanced_agents._runtime.disk.files import fsync_folder, open_private, private_folder
from super_advanced_agents.errors import CorruptStoreError
from super_advanced_agents.types import JSONValue

AUDIT_FOLDER = "audit"
"""The folder of the audit log in a data folder."""

GENESIS = "0" * 64
"""The hash before the first line of a log."""

FILE_BYTES = 16 * 1024 * 1024
FILES = 64
_HEAD, _LOCK = "head.json", "lock"
_NAME = re.compile(r"audit-(\d{6})\.jsonl")
_DAMAGED_HINT = "move the folder 'audit' away, and keep it"
_LINE = re.compile(rb'(\{.*),"hash":"([0-9a-f]{64})"\}\n', re.DOTALL)

Entry = Mapping[str, JSONValue]


@dataclass(slots=True, kw_only=True)
class _Head:
    # The position after the last durable line, and the number of the oldest file that is kept.
    file: int = 1
    size: int = 0
    seq: int = 0
    hash: str = GENESIS
    first_file: int = 1
    first_seq: int = 0
    first_hash: str = GENESIS


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """The result of checking an audit log.

    Attributes:
        entries: the number of valid entries that are kept.
        head: the hash of the last one.
        faults: what is wrong, in words; empty for a log that nobody changed.
    """

    entries: int
    head: str
    faults: list[str] = field(default_factory=list)


class AuditFiles:
    """Append to an audit log, read it and check it. Several processes may append, one after the other.

    Args:
        folder: the folder of the files, created at the first entry.
        file_bytes: the size from which on a new file is begun.
        files: the number of files that are kept; older ones are deleted.
    """

    def __init__(self, folder: Path, *, file_bytes: int = FILE_BYTES, files: int = FILES) -> None:
        self.folder = folder
        self._file_bytes = file_bytes
        self._seen = 0
        self._files = files

    def append(self, entries: Sequence[Entry]) -> None:
        """Append entries in one write; they are durable on return.

        Args:
            entries: the members of each entry; `seq` and `at` (now) are added.

        Raises:
            OSError: they could not be written.
            StoreError: the folder cannot be created.
            CorruptStoreError: the head of the log is damaged or missing, or others removed entries of this object.
        """
        private_folder(self.folder)
        with self._locked():
            head = self._head() or self._begin()
            self._take_up(head)
            if head.seq < self._seen:
                raise CorruptStoreError(
                    f"{self._seen - head.seq} entries of the audit log were removed",
                    hint="put the folder 'audit' back, or start the process again to begin a new log",
                )
            self._remove_dropped(head)
            if head.size >= self._file_bytes:
                head.file, head.size = head.file + 1, 0
            at = datetime.now(UTC).isoformat(timespec="milliseconds")
            lines = []
            for entry in entries:
                line, head.hash = _line({"seq": head.seq + 1, "at": at, **entry}, head.hash)
                head.seq += 1
                lines.append(line)
            content = b"".join(lines)
            is_new = not head.size
            with os.fdopen(open_private(self._path(head.file), os.O_RDWR), "r+b") as file:
                file.seek(head.size)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if is_new:
                fsync_folder(self.folder)
            head.size += len(content)
            self._drop_old(head)
            self._write_head(head)
            self._seen = head.seq
            self._remove_dropped(head)  # after the head, so that a crash in between leaves a log that can be checked

    def verify(self, known_head: str = "") -> Verification:
        """Check every line of the log.

        Args:
            known_head: a head that was noted before; it must be in the chain.
        """
        if not self.folder.is_dir():
            faults = [f"the head {known_head} is not in the log"] if known_head else []
            return Verification(entries=0, head=GENESIS, faults=faults)
        with self._locked():
            return self._verify(known_head)

    def newest(
        self, *, tenant: str | None = None, before: str | None = None, limit: int = 100, max_files: int = FILES
    ) -> list[dict[str, JSONValue]]:
        """Return the newest entries, newest first.

        Args:
            tenant: only those of this tenant; None for all.
            before: only those before the entry with this hash; none if there is no such entry.
            limit: the most entries.
            max_files: the most files to read.
        """
        head = self._head()
        if head is None:
            return []
        wanted = None if tenant is None else b'"tenant":%s,' % orjson.dumps(tenant)
        found: list[dict[str, JSONValue]] = []
        end = None if before is None else b'"hash":"%s"}' % before.encode()
        for number in range(head.file, max(head.first_file, head.file - max_files + 1) - 1, -1):
            try:
                lines = self._path(number).read_bytes().splitlines()
            except FileNotFoundError:
                continue
            for line in reversed(lines):
                if end is not None:
                    if line.endswith(end):
                        end = None
                    continue
                if wanted is not None and wanted not in line:
                    continue
                entry = _parsed(line)
                if entry is None or (tenant is not None and entry.get("tenant") != tenant):
                    continue
                found.append(entry)
                if len(found) == limit:
                    return found
        return found

    # -- files ----------------------------------------------------------------------------------------------------

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # The lock of the log is a file of its own, since files of the log come and go.
        descriptor = open_private(self.folder / _LOCK, os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _path(self, number: int) -> Path:
        return self.folder / f"audit-{number:06d}.jsonl"

    def _head(self) -> _Head | None:
        try:
            return _Head(**orjson.loads((self.folder / _HEAD).read_bytes()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as exc:
            raise CorruptStoreError("the head of the audit log is damaged", hint=_DAMAGED_HINT) from exc

    def _write_head(self, head: _Head) -> None:
        temporary = self.folder / f"{_HEAD}.tmp"
        with os.fdopen(open_private(temporary, os.O_WRONLY | os.O_TRUNC), "wb") as file:
            file.write(orjson.dumps(asdict(head)))
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(self.folder / _HEAD)

    def _begin(self) -> _Head:
        # The head comes before the first line, so that no crash leaves lines without a head.
        if any(self.folder.glob("audit-*")):
            raise CorruptStoreError("the head of the audit log is missing", hint=_DAMAGED_HINT)
        head = _Head()
        if not self._seen:
            self._write_head(head)
            fsync_folder(self.folder)
        return head

    def _take_up(self, head: _Head) -> None:
        # A crash may have left lines behind the head: whole ones are kept, and half a line is cut.
        path = self._path(head.file)
        size = path.stat().st_size if path.exists() else 0
        if size < head.size:  # somebody has cut or removed it: what follows goes elsewhere, so that this stays visible
            head.file, head.size = head.file + 1, 0
            return
        if size == head.size:
            following = self._path(head.file + 1)
            if not (head.size and following.exists()):
                return
            head.file, head.size, path = head.file + 1, 0, following  # begun before the crash
        with path.open("r+b") as file:
            file.seek(head.size)
            for line in file:
                entry = _checked(line, head.hash)
                if entry is None or entry.get("seq") != head.seq + 1:
                    break
                head.seq, head.hash, head.size = head.seq + 1, _hash_in(line), head.size + len(line)
            file.truncate(head.size)

    def _drop_old(self, head: _Head) -> None:
        while head.file - head.first_file >= self._files:
            path = self._path(head.first_file)
            if path.exists():
                with path.open("rb") as file:
                    for line in file:
                        head.first_seq, head.first_hash = head.first_seq + 1, _hash_in(line)
            head.first_file += 1

    def _remove_dropped(self, head: _Head) -> None:
        for path in [*self.folder.glob("audit-*.jsonl")]:
            if self._number(path.name) < head.first_file:
                path.unlink()

    @staticmethod
    def _number(name: str) -> int:
        found = _NAME.fullmatch(name)
        return sys.maxsize if found is None else int(found[1])

    # -- checks ---------------------------------------------------------------------------------------------------

    def _verify(self, known_head: str) -> Verification:
        faults: list[str] = []
        try:
            head = self._head()
        except CorruptStoreError as exc:
            return Verification(entries=0, head=GENESIS, faults=[exc.message])
        names = sorted(path.name for path in self.folder.glob("audit-*") if path.is_file())
        if head is None:
            faults = ["head.json is missing"] if names else []
            return Verification(entries=0, head=GENESIS, faults=faults)
        chain = _Chain(head.first_seq, head.first_hash, known_head)
        numbers = [*range(head.first_file, head.file + 1)]
        if self._path(head.file + 1).is_file():  # begun before a crash; its lines are behind the head
            numbers.append(head.file + 1)
        expected = [self._path(number).name for number in numbers]
        faults += [
            f"{name} is no file of this log"
            for name in names
            if name not in expected and self._number(name) >= head.first_file
        ]
        for number in numbers:
            path = self._path(number)
            if not path.is_file():
                faults.append(f"{path.name} is missing")
                break
            with path.open("rb") as file:
                fault = chain.follow(file, end=head if number >= head.file else None)
            if fault:
                faults.append(f"{path.name}: {fault}")
                break
        if not faults and not chain.reached:
            faults.append("the log ends before the entry that head.json names")
        if not faults and known_head and not chain.knows:
            faults.append(f"the head {known_head} is not in the log")
        return Verification(entries=chain.seq - head.first_seq, head=chain.hash, faults=faults)


class _Chain:
    # Follows the lines of the files, one after the other.

    def __init__(self, seq: int, before: str, known_head: str) -> None:
        self.seq = seq
        self.hash = before
        self.reached = False
        self.knows = before == known_head
        self._known_head = known_head

    def follow(self, file: BinaryIO, *, end: _Head | None) -> str:
        if end is not None and end.seq == self.seq:
            self.reached = end.hash == self.hash
        for number, line in enumerate(file, 1):
            entry = _checked(line, self.hash)
            if entry is None or entry.get("seq") != self.seq + 1:
                # What a crash left behind the head was never acknowledged.
                return "" if self.reached and not line.endswith(b"\n") else f"line {number} is not what was written"
            self.seq, self.hash = self.seq + 1, _hash_in(line)
            self.knows = self.knows or self.hash == self._known_head
            if end is not None and end.seq == self.seq:
                self.reached = end.hash == self.hash
        return ""


def _line(entry: Entry, before: str) -> tuple[bytes, str]:
    body = orjson.dumps(entry)
    digest = _digest(body, before)
    return b'%s,"hash":"%s"}\n' % (body[:-1], digest.encode()), digest


def _digest(body: bytes, before: str) -> str:
    return hashlib.sha256(before.encode() + body).hexdigest()


def _hash_in(line: bytes) -> str:
    found = _LINE.fullmatch(line)
    return GENESIS if found is None else found[2].decode()


def _checked(line: bytes, before: str) -> dict[str, JSONValue] | None:
    found = _LINE.fullmatch(line)
    if found is None or _digest(found[1] + b"}", before) != found[2].decode():
        return None
    return _parsed(line)


def _parsed(line: bytes) -> dict[str, JSONValue] | None:
    try:
        entry = orjson.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None
