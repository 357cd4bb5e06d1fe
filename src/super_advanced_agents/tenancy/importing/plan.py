"""The plan of an import: its changes to the store, on disk until they are made."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from super_advanced_agents.types import Memory


@dataclass(frozen=True, slots=True)
class Store:
    """Embed and store a memory under its uid.

    Attributes:
        memory: the memory.
        source: the file that it stands in.
        line: its line there.
        replaces: whether an older text has that uid.
    """

    memory: Memory
    source: str
    line: int
    replaces: bool


@dataclass(frozen=True, slots=True)
class Relocate:
    """Move a stored memory to its new file and position; its text and its vector stay.

    Attributes:
        uid: the memory.
        place: its new metadata of place.
        source: its new source.
        session: its new session.
    """

    uid: str
    place: dict[str, Any]
    source: str | None
    session: str | None


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a memory that its file does not hold any more."""

    uid: str


@dataclass(frozen=True, slots=True)
class Reorder:
    """Bring the turns of a file's session into the order of the file."""

    file_id: str
    session: str


@dataclass(frozen=True, slots=True)
class Order:
    """Bring turns of one session, which shards stored side by side, into this order.

    Attributes:
        uids: the turns.
    """

    uids: list[str]


Step: TypeAlias = Store | Relocate | Delete | Reorder | Order

_STEPS: dict[str, type[Any]] = {cls.__name__: cls for cls in (Store, Relocate, Delete, Reorder, Order)}


def encoded_step(step: Step) -> bytes:
    """Return a step as a line of JSON."""
    return json.dumps([type(step).__name__, asdict(step)], separators=(",", ":")).encode() + b"\n"


def decoded_step(line: bytes) -> Step:
    """Return the step of a line of JSON."""
    kind, value = json.loads(line)
    return _step(kind, value)


def _step(kind: str, value: dict[str, Any]) -> Step:
    if kind == "Store":
        value["memory"] = Memory(**value["memory"])
    step: Step = _STEPS[kind](**value)
    return step


class Spool:
    """Keep values in a temporary file without a name: they may be more than fit into memory."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile("w+", encoding="ascii")  # noqa: SIM115 - closed by `close`

    def append(self, kind: str, value: dict[str, Any]) -> None:
        """Write a value behind the others."""
        self._file.write(json.dumps([kind, value], separators=(",", ":")) + "\n")

    def __iter__(self) -> Iterator[tuple[str, dict[str, Any]]]:
        self._file.seek(0)
        for line in self._file:
            kind, value = json.loads(line)
            yield kind, value

    def close(self) -> None:
        """Close the file, which is gone then."""
        self._file.close()


class Plan:
    """Keep the steps of an import on disk, in the order in which they are taken.

    Attributes:
        to_store: the number of memories to embed and store.
    """

    def __init__(self) -> None:
        self._spool = Spool()
        self.to_store = 0

    def append(self, step: Step) -> None:
        """Add a step behind the others."""
        self.to_store += isinstance(step, Store)
        self._spool.append(type(step).__name__, asdict(step))

    def __iter__(self) -> Iterator[Step]:
        for kind, value in self._spool:
            yield _step(kind, value)

    def close(self) -> None:
        """Remove the plan from the disk."""
        self._spool.close()
