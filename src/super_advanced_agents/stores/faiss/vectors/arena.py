"""Contiguous memory for all vectors of a store.

Neighbouring segments can be merged without a copy. Address space is reserved for far more rows than there are; only
rows that were written take memory. Rows that no segment shows any more are returned to the system.
"""

from __future__ import annotations

import mmap
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from super_advanced_agents.types import Matrix

_RESERVED_BYTES = 16 << 30
"""Room for 11 million vectors of 384. If the system refuses it, half is tried, and so on."""
_MIN_BYTES = 16 << 20
_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)


class _Region:
    __slots__ = ("_memory", "_start", "_stop")

    def __init__(self, memory: mmap.mmap, start_bytes: int, stop_bytes: int) -> None:
        self._memory = memory
        page = mmap.PAGESIZE
        self._start = -(-start_bytes // page) * page  # a page shared with a neighbour stays
        self._stop = stop_bytes // page * page

    def __del__(self) -> None:
        # The last segment that shows these rows is gone.
        if self._stop > self._start and hasattr(mmap, "MADV_DONTNEED"):
            self._memory.madvise(mmap.MADV_DONTNEED, self._start, self._stop - self._start)


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Hold the vectors of consecutive rows, as a part of one contiguous memory area.

    Attributes:
        vectors: (n, dim) float32.
    """

    vectors: Matrix
    _arena: Arena
    _start: int
    _regions: tuple[_Region, ...]

    @classmethod
    def join(cls, blocks: Sequence[Block]) -> Block | None:
        """Join blocks of vectors into one without copying.

        Returns None unless they are adjacent in memory and in order.
        """
        arena, start = blocks[0]._arena, blocks[0]._start
        stop = start
        for block in blocks:
            if block._arena is not arena or block._start != stop:
                return None
            stop += len(block.vectors)
        return cls(arena.rows[start:stop], arena, start, tuple(region for block in blocks for region in block._regions))


class Arena:
    """Allocate blocks of vectors one after the other in reserved memory. Not thread-safe."""

    def __init__(self, dim: int) -> None:
        size = max(_RESERVED_BYTES, dim * 4)
        while True:
            try:
                flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NORESERVE
                self._memory = mmap.mmap(-1, size, flags=flags)
                break
            except (OSError, MemoryError):
                if size <= _MIN_BYTES:
                    raise
                size //= 2
        capacity = size // (dim * 4)
        self._row_bytes = dim * 4
        self._used = 0
        self.rows: Matrix = np.frombuffer(self._memory, dtype=np.float32, count=capacity * dim).reshape(capacity, dim)

    def allocate(self, n: int) -> Block | None:
        """Allocate the next `n` vectors, all zero; return None when there is no room for them."""
        start, stop = self._used, self._used + n
        if stop > len(self.rows):
            return None
        self._used = stop
        region = _Region(self._memory, start * self._row_bytes, stop * self._row_bytes)
        return Block(self.rows[start:stop], self, start, (region,))


class VectorMemory:
    """Allocate memory for a store's vectors, in a new memory area when one is full."""

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self._arena: Arena | None = None

    def allocate(self, n: int) -> Block:
        """Allocate `n` vectors, all zero, next to the previous ones while the memory area has room.

        Raises:
            MemoryError: the system has no room.
        """
        block = None if self._arena is None else self._arena.allocate(n)
        if block is None:
            self._arena = Arena(self.dim)
            block = self._arena.allocate(n)
        if block is None:
            raise MemoryError(f"no room for {n} vectors")
        return block
