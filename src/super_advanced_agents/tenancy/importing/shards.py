"""Division of an import's plan into shards, files of memories that any worker stores."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from super_advanced_agents._runtime.disk.files import (
    fsync_folder,
    map_os_error,
    open_private,
    private_folder,
    sha256_of,
)
from super_advanced_agents.errors import ConfigurationError, InvalidInputError, StoreError
from super_advanced_agents.tenancy.importing.plan import Delete, Order, Plan, Step, Store, decoded_step, encoded_step

MAX_SHARDS = 9_000
"""The most shards of one import; a job keeps the outcome of each."""

_MAX_BYTES = 16 * 1024 * 1024
_TIMES_LARGER = 4


@dataclass(frozen=True, slots=True)
class Shard:
    """A file with steps of a plan.

    Attributes:
        memories: the number of memories to embed and store.
        digest: the SHA-256 of the file.
    """

    memories: int
    digest: str


@dataclass(frozen=True, slots=True)
class Shards:
    """A plan in files, which together have the effect of the plan.

    Attributes:
        first: the steps to take before the shards.
        parts: the shards, whose order does not matter; the file of each is `shard_name` of its position.
        last: the steps to take after them.
    """

    first: Shard
    parts: list[Shard]
    last: Shard


FIRST, LAST = "first.jsonl", "last.jsonl"


def shard_name(number: int) -> str:
    """Return the name of a shard's file."""
    return f"{number:05}.jsonl"


def write_shards(plan: Plan, folder: Path, size: int) -> Shards:
    """Write a plan's steps into files of a folder, each durable on return.

    The turns of a session are in one shard, unless there are other turns between them, or too many for one shard; the
    steps to take at the end then bring them into order.

    Args:
        plan: the plan; only what it stores is divided.
        folder: the folder, created if it does not exist.
        size: the memories of a shard; up to four times as many where a session has them.

    Raises:
        InvalidInputError: the plan would have too many shards.
        StoreError: a file cannot be written.
        StoreFullError: the disk is full.
    """
    private_folder(folder)
    splitter, deleted, early = _Splitter(folder, size), set[str](), set[str]()
    try:
        for step in plan:
            if isinstance(step, Delete):
                deleted.add(step.uid)
            elif isinstance(step, Store):
                splitter.add(step)
                if step.memory.uid in deleted:  # deleted in one file and stored by a later one
                    early.add(step.memory.uid)
        splitter.end()
        first, last = _File(folder / FIRST), _File(folder / LAST)
        for uid in sorted(early):
            first.write(Delete(uid))
        for uids in _new_turns(plan, splitter.divided):
            last.write(Order(uids))
        for step in plan:
            if not isinstance(step, Store) and not (isinstance(step, Delete) and step.uid in early):
                last.write(step)
        shards = Shards(first.end(), splitter.parts, last.end())
        fsync_folder(folder)
    except OSError as exc:
        raise map_os_error(exc, folder) from exc
    return shards


@contextmanager
def reading_shard(path: Path, digest: str) -> Iterator[Plan]:
    """Enter a context with the steps in a file of a folder that all workers see.

    Raises:
        ConfigurationError: this machine does not see the file.
        StoreError: the file is not the one that was written.
    """
    with closing(Plan()) as plan:
        try:
            if sha256_of(path) != digest:
                raise StoreError(f"the shard {path.name!r} of the import is damaged", hint="submit the import again")
            with path.open("rb") as lines:
                for line in lines:
                    plan.append(decoded_step(line))
        except OSError as exc:
            raise ConfigurationError(
                f"this worker cannot read the shard {path.name!r} of the import: {exc.strerror}",
                hint="all workers need the same SAA_FILES_DIR; the shards of a cancelled import are deleted: "
                "submit it again, and it stores the rest",
            ) from exc
        yield plan


def _new_turns(plan: Plan, sessions: set[str]) -> list[list[str]]:
    # A replaced turn keeps its place; new ones have those at the end of the session, in the order of the plan.
    turns: dict[str, list[str]] = defaultdict(list)
    if sessions:
        for step in plan:
            if isinstance(step, Store) and step.memory.session in sessions and not step.replaces and step.memory.uid:
                turns[step.memory.session].append(step.memory.uid)
    return list(turns.values())


class _File:
    # A file of steps that is being written.

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO = os.fdopen(open_private(path, os.O_WRONLY | os.O_TRUNC), "wb")
        self._digest = sha256()
        self.memories = self.size_bytes = 0

    def write(self, step: Step) -> None:
        line = encoded_step(step)
        self._file.write(line)
        self._digest.update(line)
        self.size_bytes += len(line)
        self.memories += isinstance(step, Store)

    def end(self) -> Shard:
        with self._file:
            self._file.flush()
            os.fsync(self._file.fileno())
        return Shard(self.memories, self._digest.hexdigest())


class _Splitter:
    def __init__(self, folder: Path, size: int) -> None:
        self._folder = folder
        self._size = size
        self._file: _File | None = None
        self._session: str | None = None
        self._shard_of: dict[str, int] = {}
        self.parts: list[Shard] = []
        self.divided: set[str] = set()

    def add(self, step: Store) -> None:
        session = step.memory.session
        if self._file is not None and self._is_full(self._file, session):
            self.end()
        if self._file is None:
            if len(self.parts) == MAX_SHARDS:
                raise InvalidInputError(
                    f"the import has more than {MAX_SHARDS} shards", field="shard_size", hint="make shards larger"
                )
            self._file = _File(self._folder / shard_name(len(self.parts)))
        if session is not None and self._shard_of.setdefault(session, len(self.parts)) != len(self.parts):
            self.divided.add(session)
        self._session = session
        self._file.write(step)

    def _is_full(self, file: _File, session: str | None) -> bool:
        times = _TIMES_LARGER if session is not None and session == self._session else 1
        return file.memories >= times * self._size or file.size_bytes >= times * _MAX_BYTES

    def end(self) -> None:
        if self._file is not None:
            self.parts.append(self._file.end())
            self._file = None
