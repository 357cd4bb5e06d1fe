"""Metadata turned inside out: for each field and value the rows that have it, so that a filter is set operations.

Rows never change once numbered, so these sets only grow, and the set of live rows decides what of them counts. They are
built when a filter first asks, and catch up with new rows each time one does: who never filters pays nothing.
"""

from __future__ import annotations

import threading
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
from pyroaring import BitMap

from super_advanced_agents.stores.filters import (
    And,
    Compares,
    Contains,
    Equals,
    Exists,
    Filter,
    Not,
    Or,
    RangeOperator,
    Scalar,
    compares,
    contains,
    scalar,
)
from super_advanced_agents.stores.filters import matches as matches_one
from super_advanced_agents.types import JSONValue, Metadata

_LONG_CHARS = 256
"""Strings beyond this are not kept here; filters on them read the rows they might concern."""
_EXACT = 2**53
"""Below this a float64 holds every integer, so the sorted column may speak for it."""

FetchMetadata = Callable[[Sequence[int]], Mapping[int, Metadata]]


class _StaleViewError(Exception):
    """A row of the view was deleted before its metadata was read; only ever caught in the engine, which looks again."""


class NumberColumn:
    """The numbers of one field, sorted when asked: a range is two binary searches."""

    def __init__(self) -> None:
        self._values = np.empty(64, dtype=np.float64)
        self._rows = np.empty(64, dtype=np.uint32)
        self._size = 0
        self._sorted = 0
        self._beyond: list[tuple[float | int, int]] = []  # numbers a float64 may not hold exactly

    def add(self, value: float, row: int) -> None:
        """Note that `row` has this value."""
        if not -_EXACT < value < _EXACT:
            self._beyond.append((value, row))
            return
        if self._size == len(self._values):
            self._values = np.concatenate([self._values, np.empty_like(self._values)])
            self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])
        self._values[self._size] = value
        self._rows[self._size] = row
        self._size += 1

    def equal(self, value: float) -> BitMap:
        """The rows with exactly this value."""
        if not -_EXACT < value < _EXACT:
            return BitMap(row for beyond, row in self._beyond if beyond == value)
        self._sort()
        values = self._values[: self._size]
        start, stop = np.searchsorted(values, float(value), "left"), np.searchsorted(values, float(value), "right")
        return bitmap(self._rows[start:stop])

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
        rows.update(row for value, row in self._beyond if compares(value, operator, bound))
        return rows

    def rows_between(self, above: float, last: float) -> list[int]:
        """The distinct rows whose value is greater than `above` and at most `last`."""
        self._sort()
        values = self._values[: self._size]
        start, stop = np.searchsorted(values, above, side="right"), np.searchsorted(values, last, side="right")
        rows = {row for beyond, row in self._beyond if above < beyond <= last}
        return sorted(rows.union(np.unique(self._rows[start:stop]).tolist()))

    def next_above(self, value: float) -> float:
        """The smallest value above this one; infinity when there is none."""
        self._sort()
        place = int(np.searchsorted(self._values[: self._size], value, side="right"))
        least = float(self._values[place]) if place < self._size else np.inf
        return min([least, *(float(beyond) for beyond, _ in self._beyond if beyond > value)])

    def _sort(self) -> None:
        if self._sorted < self._size:
            order = np.argsort(self._values[: self._size], kind="stable")  # timsort: new numbers after sorted ones
            self._values[: self._size] = self._values[: self._size][order]
            self._rows[: self._size] = self._rows[: self._size][order]
            self._sorted = self._size


class _Field:
    """What rows hold under one key."""

    __slots__ = ("long", "members", "numbers", "present", "strings", "values")

    def __init__(self) -> None:
        self.present = BitMap()
        self.strings: dict[str, BitMap] = {}
        self.numbers = NumberColumn()
        self.values: dict[Scalar, BitMap] = {}  # null, booleans, lists and objects
        self.members: dict[Scalar, BitMap] = {}  # of lists
        self.long = BitMap()  # rows with a string that is not kept here

    def add(self, value: JSONValue, row: int) -> None:
        self.present.add(row)
        if isinstance(value, str):
            if len(value) > _LONG_CHARS:
                self.long.add(row)
            else:
                self.strings.setdefault(value, BitMap()).add(row)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            self.numbers.add(value, row)
        else:
            self.values.setdefault(scalar(value), BitMap()).add(row)
            if isinstance(value, list):
                for member in value:
                    self.members.setdefault(scalar(member), BitMap()).add(row)

    def equal(self, wanted: Scalar) -> BitMap:
        kind, value = wanted
        if kind == "string" and isinstance(value, str):
            return self.strings.get(value, _EMPTY)
        if kind == "number" and isinstance(value, int | float):
            return self.numbers.equal(value)
        return self.values.get(wanted, _EMPTY)


_EMPTY = BitMap()
_NO_FIELD = _Field()


