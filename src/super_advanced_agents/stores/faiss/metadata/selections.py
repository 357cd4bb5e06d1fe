"""Selections kept for equal searches: a filter is evaluated once for each view, however many ask."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import NamedTuple, TypeAlias

from pyroaring import BitMap

from super_advanced_agents.stores.faiss.vectors.segment import Positions, Segment
from super_advanced_agents.stores.filters import Filter

_KEPT = 256
_Key: TypeAlias = "tuple[int | None, Filter | None]"


class Selection:
    """The rows a caller may see, and where they lie in each segment: looked up once, used by every equal search."""

    def __init__(self, rows: BitMap) -> None:
        self.rows = rows
        self._positions: dict[Segment, Positions | None] = {}

    def positions(self, segment: Segment) -> Positions | None:
        """As `Segment.positions`."""
        try:
            return self._positions[segment]
        except KeyError:
            found = self._positions[segment] = segment.positions(self.rows)
            return found


class _Kept(NamedTuple):
    selection: Selection
    since: float
    until: float


class Selections:
    """The selections of one view, least recently used ones dropped; safe from any thread."""

    def __init__(self) -> None:
        self._kept: OrderedDict[_Key, _Kept] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, scope: int | None, tree: Filter | None, now: float) -> Selection | None:
        """The selection, if it is kept and nothing has expired since (the clock may jump back)."""
        with self._lock:
            found = self._kept.get((scope, tree))
            if found is None or not found.since <= now < found.until:
                return None
            self._kept.move_to_end((scope, tree))
            return found.selection

    def keep(self, scope: int | None, tree: Filter | None, rows: BitMap, *, since: float, until: float) -> Selection:
        """Keep what was found, good from `since` to before `until`."""
        selection = Selection(rows)
        with self._lock:
            self._kept[scope, tree] = _Kept(selection, since, until)
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return selection
