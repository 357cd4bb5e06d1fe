"""Policy of merging FAISS segments: keep them few without indexing a row too often."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

_EXACT_ROWS = 16_384  # an exact pass over 16,384 x 384 takes about 1 ms, as long as five searches of such a graph
_MERGE_SHARE = 0.5
_IDLE_MERGE_SHARE = 0.1
_DEAD_SHARE = 1 / 3
_MAX_WAITING_BUFFERS = 4
"""More full buffers than these are sealed roughly, because graphs are slow to build."""
_MAX_SEGMENT_ROWS = 1 << 20
"""Merging makes no larger segment; beyond this size, several graphs are searched instead."""


class SegmentSize(NamedTuple):
    """Hold the row counts of a segment, which is a set of rows with one FAISS index.

    Attributes:
        rows: the number of all rows, deleted ones included.
        live: the number of rows that are not deleted.
        rough: True if the index is a quickly built inverted file.
    """

    rows: int
    live: int
    rough: bool = False


@dataclass(frozen=True, slots=True)
class SealTask:
    """Describe a merge of adjacent segments and full buffers of new rows into one segment.

    Attributes:
        first: offset of the first segment.
        stop: offset after the last segment.
        buffers: the number of full buffers.
        rough: whether the new segment gets a quickly built inverted file instead of a graph.
    """

    first: int
    stop: int
    buffers: int
    rough: bool = False


@dataclass(frozen=True, slots=True)
class SealPolicy:
    """Decide which FAISS segments and which buffers of new rows to merge next.

    Attributes:
        min_buffers: full buffers of the tail at which the first segment is made; None for never.
        buffer_rows: rows of a full buffer.
        allow_rough: whether buffers that pile up are sealed roughly first.
        max_buffers: buffers merged at once; more would make a search wait for all of them.
    """

    min_buffers: int | None
    buffer_rows: int
    allow_rough: bool = False
    max_buffers: int = 8

    @classmethod
    def of(cls, index: str, storage: str, buffer_rows: int) -> SealPolicy:
        """Return the policy of merging segments for a store's `index` and `storage` arguments."""
        if index == "auto":
            return cls(max(1, _EXACT_ROWS // buffer_rows), buffer_rows, allow_rough=storage == "fp32")
        never = (index, storage) == ("flat", "fp32")
        return cls(None if never else 1, buffer_rows, allow_rough=(index, storage) == ("hnsw", "fp32"))

    def next_task(self, sizes: Sequence[SegmentSize], full_buffers: int, *, idle: bool = False) -> SealTask | None:
        """Choose the segments and full buffers to merge next; None when nothing is to be merged.

        A segment takes in all that come after it once those hold half as many rows (a tenth when the store is idle). So
        every segment is more than twice as large as all after it together: of n rows there are at most log3(n)
        segments, and each merge triples the segment that a row of the smaller side is in.

        Args:
            sizes: of the segments, oldest first.
            full_buffers: of the tail.
            idle: whether no write came for a while.
        """
        if self.min_buffers is None:
            return None
        final = sum(not size.rough for size in sizes)
        buffers = min(full_buffers, self.max_buffers) if full_buffers >= (1 if sizes else self.min_buffers) else 0
        if self.is_behind(full_buffers):
            return SealTask(len(sizes), len(sizes), min(full_buffers, 2 * self.max_buffers), rough=True)
        share = _IDLE_MERGE_SHARE if idle else _MERGE_SHARE
        stop, newer_rows = final, 0
        limit = self.max_buffers * self.buffer_rows
        while stop < len(sizes) and (stop == final or newer_rows + sizes[stop].rows <= limit):
            newer_rows += sizes[stop].rows  # rough segments become graphs, the oldest first
            stop += 1
        buffers = buffers if stop == len(sizes) else 0
        first = _first_merged(sizes, final, newer_rows + buffers * self.buffer_rows, share=share)
        if buffers or first < stop:
            return SealTask(first, stop, buffers)
        for i, size in enumerate(sizes):
            if size.rows - size.live > _DEAD_SHARE * size.rows:
                return SealTask(i, i + 1, 0)
        return None

    def is_behind(self, full_buffers: int) -> bool:
        """Return True if too many full buffers of new rows wait to be indexed.

        Searches compare their rows one by one, which slows them down.
        """
        return self.allow_rough and full_buffers > max(_MAX_WAITING_BUFFERS, self.min_buffers or 0)


def _first_merged(sizes: Sequence[SegmentSize], stop: int, newer_rows: int, *, share: float) -> int:
    first = stop
    for i in reversed(range(stop)):
        if newer_rows + sizes[i].rows > _MAX_SEGMENT_ROWS:
            break
        if newer_rows and newer_rows >= share * sizes[i].rows:
            first = i
        newer_rows += sizes[i].rows
    return first
