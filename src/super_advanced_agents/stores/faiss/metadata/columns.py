"""The index of one metadata field: for each value, the rows that have it.

Strings and other values map to bitmaps of rows. Numbers are a sorted column, so that a range is two binary searches.
"""

from __future__ import annotations

import threading
from array import array
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import islice
from typing import Any, TypeAlias

import numpy as np
from pyroaring import BitMap

from super_advanced_agents._runtime.gil import yield_gil
from super_advanced_agents.stores.filters import (
    Compares,
    Contains,
    Equals,
    Exists,
    RangeOperator,
    Scalar,
    compares,
    contains,
    scalar,
)
from super_advanced_agents.types import JSONValue

Term: TypeAlias = Equals | Compares | Exists | Contains
RowNumbers: TypeAlias = "np.ndarray[tuple[int], np.dtype[np.uint32]]"

_MAX_STRING_CHARS = 256
"""Longer strings are not indexed; filters on them read the rows from the table."""
_EXACT_LIMIT = 2**53
"""Integers below this are exact in a float64, so they can be compared in the sorted column."""
_MANY_VALUES = 4_096
"""More comparisons than this take several milliseconds."""
_STEP = 1_024
"""The number of comparisons between two pauses that let other threads run."""


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

    def _sort(self) -> None:
        if self._sorted_size < self._size:
            order = np.argsort(self._values[: self._size], kind="stable")  # timsort: new numbers after sorted ones
            self._values[: self._size] = self._values[: self._size][order]
            self._rows[: self._size] = self._rows[: self._size][order]
            self._sorted_size = self._size


class MetadataColumn:
    """Index one metadata field: for each value the rows that have it.

    Args:
        lock: guards all columns of a store; each method holds it for a short step at a time.

    Attributes:
        present: the rows that have the field, even as null.
        long_strings: the rows whose value is a string too long to be indexed.
    """

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self.present = BitMap()
        self.long_strings = BitMap()
        self._strings: dict[str, BitMap] = {}
        self._numbers = NumberColumn()
        self._other_values: dict[Scalar, BitMap] = {}  # null, booleans, lists and objects
        self._list_members: dict[Scalar, BitMap] = {}

    def add(self, value: JSONValue, row: int) -> None:
        """Add the value that a row has in this field; the caller holds the lock."""
        self.present.add(row)
        if isinstance(value, str):
            if len(value) > _MAX_STRING_CHARS:
                self.long_strings.add(row)
            else:
                self._strings.setdefault(value, BitMap()).add(row)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            self._numbers.add(value, row)
        else:
            self._other_values.setdefault(scalar(value), BitMap()).add(row)
            if isinstance(value, list):
                for member in value:
                    self._list_members.setdefault(scalar(member), BitMap()).add(row)

    def matching(self, term: Term) -> BitMap:
        """Return the rows whose indexed value matches one condition of a filter.

        Rows whose value is not indexed are left out; `undecided` returns them.
        """
        match term:
            case Exists():
                return self.present
            case Equals(_, values):
                return self._rows_equal_to(values)
            case Compares(_, operator, bound) if not isinstance(bound, str):
                with self._lock:
                    return self._numbers.rows_in_range(operator, bound)
            case Compares(_, operator, bound):
                return self._rows_with_string(lambda value: compares(value, operator, bound))
            case Contains(_, member):
                lists = self._list_members.get(member, _NO_ROWS)
                if not _scans_strings(term):
                    return lists
                return lists | self._rows_with_string(lambda value: contains(value, member))

    def undecided(self, term: Term) -> BitMap:
        """Return the rows that must be read from the table to evaluate one condition of a filter.

        Their strings are too long to be indexed.
        """
        return self.long_strings if self.long_strings and _concerns_long_strings(term) else _NO_ROWS

    def is_slow(self, term: Term) -> bool:
        """Return True if evaluating one condition of a filter would noticeably delay requests."""
        comparisons = len(term.values) if isinstance(term, Equals) else len(self._strings) * _scans_strings(term)
        return comparisons > _MANY_VALUES or bool(self.undecided(term))

    def drop(self, rows: BitMap) -> None:
        """Remove the given rows from the index of this field."""
        with self._lock:
            self.present -= rows
            self.long_strings -= rows
            self._numbers.retain(self.present)
        tables: list[dict[Any, BitMap]] = [self._strings, self._other_values, self._list_members]
        for table in tables:
            with self._lock:
                items = list(table.items())
            for value, members in yield_gil(items):
                with self._lock:
                    members.difference_update(rows)
                    if not members:
                        del table[value]

    def _rows_equal_to(self, values: Collection[Scalar]) -> BitMap:
        numbers = [value for kind, value in values if kind == "number" and isinstance(value, int | float)]
        others = yield_gil(values, every=_STEP)
        matching = _union(rows for kind, value in others if (rows := self._rows_with(kind, value)))
        for start in yield_gil(range(0, len(numbers), _STEP), every=1):
            with self._lock:
                matching |= self._numbers.rows_equal_to(numbers[start : start + _STEP])
        return matching

    def _rows_with(self, kind: str, value: str | float | bool | None) -> BitMap | None:
        if isinstance(value, str) and kind == "string":
            return self._strings.get(value)
        return self._other_values.get((kind, value))

    def _rows_with_string(self, predicate: Callable[[str], bool]) -> BitMap:
        with self._lock:
            items = list(self._strings.items())
        return _union(rows for value, rows in yield_gil(items, every=_STEP) if predicate(value))


_NO_ROWS = BitMap()


def _scans_strings(term: Term) -> bool:
    match term:
        case Compares(_, _, bound):
            return isinstance(bound, str)
        case Contains(_, (kind, _)):
            return kind == "string"
        case _:
            return False


def _concerns_long_strings(term: Term) -> bool:
    if isinstance(term, Equals):
        return any(kind == "string" and len(str(value)) > _MAX_STRING_CHARS for kind, value in term.values)
    return _scans_strings(term)


def _union(bitmaps: Iterator[BitMap]) -> BitMap:
    # In batches: a bitmap that grows with each union would be copied again and again.
    rows = BitMap()
    while batch := list(islice(bitmaps, _STEP)):
        rows |= BitMap.union(*batch)
    return rows


def bitmap(rows: RowNumbers) -> BitMap:
    """Convert a uint32 array of row numbers to a bitmap."""
    values = array("I")  # pyroaring reads it seven times faster than a numpy array
    values.frombytes(rows.tobytes())
    return BitMap(values)


def array_of(rows: BitMap) -> RowNumbers:
    """Convert a bitmap of rows to a sorted uint32 array of row numbers."""
    return np.frombuffer(rows.to_array(), dtype=np.uint32)
