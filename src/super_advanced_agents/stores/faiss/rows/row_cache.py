"""What searches showed lately. A row never changes once it has its number, so nothing here can be out of date."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Container, Iterable, Mapping, Sequence
from itertools import product
from types import NoneType
from typing import Any, NamedTuple

from super_advanced_agents.errors import CorruptStoreError
from super_advanced_agents.types import Match

_MAX_BYTES = 16 * 1024 * 1024
_ROW_BYTES = 450
"""What a kept row takes beside its characters."""


class Hit(NamedTuple):
    """What a search shows of a row, as it is stored."""

    uid: str
    text: str | None
    rest: str
    source: str | None
    session: str | None
    created_at: float
    updated_at: float

    @classmethod
    def of_row(cls, row: Sequence[Any]) -> Hit:
        """Make one of a row's values, in this order.

        Raises:
            CorruptStoreError: a value is not of its column's type, as no write has left it.
        """
        return cls(*checked_row(row, _SHAPES))

    def match(self, score: float, similarity: float | None) -> Match:
        """Return a search result of this row, the caller's to keep."""
        return Match.of_stored(
            self.text,
            self.rest,
            score=score,
            similarity=similarity,
            uid=self.uid,
            source=self.source,
            session=self.session,
            created_at=self.created_at,
            updated_at=self.updated_at,
        )


_TEXT: tuple[type, ...] = (str,)
_TEXT_OR_NONE: tuple[type, ...] = (str, NoneType)
_NUMBER: tuple[type, ...] = (float,)
_SHAPES = frozenset(product(_TEXT, _TEXT_OR_NONE, _TEXT, _TEXT_OR_NONE, _TEXT_OR_NONE, _NUMBER, _NUMBER))


def checked_row(row: Sequence[Any], shapes: Container[tuple[type, ...]]) -> Sequence[Any]:
    """Return a row whose values have the types of one of `shapes`; SQLite gives what a flipped bit says, of any type.

    Comparing the types together takes 0.3 us a row, half of the time of one by one.

    Raises:
        CorruptStoreError: they have others, which no write has left.
    """
    if tuple(map(type, row)) not in shapes:
        raise CorruptStoreError("a record's row is damaged", hint="restore a backup; `saa doctor` tells more")
    return row


class RowCache:
    """Rows by their number, those kept longest dropped first; safe from any thread."""

    def __init__(self) -> None:
        self._rows: OrderedDict[int, Hit] = OrderedDict()  # a plain dict takes ever longer to name its first
        self._bytes = 0
        self._lock = threading.Lock()

    def get_many(self, seqs: Iterable[int]) -> dict[int, Hit]:
        """Those of these rows that are kept."""
        rows = self._rows
        return {seq: hit for seq in seqs if (hit := rows.get(seq)) is not None}

    def add_many(self, rows: Mapping[int, Hit]) -> None:
        """Keep what was read from the table."""
        with self._lock:
            for seq, hit in rows.items():
                if seq not in self._rows:
                    self._rows[seq] = hit
                    self._bytes += _size(hit)
            while self._bytes > _MAX_BYTES:
                self._bytes -= _size(self._rows.popitem(last=False)[1])


def _size(hit: Hit) -> int:
    return (
        _ROW_BYTES + len(hit.uid) + len(hit.rest) + len(hit.text or "") + len(hit.source or "") + len(hit.session or "")
    )