class Attributes:
    """The metadata indexes of one store; `evaluate` may be called from any thread."""

    def __init__(
        self, metadata_between: Callable[[int, int], Iterator[tuple[int, Metadata]]], fetch: FetchMetadata
    ) -> None:
        self._metadata_between = metadata_between
        self._fetch = fetch
        self._fields: dict[str, _Field] = {}
        self._indexed = 0
        self._known = BitMap()
        self._lock = threading.Lock()

    def evaluate(self, tree: Filter, rows: BitMap, last_row: int) -> BitMap:
        """Which of `rows` match; `last_row` is the newest row that may be among them.

        Raises:
            _StaleViewError: some of `rows` have gone since, and what they held is not known.
        """
        with self._lock:
            self._catch_up(last_row)
            if not rows.issubset(self._known):
                raise _StaleViewError
            return self._evaluate(tree, rows)

    def _catch_up(self, last_row: int) -> None:
        if self._indexed < last_row:
            for row, metadata in self._metadata_between(self._indexed, last_row):
                self._add(row, metadata)
                self._indexed = row  # an interruption half-way leaves the rest for the next call
            self._indexed = last_row

    def _add(self, row: int, metadata: Metadata) -> None:
        self._known.add(row)
        for key, value in _flat(metadata):
            self._fields.setdefault(key, _Field()).add(value, row)

    def _evaluate(self, tree: Filter, rows: BitMap) -> BitMap:
        match tree:
            case And(operands):
                for operand in operands:
                    if not rows:
                        break
                    rows = self._evaluate(operand, rows)
                return rows
            case Or(operands):
                return BitMap.union(_EMPTY, *(self._evaluate(operand, rows) for operand in operands))
            case Not(operand):
                return rows - self._evaluate(operand, rows)
            case _:
                return self._term(tree, rows)

    def _term(self, term: Equals | Compares | Exists | Contains, rows: BitMap) -> BitMap:
        if term.key == "text" or term.key.startswith("text."):
            return self._by_reading(term, rows)  # texts are not kept in memory
        field = self._fields.get(term.key, _NO_FIELD)
        found = self._kept(term, field) & rows
        if field.long and _concerns_long_strings(term):
            found |= self._by_reading(term, rows & field.long)
        return found

    @staticmethod
    def _kept(term: Equals | Compares | Exists | Contains, field: _Field) -> BitMap:
        """The rows that match by what is kept in memory."""
        match term:
            case Exists():
                return field.present
            case Equals(_, values):
                return BitMap.union(_EMPTY, *(field.equal(value) for value in values))
            case Compares(_, operator, bound) if not isinstance(bound, str):
                return field.numbers.range(operator, bound)
            case Compares(_, operator, bound):
                return _union(field.strings, lambda value: compares(value, operator, bound))
            case Contains(_, member):
                return field.members.get(member, _EMPTY) | _union(field.strings, lambda value: contains(value, member))

    def _by_reading(self, term: Filter, rows: BitMap) -> BitMap:
        """The slow way, for what is not kept in memory: look at the rows themselves."""
        found = BitMap()
        waiting = rows.to_array()
        for start in range(0, len(waiting), 1_000):
            wanted = waiting[start : start + 1_000].tolist()
            page = self._fetch(wanted)
            if len(page) < len(wanted):
                raise _StaleViewError
            found.update(row for row, metadata in page.items() if matches_one(term, metadata))
        return found


def _flat(metadata: Metadata) -> Iterable[tuple[str, JSONValue]]:
    """Every field a filter can name: the keys, and dotted paths into objects unless a key has that very name."""
    for key, value in metadata.items():
        yield key, value
        if isinstance(value, dict) and "." not in key:
            yield from ((path, inner) for path, inner in _paths(key, value) if path not in metadata)


def _paths(prefix: str, value: Mapping[str, JSONValue]) -> Iterable[tuple[str, JSONValue]]:
    for key, inner in value.items():
        if "." in key:
            continue  # a path reads a dot as a step, so this key cannot be reached
        path = f"{prefix}.{key}"
        yield path, inner
        if isinstance(inner, dict):
            yield from _paths(path, inner)


def _concerns_long_strings(term: Equals | Compares | Exists | Contains) -> bool:
    match term:
        case Exists():
            return False
        case Equals(_, values):
            return any(kind == "string" and len(str(value)) > _LONG_CHARS for kind, value in values)
        case Compares(_, _, bound):
            return isinstance(bound, str)
        case Contains(_, (kind, _)):
            return kind == "string"


def _union(strings: Mapping[str, BitMap], chosen: Callable[[str], bool]) -> BitMap:
    return BitMap.union(_EMPTY, *(rows for value, rows in strings.items() if chosen(value)))


def bitmap(rows: np.ndarray[tuple[int], np.dtype[np.uint32]]) -> BitMap:
    """A bitmap of a uint32 array; through `array`, which pyroaring reads seven times faster than a numpy array."""
    values = array("I")
    values.frombytes(rows.tobytes())
    return BitMap(values)


def array_of(rows: BitMap) -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
    """The rows of a bitmap as a sorted uint32 array."""
    return np.frombuffer(rows.to_array(), dtype=np.uint32)
