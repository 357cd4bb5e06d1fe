"""A sorted column of numbers, in which a range is two binary searches.

The conversions between bitmaps and arrays of rows are here too.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from pyroaring import BitMap

from super_advanced_agents.stores.filters import RangeOperator, compares

RowNumbers: TypeAlias = "np.ndarray[tuple[int], np.dtype[np.uint32]]"

_EXACT_LIMIT = 2**53
"""Integers below this are exact in a float64, so they can be compared in the sorted column."""
_NO_ROWS = BitMap()


class NumberColumn:
    """Index the numbers of one metadata field as a sorted column, for range queries.

    It is sorted at the first query after a change. A row may have several values; `Versions` uses this to store several
    expiry times for one scope.
    """

    def __init__(self) -> None:
        self._values = np.empty(0, dtype=np.float64)
        self._rows = np.empty(0, dtype=np.uint32)
        self._size = 0  # the arrays above have spare room beyond it
        self._sorted_size = 0
        self._large: dict[float | int, BitMap] = {}  # numbers that a float64 may not hold exactly

    def __len__(self) -> int:
        return self._size + sum(len(rows) for rows in self._large.values())

    def add(self, value: float, row: int) -> None:
        """Add a number to the column as a value of the given row."""
        if not -_EXACT_LIMIT < value < _EXACT_LIMIT:
            self._large.setdefault(value, BitMap()).add(row)
            return
        if self._size == len(self._values):
            growth = max(64, self._size)
            self._values = np.concatenate([self._values, np.empty(growth, dtype=np.float64)])
            self._rows = np.concatenate([self._rows, np.empty(growth, dtype=np.uint32)])
        self._values[self._size] = value
        self._rows[self._size] = row
        self._size += 1

    def rows_equal_to(self, values: Sequence[float]) -> BitMap:
        """Return the rows whose value is any of these numbers, compared without rounding."""
        self._sort()
        column, rows = self._values[: self._size], self._rows
        exact = np.array([value for value in values if -_EXACT_LIMIT < value < _EXACT_LIMIT], dtype=np.float64)
        starts, stops = np.searchsorted(column, exact, "left"), np.searchsorted(column, exact, "right")
        matching = BitMap.union(_NO_ROWS, *(self._large[value] for value in values if value in self._large))
        if parts := [
            rows[start:stop] for start, stop in zip(starts.tolist(), stops.tolist(), strict=True) if start < stop
        ]:
            matching |= bitmap(np.concatenate(parts))
        return matching

    def rows_in_range(self, operator: RangeOperator, bound: float) -> BitMap:
        """Return the rows whose value satisfies `value <operator> bound`, such as `value > 5`."""
        self._sort()
        values = self._values[: self._size]
        limit = float(max(-_EXACT_LIMIT, min(bound, _EXACT_LIMIT)))  # an integer may be beyond every float
        if operator in ("$gt", "$gte"):
            start = np.searchsorted(values, limit, side="right" if operator == "$gt" else "left")
            in_range = self._rows[start : self._size]
        else:
            stop = np.searchsorted(values, limit, side="left" if operator == "$lt" else "right")
            in_range = self._rows[:stop]
        large = (rows for value, rows in self._large.items() if compares(value, operator, bound))
        return BitMap.union(bitmap(in_range), *large)

    def rows_between(self, above: float, last: float) -> list[int]:
        """Return the distinct rows whose value is greater than `above` and at most `last`."""
        self._sort()
        values = self._values[: self._size]
        start, stop = np.searchsorted(values, above, side="right"), np.searchsorted(values, last, side="right")
        large = (rows for value, rows in self._large.items() if above < value <= last)
        return list(BitMap.union(bitmap(self._rows[start:stop]), *large))

    def next_above(self, value: float) -> float:
        """Return the smallest number in the column above `value`; infinity when there is none."""
        self._sort()
        position = int(np.searchsorted(self._values[: self._size], value, side="right"))
        least = float(self._values[position]) if position < self._size else np.inf
        return min([least, *(float(large) for large in self._large if large > value)])

    def retain(self, rows: BitMap) -> None:
        """Remove the values of all rows except the given ones."""
        self._sort()
        retained = np.isin(self._rows[: self._size], array_of(rows))
        self._values, self._rows = self._values[: self._size][retained], self._rows[: self._size][retained]
        self._size = self._sorted_size = len(self._rows)
        self._large = {value: left for value, members in self._large.items() if (left := members & rows)}

    def with_renumbered_rows(self, renumber: Callable[[RowNumbers], RowNumbers]) -> NumberColumn:
        """Return a copy of the column in which `renumber` has replaced all row numbers."""
        copy = NumberColumn()
        copy._values, copy._rows = self._values[: self._size].copy(), renumber(self._rows[: self._size])
        copy._size, copy._sorted_size = self._size, self._sorted_size
        copy._large = {value: bitmap(renumber(array_of(rows))) for value, rows in self._large.items()}
        return copy

    @classmethod
    def joined(cls, columns: Sequence[NumberColumn]) -> NumberColumn:
        """Return one column with the numbers of several."""
        whole = cls()
        whole._values = np.concatenate([whole._values, *(column._values[: column._size] for column in columns)])
        whole._rows = np.concatenate([whole._rows, *(column._rows[: column._size] for column in columns)])
        whole._size = len(whole._rows)
        for value, rows in (item for column in columns for item in column._large.items()):
            whole._large.setdefault(value, BitMap()).update(rows)
        return whole

    def _sort(self) -> None:
        if self._sorted_size < self._size:
            order = np.argsort(self._values[: self._size], kind="stable")  # timsort: new numbers after sorted ones
            self._values[: self._size] = self._values[: self._size][order]
            self._rows[: self._size] = self._rows[: self._size][order]
            self._sorted_size = self._size


def bitmap(rows: RowNumbers) -> BitMap:
    """Convert a uint32 array of row numbers to a bitmap."""
    values = array("I")  # pyroaring reads it seven times faster than a numpy array
    values.frombytes(rows.tobytes())
    return BitMap(values)


def array_of(rows: BitMap) -> RowNumbers:
    """Convert a bitmap of rows to a sorted uint32 array of row numbers."""
    return np.frombuffer(rows.to_array(), dtype=np.uint32)
