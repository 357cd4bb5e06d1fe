"""A cache of filter results, so that equal searches evaluate their filter once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import NamedTuple, TypeAlias

from pyroaring import BitMap

from super_advanced_agents.stores.faiss.vectors.segment import Positions, Segment
from super_advanced_agents.stores.filters import Filter

_MAX_ENTRIES = 256
_Key: TypeAlias = "tuple[int | None, Filter | None]"


class Selection:
    """Hold the rows that match the namespace and filter of a search.

    It also caches their offsets in each segment, which is a set of rows with one FAISS index.

    Attributes:
        rows: the rows in the scope that match the filter and have not expired.
    """

    def __init__(self, rows: BitMap) -> None:
        self.rows = rows
        self._positions: dict[Segment, Positions | None] = {}

    def positions(self, segment: Segment) -> Positions | None:
        """Return the offsets of the selected rows within a segment, a set of rows with one index.

        Return None when all rows of the segment are selected, so that the search needs no filter.
        """
        try:
            return self._positions[segment]
        except KeyError:
            positions = self._positions[segment] = segment.positions(self.rows)
            return positions


class _Entry(NamedTuple):
    selection: Selection
    since: float
    until: float


class Selections:
    """Cache the rows that namespaces and metadata filters select. LRU eviction; thread-safe.

    Each view (an immutable state of the index) has one.
    """

    def __init__(self) -> None:
        self._entries: OrderedDict[_Key, _Entry] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, scope: int | None, tree: Filter | None, now: float) -> Selection | None:
        """Return the cached rows for a namespace and filter; None if absent or not valid at `now`.

        `scope` is the number of one tenant's namespace. An entry is valid until the next row expires.
        """
        with self._lock:
            entry = self._entries.get((scope, tree))
            if entry is None or not entry.since <= now < entry.until:  # before `since` when the clock has jumped back
                return None
            self._entries.move_to_end((scope, tree))
            return entry.selection

    def add(self, scope: int | None, tree: Filter | None, rows: BitMap, *, since: float, until: float) -> Selection:
        """Cache the rows for a namespace and filter, and return them as a `Selection`.

        `scope` is the number of one tenant's namespace. The entry is valid at times in [`since`, `until`), between
        which no row expires.
        """
        selection = Selection(rows)
        with self._lock:
            self._entries[scope, tree] = _Entry(selection, since, until)
            if len(self._entries) > _MAX_ENTRIES:
                self._entries.popitem(last=False)
        return selection
