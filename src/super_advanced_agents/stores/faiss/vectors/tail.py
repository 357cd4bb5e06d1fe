"""The tail: the newest rows, searched exactly until a FAISS index is built over them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pyroaring import BitMap

from super_advanced_agents.stores.faiss.vectors.arena import Block, VectorMemory
from super_advanced_agents.stores.faiss.vectors.segment import RowNumbers, Segment
from super_advanced_agents.types import Matrix


class Tail:
    """Hold the newest vectors in buffers of fixed size. Only the writer thread appends to it."""

    def __init__(self, memory: VectorMemory, buffer_rows: int) -> None:
        self._memory = memory
        self._buffer_rows = buffer_rows
        self._full: list[Segment] = []
        self._rows = np.empty(0, dtype=np.uint32)
        self._block: Block | None = None  # allocated with the first row
        self._size = 0

    def __len__(self) -> int:
        return sum(len(segment.rows) for segment in self._full) + self._size

    def append(self, rows: Sequence[int] | RowNumbers, vectors: Matrix) -> None:
        """Append the vectors of new rows; searches that have begun do not see them.

        Args:
            rows: n row numbers, ascending, above every row of the tail.
            vectors: (n, dim) float32.
        """
        start = 0
        while start < len(rows):
            if self._block is None:
                self._rows = np.empty(self._buffer_rows, dtype=np.uint32)
                self._block, self._size = self._memory.allocate(self._buffer_rows), 0
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
        """The full buffers of new rows, oldest first, which can be merged into FAISS segments."""
        return list(self._full)

    @property
    def full_count(self) -> int:
        """The number of full buffers of new rows."""
        return len(self._full)

    def compact(self, live: BitMap) -> None:
        """Free full buffers in which at least half of the rows are deleted; keep the other rows."""
        full: list[Segment] = []
        for segment in self._full:
            count = segment.live_count(live)
            if 2 * count > len(segment.rows):
                full.append(segment)
            elif count:
                positions = segment.positions(live)
                rows, vectors = segment.rows[positions], segment.vectors_at(positions)
                if full and len(full[-1].rows) + count <= self._buffer_rows:
                    before = full.pop()
                    rows = np.concatenate([before.rows, rows])
                    vectors = np.concatenate([before.vectors_at(None), vectors])
                block = self._memory.allocate(len(rows))
                block.vectors[:] = vectors
                full.append(Segment(rows, block))
        self._full = full

    def drop(self, count: int) -> None:
        """Remove the oldest `count` full buffers, whose rows are in a merged segment now."""
        del self._full[:count]

    def segments(self) -> list[Segment]:
        """Return all buffers of new rows as segments, which searches compare exactly."""
        if self._block is None:
            return list(self._full)
        return [*self._full, Segment(self._rows[: self._size], self._block)]
