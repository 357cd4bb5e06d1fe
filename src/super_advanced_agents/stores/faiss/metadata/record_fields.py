"""Indexes of records' own fields, such as `$source`, built when a filter names them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pyroaring import BitMap

from super_advanced_agents._runtime.concurrency.budget import unlimited
from super_advanced_agents._runtime.concurrency.gil import yield_gil
from super_advanced_agents.stores.faiss.metadata.field_index import FieldIndex, Term
from super_advanced_agents.types import JSONValue

_PAGE = 1_024
"""The number of values that are read and indexed at a time, about a millisecond."""


class FieldSource(Protocol):
    """The read that indexes of records' own fields make of the table of rows."""

    def field_of(self, name: str, seqs: Sequence[int]) -> list[tuple[int, JSONValue]]:
        """Return (row, value of the field with this reserved name); deleted rows are missing."""


@dataclass(slots=True)
class _Column:
    index: FieldIndex
    rows: BitMap = field(default_factory=BitMap)
    catching_up: threading.Lock = field(default_factory=threading.Lock)


class RecordFieldIndexes:
    """Evaluate conditions on records' own fields for the rows of one tenant, from any thread.

    A field that no filter names takes no memory. The values of a row number never change.

    Args:
        rows: the table that holds the rows.
    """

    def __init__(self, rows: FieldSource) -> None:
        self._rows = rows
        self._lock = threading.Lock()
        self._columns: dict[str, _Column] = {}

    def missing(self, name: str, rows: BitMap) -> int:
        """Return how many of these rows the field's index does not hold yet."""
        column = self._columns.get(name)
        return len(rows) if column is None else rows.difference_cardinality(column.rows)

    def index(self, name: str, rows: BitMap) -> FieldIndex | None:
        """Return the index of a field, which holds these rows; None if some were deleted since.

        Args:
            name: the reserved name of the field.
            rows: the rows that it must hold.
        """
        with self._lock:
            column = self._columns.get(name)
            if column is None:
                column = self._columns[name] = _Column(FieldIndex(self._lock, BitMap()))
        if not rows.issubset(column.rows):
            with column.catching_up, unlimited():
                missing = (rows - column.rows).to_array()
                for start in yield_gil(range(0, len(missing), _PAGE), every=1):
                    values = self._rows.field_of(name, missing[start : start + _PAGE].tolist())
                    with self._lock:
                        for row, value in values:
                            column.index.add(value, row)
                            column.rows.add(row)
        return column.index if rows.issubset(column.rows) else None

    def is_slow(self, term: Term) -> bool:
        """Return True if evaluating one condition would noticeably delay requests."""
        column = self._columns.get(term.key)
        return column is not None and column.index.is_slow(term)

    def drop(self, live: BitMap, spare: int) -> None:
        """Free the indexes in which deleted rows outnumber the live ones by more than `spare`.

        The next filter that names such a field builds its index again.
        """
        with self._lock:
            for name in [name for name, column in self._columns.items() if outnumbered(column.rows, live, spare)]:
                del self._columns[name]

    def has_many_dead(self, live: BitMap, spare: int) -> bool:
        """Return True if `drop` would free an index."""
        return any(outnumbered(column.rows, live, spare) for column in list(self._columns.values()))

    def sizes(self) -> dict[str, int]:
        """Return the number of rows in each field's index, by its reserved name."""
        return {name: len(column.rows) for name, column in list(self._columns.items())}


def outnumbered(rows: BitMap, live: BitMap, spare: int) -> bool:
    """Return True if deleted rows outnumber the live ones among `rows` by more than `spare`."""
    if not rows:
        return False
    live_count = rows.intersection_cardinality(live)
    return not live_count or len(rows) > 2 * live_count + spare
