"""The values of one metadata field, each with the rows that have it, and the numbers among them as a sorted column."""

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

_LONG_CHARS = 256
"""Strings beyond this are not kept here; filters on them read the rows they might concern."""
_EXACT = 2**53
"""Below this a float64 holds every integer, so the sorted column may speak for it."""
_MANY_VALUES = 4_096
"""Comparing with so many takes a few milliseconds."""
_STEP = 1_024


class NumberColumn:
    """The numbers of one field, sorted when asked: a range is two binary searches."""

    def __init__(self) -> None:
        self._values = np.empty(0, dtype=np.float64)
        self._rows = np.empty(0, dtype=np.uint32)
        self._size = 0
        self._sorted = 0
        self._beyond: dict[float | int, BitMap] = {}  # numbers a float64 may not hold exactly

    def __len__(self) -> int:
        return self._size + sum(len(rows) for rows in self._beyond.values())

    def add(self, value: float, row: int) -> None:
        """Note that `row` has this value."""
        if not -_EXACT < value < _EXACT:
            self._beyond.setdefault(value, BitMap()).add(row)
            return
        if self._size == len(self._values):
            size = max(64, self._size)
            self._values = np.concatenate([self._values, np.empty(size, dtype=np.float64)])
            self._rows = np.concatenate([self._rows, np.empty(size, dtype=np.uint32)])
        self._values[self._size] = value
        self._rows[self._size] = row
        self._size += 1

    def among(self, values: Sequence[float]) -> BitMap:
        """The rows with exactly one of these values."""
        self._sort()
        column, rows = self._values[: self._size], self._rows
        exact = np.array([value for value in values if -_EXACT < value < _EXACT], dtype=np.float64)
        starts, stops = np.searchsorted(column, exact, "left"), np.searchsorted(column, exact, "right")
        found = BitMap.union(_EMPTY, *(self._beyond[value] for value in values if value in self._beyond))
        if parts := [
            rows[start:stop] for start, stop in zip(starts.tolist(), stops.tolist(), strict=True) if start < stop
        ]:
            found |= bitmap(np.concatenate(parts))
        return found

    def range(self, operator: RangeOperator, bound: float) -> BitMap:
        """The rows whose value is on this side of `bound`."""
        self._sort()
        values = self._values[: self._size]
        limit = float(max(-_EXACT, min(bound, _EXACT)))  # an integer may be beyond every float
        if operator in ("$gt", "$gte"):
            start = np.searchsorted(values, limit, side="right" if operator == "$gt" else "left")
            found = self._rows[start : self._size]
        else:
            stop = np.searchsorted(values, limit, side="left" if operator == "$lt" else "right")
            found = self._rows[:stop]
        rows = bitmap(found)
        return BitMap.union(rows, *(also for value, also in self._beyond.items() if compares(value, operator, bound)))

    def rows_between(self, above: float, last: float) -> list[int]:
        """The distinct rows whose value is greater than `above` and at most `last`."""
        self._sort()
        values = self._values[: self._size]
        start, stop = np.searchsorted(values, above, side="right"), np.searchsorted(values, last, side="right")
        beyond = (rows for value, rows in self._beyond.items() if above < value <= last)
        return list(BitMap.union(bitmap(self._rows[start:stop]), *beyond))

    def next_above(self, value: float) -> float:
        """The smallest value above this one; infinity when there is none."""
        self._sort()
        place = int(np.searchsorted(self._values[: self._size], value, side="right"))
        least = float(self._values[place]) if place < self._size else np.inf
        return min([least, *(float(beyond) for beyond in self._beyond if beyond > value)])

    def keep(self, rows: BitMap) -> None:
        """Drop every other row."""
        self._sort()
        kept = np.isin(self._rows[: self._size], array_of(rows))
        self._values, self._rows = self._values[: self._size][kept], self._rows[: self._size][kept]
        self._size = self._sorted = len(self._rows)
        self._beyond = {value: left for value, having in self._beyond.items() if (left := having & rows)}

    def renumbered(self, number_of: Callable[[RowNumbers], RowNumbers]) -> NumberColumn:
        """Return the same values with other numbers in place of the rows'."""
        made = NumberColumn()
        made._values, made._rows = self._values[: self._size].copy(), number_of(self._rows[: self._size])
        made._size, made._sorted = self._size, self._sorted
        made._beyond = {value: bitmap(number_of(array_of(rows))) for value, rows in self._beyond.items()}
        return made

    def _sort(self) -> None:
        if self._sorted < self._size:
            order = np.argsort(self._values[: self._size], kind="stable")  # timsort: new numbers after sorted ones
            self._values[: self._size] = self._values[: self._size][order]
            self._rows[: self._size] = self._rows[: self._size][order]
            self._sorted = self._size


