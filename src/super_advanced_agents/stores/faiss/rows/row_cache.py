"""A cache of the rows that recent searches returned.

The content of a row number never changes, so an entry can never be stale.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Container, Iterable, Mapping, Sequence
from itertools import product
from types import NoneType
from typing import Any, NamedTuple

from super_advanced_agents.errors import CorruptStoreError
from super_advanced_agents.stores.records.answer_sizes import ITEM_BYTES, text_bytes
from super_advanced_agents.types import Match

_MAX_BYTES = 16 * 1024 * 1024
_MAX_ROW_BYTES = 16 * 1024
"""A larger row is not cached; some hundred of them would fill the cache."""
_ROW_BYTES = 450
"""The memory that an entry takes beside its characters."""


class Hit(NamedTuple):
    """Hold the stored columns of a row from which a search result is built.

    Attributes:
        metadata_json: the metadata without its text, as JSON.
        created_at: seconds since the epoch.
        updated_at: seconds since the epoch.
    """

    uid: str
    text: str | None
    metadata_json: str
    source: str | None
    session: str | None
    created_at: float
    updated_at: float

    @classmethod
    def of_row(cls, row: Sequence[Any]) -> Hit:
        """Build a hit from a database row, whose values are in the order of the fields.

        Raises:
            CorruptStoreError: a value does not have its column's type, so the file is damaged.
        """
        return cls(*checked_row(row, _SHAPES))

    @property
    def answer_bytes(self) -> int:
        """The bytes that this row takes in an answer."""
        return ITEM_BYTES + text_bytes(self.text, self.metadata_json, self.source, self.session)

    def match(self, score: float, similarity: float | None) -> Match:
        """Build a search result from this row, with metadata that the caller may modify."""
        return Match.of_stored(
            self.text,
            self.metadata_json,
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
    """Return a database row unchanged if the types of its values are an allowed combination.

    SQLite returns a value of any type when a bit of the file has flipped. Comparing all types of a row at once takes
    0.3 us a row, half the time of comparing them one by one.

    Raises:
        CorruptStoreError: the types are different, so the file is damaged.
    """
    if tuple(map(type, row)) not in shapes:
        raise damaged_row()
    return row


def damaged_row() -> CorruptStoreError:
    """Return the error of a database row with a value of a wrong type."""
    return CorruptStoreError("a record's row is damaged", hint="restore a backup; `saa doctor` tells more")


class RowCache:
    """Cache the stored columns of search results by row number. FIFO eviction; thread-safe."""

    def __init__(self) -> None:
        self._rows: OrderedDict[int, Hit] = OrderedDict()  # a plain dict takes ever longer to find its first key
        self._bytes = 0
        self._lock = threading.Lock()

    def get_many(self, seqs: Iterable[int]) -> dict[int, Hit]:
        """Return the cached rows among the given row numbers, by row number."""
        rows = self._rows
        return {seq: hit for seq in seqs if (hit := rows.get(seq)) is not None}

    def add_many(self, rows: Mapping[int, Hit]) -> None:
        """Add rows to the cache by row number; the oldest are evicted when it is full."""
        with self._lock:
            for seq, hit in rows.items():
                size = _size(hit)
                if size <= _MAX_ROW_BYTES and seq not in self._rows:
                    self._rows[seq] = hit
                    self._bytes += size
            while self._bytes > _MAX_BYTES:
                self._bytes -= _size(self._rows.popitem(last=False)[1])


def _size(hit: Hit) -> int:
    return (
        _ROW_BYTES
        + len(hit.uid)
        + len(hit.metadata_json)
        + len(hit.text or "")
        + len(hit.source or "")
        + len(hit.session or "")
    )
