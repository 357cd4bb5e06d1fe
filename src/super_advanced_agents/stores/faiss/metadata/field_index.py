"""The index of one metadata field: for each value, the rows that have it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from hashlib import blake2b
from itertools import islice
from secrets import token_bytes
from sys import getsizeof
from typing import Generic, TypeAlias, TypeVar

from pyroaring import BitMap

from super_advanced_agents._runtime.concurrency.gil import yield_gil
from super_advanced_agents.stores.faiss.metadata.columns import NumberColumn
from super_advanced_agents.stores.filters import Compares, Contains, Equals, Exists, Scalar, compares, contains, scalar
from super_advanced_agents.types import JSONValue

Term: TypeAlias = Equals | Compares | Exists | Contains

FIELD_BYTES = 2_500
"""The memory of a field's index beside its values."""
_VALUE_BYTES = 120
"""The memory of an entry of a table beside its key."""
_ROW_BYTES = 4
"""The memory of a row in a bitmap; 2 to 8 when the rows are far apart."""
_NUMBER_BYTES = 12
_MAX_STRING_CHARS = 256
"""A longer string is indexed by its digest only.

Comparisons with its parts read the rows from the table.
"""
_MAX_KEY_CHARS = 64
"""A longer list, object or member of a list is indexed by its digest."""
_MANY_VALUES = 4_096
"""More comparisons than this take several milliseconds."""
_STEP = 1_024
"""The number of comparisons between two pauses that let other threads run."""
_DIGEST_KEY = token_bytes(16)
"""A random key of this process, so that no caller can choose values with equal digests."""

K = TypeVar("K")


class _ValueTable(Generic[K]):
    """Map values to rows; a value of one row takes half the memory of one with a bitmap."""

    def __init__(self) -> None:
        self.rows: dict[K, int | BitMap] = {}

    def add(self, value: K, row: int) -> int:
        """Add a row to those of a value, and return the bytes that it takes."""
        rows = self.rows.get(value)
        if rows is None:
            self.rows[value] = row
            return _VALUE_BYTES + _key_bytes(value)
        if isinstance(rows, BitMap):
            rows.add(row)
        elif rows != row:
            self.rows[value] = BitMap((rows, row))
            return 2 * _VALUE_BYTES
        return _ROW_BYTES

    def drop(self, dead: BitMap, lock: threading.Lock) -> None:
        with lock:
            values = list(self.rows)
        for value in yield_gil(values):
            with lock:
                rows = self.rows[value]
                if isinstance(rows, BitMap):
                    rows.difference_update(dead)
                if not rows if isinstance(rows, BitMap) else rows in dead:
                    del self.rows[value]

    def size_bytes(self) -> int:
        """Return the approximate memory of the table."""
        return sum(
            _VALUE_BYTES
            + _key_bytes(value)
            + (2 * _VALUE_BYTES + _ROW_BYTES * len(rows) if isinstance(rows, BitMap) else 0)
            for value, rows in yield_gil(list(self.rows.items()), every=_STEP)
        )