class MetadataColumn:
    """What rows hold under one key. The lock of all fields is taken for a step at a time."""

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self.present = BitMap()
        self.long = BitMap()  # rows with a string that is not kept here
        self._strings: dict[str, BitMap] = {}
        self._numbers = NumberColumn()
        self._values: dict[Scalar, BitMap] = {}  # null, booleans, lists and objects
        self._members: dict[Scalar, BitMap] = {}  # of lists

    def add(self, value: JSONValue, row: int) -> None:
        """Note what `row` holds; the lock is held."""
        self.present.add(row)
        if isinstance(value, str):
            if len(value) > _LONG_CHARS:
                self.long.add(row)
            else:
                self._strings.setdefault(value, BitMap()).add(row)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            self._numbers.add(value, row)
        else:
            self._values.setdefault(scalar(value), BitMap()).add(row)
            if isinstance(value, list):
                for member in value:
                    self._members.setdefault(scalar(member), BitMap()).add(row)

    def matching(self, term: Term) -> BitMap:
        """The rows that match by what is kept in memory."""
        match term:
            case Exists():
                return self.present
            case Equals(_, values):
                return self._among(values)
            case Compares(_, operator, bound) if not isinstance(bound, str):
                with self._lock:
                    return self._numbers.range(operator, bound)
            case Compares(_, operator, bound):
                return self._with_string(lambda value: compares(value, operator, bound))
            case Contains(_, member):
                found = self._members.get(member, _EMPTY)
                return found | self._with_string(lambda value: contains(value, member)) if _of_strings(term) else found

    def left_open(self, term: Term) -> BitMap:
        """The rows of which only reading them tells whether they match."""
        return self.long if self.long and _of_long_strings(term) else _EMPTY

    def is_slow(self, term: Term) -> bool:
        """Whether finding what matches takes longer than others should wait for."""
        values = len(term.values) if isinstance(term, Equals) else len(self._strings) * _of_strings(term)
        return values > _MANY_VALUES or bool(self.left_open(term))

    def drop(self, rows: BitMap) -> None:
        """Forget what these rows hold."""
        with self._lock:
            self.present -= rows
            self.long -= rows
            self._numbers.keep(self.present)
        tables: list[dict[Any, BitMap]] = [self._strings, self._values, self._members]
        for table in tables:
            with self._lock:
                there = list(table.items())
            for value, having in yield_gil(there):
                with self._lock:
                    having.difference_update(rows)
                    if not having:
                        del table[value]

    def _among(self, values: Collection[Scalar]) -> BitMap:
        numbers = [value for kind, value in values if kind == "number" and isinstance(value, int | float)]
        others = yield_gil(values, every=_STEP)
        found = _union(rows for kind, value in others if (rows := self._having(kind, value)))
        for start in yield_gil(range(0, len(numbers), _STEP), every=1):
            with self._lock:
                found |= self._numbers.among(numbers[start : start + _STEP])
        return found

    def _having(self, kind: str, value: str | float | bool | None) -> BitMap | None:
        return (
            self._strings.get(value) if isinstance(value, str) and kind == "string" else self._values.get((kind, value))
        )

    def _with_string(self, holds: Callable[[str], bool]) -> BitMap:
        with self._lock:
            there = list(self._strings.items())
        return _union(rows for value, rows in yield_gil(there, every=_STEP) if holds(value))


_EMPTY = BitMap()


def _of_strings(term: Term) -> bool:
    """Whether strings are compared one by one."""
    match term:
        case Compares(_, _, bound):
            return isinstance(bound, str)
        case Contains(_, (kind, _)):
            return kind == "string"
        case _:
            return False


def _of_long_strings(term: Term) -> bool:
    if isinstance(term, Equals):
        return any(kind == "string" and len(str(value)) > _LONG_CHARS for kind, value in term.values)
    return _of_strings(term)


def _union(parts: Iterator[BitMap]) -> BitMap:
    """One bitmap of many; those that grow while others are added would be copied again and again."""
    found = BitMap()
    while step := list(islice(parts, _STEP)):
        found |= BitMap.union(*step)
    return found


def bitmap(rows: RowNumbers) -> BitMap:
    """A bitmap of a uint32 array; through `array`, which pyroaring reads seven times faster than a numpy array."""
    values = array("I")
    values.frombytes(rows.tobytes())
    return BitMap(values)


def array_of(rows: BitMap) -> RowNumbers:
    """The rows of a bitmap as a sorted uint32 array."""
    return np.frombuffer(rows.to_array(), dtype=np.uint32)
