"""The sources of each indexed row: its session neighbours then, and its text's checksum."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from super_advanced_agents.stores.faiss.metadata.columns import bitmap

SourceTable = NDArray[np.uint32]
"""(4, n): of each row, ascending, its number, the rows before and after it, a text checksum."""

_EMPTY: SourceTable = np.empty((4, 0), np.uint32)


class SourceRows:
    """Hold the sources of a keyword index's rows; the latest entry of a row counts."""

    def __init__(self) -> None:
        self._table = _EMPTY
        self._added: list[SourceTable] = []
        self._added_count = 0

    def add(self, table: SourceTable) -> None:
        """Add rows, or replace their entries."""
        self._added.append(table)
        self._added_count += table.shape[1]
        if self._added_count > max(10_000, self._table.shape[1]):  # a row is added again when a neighbour changes
            self._merge()

    def of(self, rows: NDArray[np.uint32]) -> SourceTable:
        """Return the entries of these rows, which are ascending and were all added."""
        self._merge()
        return self._table[:, np.searchsorted(self._table[0], rows)]

    def moved(self, rows: NDArray[np.uint32], before: NDArray[np.uint32], after: NDArray[np.uint32]) -> BitMap:
        """Return the rows that had other session neighbours when they were added.

        Args:
            rows: ascending, all of them added.
            before: the row before each in its session now.
            after: the row after each.
        """
        _, before_then, after_then, _ = self.of(rows)
        return bitmap(rows[(before != before_then) | (after != after_then)])

    def _merge(self) -> None:
        whole = np.concatenate([self._table, *self._added], axis=1)
        order = np.argsort(whole[0], kind="stable")
        rows = whole[0, order]
        last = np.ones(len(rows), dtype=bool)
        np.not_equal(rows[1:], rows[:-1], out=last[:-1])
        self._table, self._added, self._added_count = whole[:, order[last]], [], 0