class FieldIndex:
    """Index one metadata field: for each value the rows that have it.

    Args:
        lock: guards all fields of one tenant; each method holds it for a short step at a time.
        unknown: the rows that may have the field and are not in this index.

    Attributes:
        present: the rows that have the field, even as null.
        unknown: the rows that may have the field and are not in this index.
    """

    def __init__(self, lock: threading.Lock, unknown: BitMap) -> None:
        self._lock = lock
        self.present = BitMap()
        self.unknown = unknown
        self._long_strings = BitMap()
        self._strings: _ValueTable[str] = _ValueTable()
        self._numbers = NumberColumn()
        self._other_values: _ValueTable[Scalar | bytes] = _ValueTable()  # null, booleans; digests of what is long
        self._member_numbers = NumberColumn()
        self._members: _ValueTable[Scalar | bytes] = _ValueTable()

    def add(self, value: JSONValue, row: int) -> int:
        """Add the value that a row has in this field, and return the bytes of memory that it takes.

        The caller holds the lock.
        """
        self.present.add(row)
        if isinstance(value, str) and len(value) <= _MAX_STRING_CHARS:
            return _ROW_BYTES + self._strings.add(value, row)
        if isinstance(value, str):
            self._long_strings.add(row)
            return 2 * _ROW_BYTES + self._other_values.add(_digest(("string", value)), row)
        if isinstance(value, int | float) and not isinstance(value, bool):
            self._numbers.add(value, row)
            return _ROW_BYTES + _number_bytes(value)
        added = _ROW_BYTES + self._other_values.add(_table_key(scalar(value)), row)
        if isinstance(value, list):
            for kind, member in {scalar(member) for member in value}:
                if kind == "number" and isinstance(member, int | float):
                    self._member_numbers.add(member, row)
                    added += _number_bytes(member)
                else:
                    added += self._members.add(_table_key((kind, member)), row)
        return added

    def matching(self, term: Term) -> BitMap:
        """Return the rows whose indexed value matches one condition of a filter.

        Rows that an index of digests or no index decides are left out; `undecided` returns them.
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
            case Contains(_, (kind, member) as value):
                if kind == "number" and isinstance(member, int | float):
                    with self._lock:
                        return self._member_numbers.rows_equal_to([member])
                key = _table_key(value)
                lists = _NO_ROWS if isinstance(key, bytes) else _union([self._members.rows.get(key, _NO_ROWS)])
                if not _scans_strings(term):
                    return lists
                return lists | self._rows_with_string(lambda value: contains(value, term.member))

    def undecided(self, term: Term) -> BitMap:
        """Return the rows that must be read from the table to evaluate one condition of a filter.

        They are not in the index, or it has only digests of their values.
        """
        undecided = self.unknown
        match term:
            case Equals(_, values):
                keys = (_long_key(value) for value in yield_gil(values, every=_STEP))
                if found := [rows for key in keys if key and (rows := self._other_values.rows.get(key)) is not None]:
                    undecided = undecided | _union(found)
            case Contains(_, member):
                if (key := _table_key(member)) in self._members.rows and isinstance(key, bytes):
                    undecided = undecided | _union([self._members.rows[key]])
        if self._long_strings and _scans_strings(term):
            undecided = undecided | self._long_strings
        return undecided

    def is_slow(self, term: Term) -> bool:
        """Return True if evaluating one condition of a filter would noticeably delay requests."""
        comparisons = len(term.values) if isinstance(term, Equals) else len(self._strings.rows) * _scans_strings(term)
        return comparisons > _MANY_VALUES or bool(self.undecided(term))

    def drop(self, rows: BitMap) -> None:
        """Remove the given rows from the index of this field."""
        with self._lock:
            self.present -= rows
            self.unknown -= rows
            self._long_strings -= rows
            self._numbers.retain(self.present)
            self._member_numbers.retain(self.present)
        self._strings.drop(rows, self._lock)
        self._other_values.drop(rows, self._lock)
        self._members.drop(rows, self._lock)

    def size_bytes(self) -> int:
        """Return the approximate memory of this field's index in bytes."""
        numbers = _NUMBER_BYTES * (len(self._numbers) + len(self._member_numbers)) + _ROW_BYTES * len(self.present)
        tables = self._strings.size_bytes() + self._other_values.size_bytes() + self._members.size_bytes()
        return FIELD_BYTES + numbers + tables

    def table_sizes(self) -> dict[str, int]:
        """Return the number of strings, of numbers and of other values in the index."""
        others = len(self._other_values.rows) + len(self._members.rows)
        return {"strings": len(self._strings.rows), "numbers": len(self._numbers), "other values": others}

    def _rows_equal_to(self, values: Collection[Scalar]) -> BitMap:
        numbers = [value for kind, value in values if kind == "number" and isinstance(value, int | float)]
        others = yield_gil(values, every=_STEP)
        matching = _union(rows for kind, value in others if (rows := self._rows_with(kind, value)) is not None)
        for start in yield_gil(range(0, len(numbers), _STEP), every=1):
            with self._lock:
                matching |= self._numbers.rows_equal_to(numbers[start : start + _STEP])
        return matching

    def _rows_with(self, kind: str, value: str | float | bool | None) -> int | BitMap | None:
        if isinstance(value, str) and kind == "string":
            return self._strings.rows.get(value)
        return None if _is_long(kind, value) else self._other_values.rows.get((kind, value))

    def _rows_with_string(self, predicate: Callable[[str], bool]) -> BitMap:
        with self._lock:
            items = list(self._strings.rows.items())
        return _union(rows for value, rows in yield_gil(items, every=_STEP) if predicate(value))


_NO_ROWS = BitMap()


def _digest(value: Scalar) -> bytes:
    return blake2b(f"{value[0]} {value[1]}".encode(errors="surrogatepass"), digest_size=16, key=_DIGEST_KEY).digest()


def _is_long(kind: str, value: object) -> bool:
    return isinstance(value, str) and len(value) > (_MAX_STRING_CHARS if kind == "string" else _MAX_KEY_CHARS)


def _table_key(value: Scalar) -> Scalar | bytes:
    return _digest(value) if isinstance(value[1], str) and len(value[1]) > _MAX_KEY_CHARS else value


def _long_key(value: Scalar) -> bytes | None:
    return _digest(value) if _is_long(*value) else None


def _key_bytes(value: object) -> int:
    # Of a tuple the size of its second member too; the first is one of five constants.
    return getsizeof(value) + (getsizeof(value[1]) if isinstance(value, tuple) else 0)


def _number_bytes(value: float) -> int:
    return _NUMBER_BYTES if -(2**53) < value < 2**53 else 3 * _VALUE_BYTES


def _scans_strings(term: Term) -> bool:
    match term:
        case Compares(_, _, bound):
            return isinstance(bound, str)
        case Contains(_, (kind, _)):
            return kind == "string"
        case _:
            return False


def _union(found: Iterable[int | BitMap]) -> BitMap:
    # In batches: a bitmap that grows with each union would be copied again and again.
    rows = BitMap()
    iterator: Iterator[int | BitMap] = iter(found)
    while batch := list(islice(iterator, _STEP)):
        bitmaps = [each for each in batch if isinstance(each, BitMap)]
        rows |= BitMap.union(BitMap([each for each in batch if not isinstance(each, BitMap)]), *bitmaps)
    return rows
