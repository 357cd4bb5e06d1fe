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
    """Hold the rows that a search may return, and their positions in each segment.

    Attributes:
        rows: the rows in the scope that match the filter and have not expired.
    """

    def __init__(self, rows: BitMap) -> None:
        self.rows = rows
        self._positions: dict[Segment, Positions | None] = {}

    def positions(self, segment: Segment) -> Positions | None:
        """Return the selected rows' offsets in a segment; None when all its rows are selected."""
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
    """Cache the rows of a view that scopes and filters select. LRU eviction; thread-safe."""

    def __init__(self) -> None:
        self._entries: OrderedDict[_Key, _Entry] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, scope: int | None, tree: Filter | None, now: float) -> Selection | None:
        """Return the cached rows of a scope and filter; None if absent or not valid at `now`."""
        with self._lock:
            entry = self._entries.get((scope, tree))
            if entry is None or not entry.since <= now < entry.until:  # before `since` when the clock has jumped back
                return None
            self._entries.move_to_end((scope, tree))
            return entry.selection

    def add(self, scope: int | None, tree: Filter | None, rows: BitMap, *, since: float, until: float) -> Selection:
        """Cache the rows of a scope and filter for times in [`since`, `until`); return them."""
        selection = Selection(rows)
        with self._lock:
            self._entries[scope, tree] = _Entry(selection, since, until)
            if len(self._entries) > _MAX_ENTRIES:
                self._entries.popitem(last=False)
        return selection
