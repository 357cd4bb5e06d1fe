"""When the newest rows are sealed, and which segments become one: few segments, and no row built over too often."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

_EXACT_ROWS = 16_384  # an exact pass over 16,384 x 384 takes about 1 ms, as long as walking such a graph five times
_SHARE = 0.5
_SHARE_WHEN_IDLE = 0.1
_DEAD_SHARE = 1 / 3
_HASTE = 4
"""More full buffers than these are sealed roughly: while somebody writes at full speed, graphs cannot follow."""
_LARGEST_ROWS = 1 << 20
"""Segments do not grow beyond this: two graphs of a million rows are searched as fast as one can be rebuilt."""


class Size(NamedTuple):
    """How large a segment is: all of its rows, and those alive; whether it was sealed roughly."""

    rows: int
    live: int
    rough: bool = False


@dataclass(frozen=True, slots=True)
class Task:
    """Segments [first, stop) and the oldest `chunks` full buffers are to become one segment, a rough one in haste."""

    first: int
    stop: int
    chunks: int
    rough: bool = False


@dataclass(frozen=True, slots=True)
class SealPolicy:
    """What is worth doing.

    Attributes:
        begin: full buffers of the tail at which the first segment is made; None for never.
        buffer_rows: rows of a full buffer.
        hastes: whether buffers that pile up are sealed roughly first.
        most: buffers taken at once, so that a search waits for a part of them only.
    """

    begin: int | None
    buffer_rows: int
    hastes: bool = False
    most: int = 8

    @classmethod
    def of(cls, index: str, storage: str, buffer_rows: int) -> SealPolicy:
        """The policy of a store's `index` and `storage` arguments."""
        if index == "auto":
            return cls(max(1, _EXACT_ROWS // buffer_rows), buffer_rows, hastes=storage == "fp32")
        never = (index, storage) == ("flat", "fp32")
        return cls(None if never else 1, buffer_rows, hastes=(index, storage) == ("hnsw", "fp32"))

    def due(self, sizes: Sequence[Size], full_buffers: int, *, idle: bool = False) -> Task | None:
        """What to do next, if anything.

        A segment takes in all that come after it once those hold half as many rows (a tenth when nothing else is to
        do). So every segment is more than twice as large as all after it together: of n rows there are at most
        log3(n) segments, and each merge triples the segment that a row of the smaller side is in.

        Args:
            sizes: of the segments, oldest first.
            full_buffers: of the tail.
            idle: whether nothing was written for a while.
        """
        if self.begin is None:
            return None
        whole = sum(not size.rough for size in sizes)
        chunks = min(full_buffers, self.most) if full_buffers >= (1 if sizes else self.begin) else 0
        if self.in_haste(full_buffers):
            return Task(len(sizes), len(sizes), min(full_buffers, 2 * self.most), rough=True)
        share = _SHARE_WHEN_IDLE if idle else _SHARE
        stop, behind = whole, 0
        while stop < len(sizes) and (stop == whole or behind + sizes[stop].rows <= self.most * self.buffer_rows):
            behind += sizes[stop].rows  # rough segments become graphs, the oldest first
            stop += 1
        chunks = chunks if stop == len(sizes) else 0
        first = _first(sizes, range(whole), behind + chunks * self.buffer_rows, share=share, largest=_LARGEST_ROWS)
        if chunks or first < stop:
            return Task(first, stop, chunks)
        for i, size in enumerate(sizes):
            if size.rows - size.live > _DEAD_SHARE * size.rows:
                return Task(i, i + 1, 0)
        return None

    def in_haste(self, full_buffers: int) -> bool:
        """Whether so many buffers have piled up that searches feel them."""
        return self.hastes and full_buffers > max(_HASTE, self.begin or 0)


def _first(sizes: Sequence[Size], among: range, behind: int, *, share: float, largest: int) -> int:
    """The first of these segments to be taken along by so many rows behind them; where they end for none."""
    first = among.stop
    for i in reversed(among):
        if behind + sizes[i].rows > largest:
            break
        if behind and behind >= share * sizes[i].rows:
            first = i
        behind += sizes[i].rows
    return first
