"""The log of what a process did to the files below a folder, and what a disk could hold of it after a power cut."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

_HEADER = struct.Struct("<cQqII")
_SECTOR = 512


class Step(NamedTuple):
    """One call that changed something, or a mark.

    Attributes:
        kind: C(reate), W(rite), w (a part of what a linked file held), T(runcate), S(ync), R(ename), L(ink), U(nlink),
            M(kdir), D (rmdir), x (a call that failed), or ! (a mark).
        inode: the file or folder; 0 for names and marks.
        offset: where it was written, or the new size.
        path: the name, or the mark's text.
        other: the new name of a rename or link.
        data: what was written.
    """

    kind: str
    inode: int
    offset: int
    path: str
    other: str
    data: bytes


def steps(log: Path) -> list[Step]:
    """Return all steps of a log in their order; one that the kill cut short is left out."""
    content, at, found = log.read_bytes(), 0, []
    while at + _HEADER.size <= len(content):
        kind, inode, offset, first, second = _HEADER.unpack_from(content, at)
        at += _HEADER.size
        if at + first + second > len(content):
            break
        path, rest = content[at : at + first].decode(), content[at + first : at + first + second]
        at += first + second
        letter = kind.decode()
        found.append(Step(letter, inode, offset, path, "" if letter in "Ww" else rest.decode(), rest))
    return found


@dataclass
class _File:
    """The flushed bytes of a file, and what was written since, in order: (offset, bytes), or (size, None)."""

    durable: bytes = b""
    waiting: list[tuple[int, bytes | None]] = field(default_factory=list)


@dataclass
class _Folder:
    """The flushed names of a folder, and the changes since: lists of (name, new holder or None) that go as one."""

    durable: dict[str, _Node] = field(default_factory=dict)
    waiting: list[list[tuple[str, _Node | None]]] = field(default_factory=list)

    def now(self) -> dict[str, _Node]:
        return _renamed(self.durable, self.waiting)


_Node = _File | _Folder
_Choice = Callable[[int], Iterator[bool]]


class Disk:
    """The files below a folder as the disk has them: what was flushed, and what may or may not be there.

    The strictest reading of POSIX: bytes last from the next flush of their file on, names from the next flush of
    their folder on, and until then any of them may be lost, in any order.
    """

    def __init__(self, folder: Path, there: str) -> None:
        """Begin with the watched `folder`, in which the empty folder `there` was on the disk before."""
        self._top = str(folder)
        self._root = _Folder({there: _Folder()})
        self._nodes: dict[int, _Node] = {
            folder.stat().st_ino: self._root,
            (folder / there).stat().st_ino: self._root.durable[there],
        }

    def take(self, step: Step) -> None:
        """Follow one step."""
        match step.kind:
            case "C" | "M":
                node = self._nodes[step.inode] = _File() if step.kind == "C" else _Folder()
                self._rename([(step.path, node)])
            case "W" | "w" | "T":
                self._file(step.inode).waiting.append((step.offset, None if step.kind == "T" else step.data))
            case "S":
                self._flush(self._nodes[step.inode])
            case "R":
                node = self._find(step.path)
                self._rename([(step.path, None), (step.other, node)])
            case "L":
                self._rename([(step.other, self._find(step.path))])
            case "U" | "D":
                self._rename([(step.path, None)])

    def write_to(self, place: Path, *, keep: random.Random | None = None, everything: bool = False) -> None:
        """Write the files that could be found after the power went at this moment.

        What was not flushed is lost; or all of it is there; or what `keep` chooses, some of it torn between sectors.
        """
        _lay_out(self._root, place, _Chooser(keep, everything))

    def _file(self, inode: int) -> _File:
        node = self._nodes[inode]
        assert isinstance(node, _File)
        return node

    def _flush(self, node: _Node) -> None:
        if isinstance(node, _File):
            node.durable, node.waiting = _written(node.durable, node.waiting), []
        else:
            node.durable, node.waiting = node.now(), []

    def _folder_of(self, path: str) -> tuple[_Folder, str]:
        *above, name = path.removeprefix(self._top).strip("/").split("/")
        folder = self._root
        for part in above:
            inner = folder.now()[part]
            assert isinstance(inner, _Folder)
            folder = inner
        return folder, name

    def _find(self, path: str) -> _Node:
        folder, name = self._folder_of(path)
        return folder.now()[name]

    def _rename(self, changes: list[tuple[str, _Node | None]]) -> None:
        placed = [(*self._folder_of(path), node) for path, node in changes]
        for folder in {id(folder): folder for folder, _, _ in placed}.values():
            folder.waiting.append([(name, node) for place, name, node in placed if place is folder])


class _Chooser:
    def __init__(self, keep: random.Random | None, everything: bool) -> None:
        self._rng = keep
        self._share = 1.0 if everything else 0.0 if keep is None else keep.choice([0.1, 0.5, 0.9])

    def survives(self) -> bool:
        return self._share == 1.0 or (self._rng is not None and self._rng.random() < self._share)

    def parts(self, offset: int, data: bytes | None) -> Iterator[tuple[int, bytes | None]]:
        """Yield one written piece whole, or the sectors of it that reached the disk."""
        if data is None or self._rng is None or self._rng.random() < 0.5:
            if self.survives():
                yield offset, data
            return
        start = 0
        while start < len(data):
            stop = start + _SECTOR - (offset + start) % _SECTOR
            if self.survives():
                yield offset + start, data[start:stop]
            start = stop


def _lay_out(folder: _Folder, place: Path, chooser: _Chooser) -> None:
    place.mkdir(exist_ok=True)
    for name, node in _renamed(folder.durable, [change for change in folder.waiting if chooser.survives()]).items():
        if isinstance(node, _Folder):
            _lay_out(node, place / name, chooser)
        else:
            waiting = [part for written in node.waiting for part in chooser.parts(*written)]
            (place / name).write_bytes(_written(node.durable, waiting))


def _renamed(names: dict[str, _Node], changes: list[list[tuple[str, _Node | None]]]) -> dict[str, _Node]:
    found = dict(names)
    for change in changes:
        for name, node in change:
            if node is None:
                found.pop(name, None)
            else:
                found[name] = node
    return found


def _written(content: bytes, waiting: list[tuple[int, bytes | None]]) -> bytes:
    if not waiting:
        return content
    found = bytearray(content)
    for offset, data in waiting:
        if data is None:
            found[offset:] = bytes(max(0, offset - len(found)))
        else:
            found[len(found) :] = bytes(max(0, offset - len(found)))
            found[offset : offset + len(data)] = data
    return bytes(found)
