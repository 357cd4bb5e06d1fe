"""The newest rows, searched exactly: what a search sees at once, and what is sealed later."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pyroaring import BitMap

from super_advanced_agents.stores.faiss.vectors.arena import Block, Memory
from super_advanced_agents.stores.faiss.vectors.segment import RowNumbers, Segment
from super_advanced_agents.types import Matrix


class Tail:
    """Buffers that are filled once and never copied; grown by the writer thread alone."""

    def __init__(self, memory: Memory, buffer_rows: int) -> None:
        self._memory = memory
        self._buffer_rows = buffer_rows
        self._full: list[Segment] = []
        self._rows = np.empty(0, dtype=np.uint32)
        self._block: Block | None = None  # none until there is something to hold
        self._size = 0

    def __len__(self) -> int:
        return sum(len(segment.rows) for segment in self._full) + self._size

    def append(self, rows: Sequence[int] | RowNumbers, vectors: Matrix) -> None:
        """Add vectors behind what any view shows; `rows` ascend beyond every row here."""
        start = 0
        while start < len(rows):
            if self._block is None:
                self._rows = np.empty(self._buffer_rows, dtype=np.uint32)
                self._block, self._size = self._memory.allot(self._buffer_rows), 0
            step = min(self._buffer_rows - self._size, len(rows) - start)
            self._rows[self._size : self._size + step] = rows[start : start + step]
            self._block.vectors[self._size : self._size + step] = vectors[start : start + step]
            self._size += step
            start += step
            if self._size == self._buffer_rows:
                self._full.append(Segment(self._rows, self._block))
                self._block, self._size = None, 0

    @property
    def full(self) -> list[Segment]:
        """The filled buffers, oldest first: what can be sealed."""
        return list(self._full)

    @property
    def full_count(self) -> int:
        """How many buffers are filled."""
        return len(self._full)

    def shed(self, live: BitMap) -> None:
        """Give up full buffers of which less than half is live; what is live in them moves into smaller ones."""
        full: list[Segment] = []
        for segment in self._full:
            count = segment.live_count(live)
            if 2 * count > len(segment.rows):
                full.append(segment)
            elif count:
                kept = segment.positions(live)
                rows, vectors = segment.rows[kept], segment.taken(kept)
                if full and len(full[-1].rows) + count <= self._buffer_rows:
                    before = full.pop()
                    rows = np.concatenate([before.rows, rows])
                    vectors = np.concatenate([before.taken(None), vectors])
                block = self._memory.allot(len(rows))
                block.vectors[:] = vectors
                full.append(Segment(rows, block))
        self._full = full

    def drop(self, count: int) -> None:
        """Forget the oldest `count` filled buffers; a segment has them now."""
        del self._full[:count]

    def segments(self) -> list[Segment]:
        """Everything here, as segments for a view."""
        if self._block is None:
            return list(self._full)
        return [*self._full, Segment(self._rows[: self._size], self._block)]
