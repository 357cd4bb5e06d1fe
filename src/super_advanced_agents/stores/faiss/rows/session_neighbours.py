"""Who stands beside whom in a conversation: for each row of a session, the row before and the row after it.

The writer thread alone changes it; readers take what is there. A reader may see a neighbour of a moment ago, which can
shift a score a little and nothing else.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

_NONE = 0
"""No row has this number."""


class SessionNeighbourIndex:
    """Sessions as doubly linked lists of rows, in three arrays indexed by row number."""

    def __init__(self) -> None:
        self._before = np.zeros(0, dtype=np.uint32)
        self._after = np.zeros(0, dtype=np.uint32)
        self._session = np.zeros(0, dtype=np.uint32)
        self._ids: dict[tuple[int, str], int] = {}
        self._last: dict[int, int] = {}
        self._changed = BitMap()
        self._changed_lock = threading.Lock()

    def __bool__(self) -> bool:
        return bool(self._ids)

    def clear(self) -> None:
        """Forget every session."""
        self._ids.clear()
        self._last.clear()
        for session_neighbours in (self._before, self._after, self._session):
            session_neighbours[:] = _NONE

    def append(self, row: int, scope: int, session: str) -> None:
        """Put a new row at the end of a session."""
        self._grow(row)
        id_ = self._ids.setdefault((scope, session), len(self._ids) + 1)
        self._session[row] = id_
        before = self._last.get(id_, _NONE)
        self._last[id_] = row
        self._link(before, row)

    def replace(self, old: int, new: int, scope: int, session: str) -> None:
        """Give `new` the place of `old`, if that stands in the same session; else the end of its own."""
        id_ = self._ids.get((scope, session))
        if id_ is None or old >= len(self._session) or self._session[old] != id_:
            self.append(new, scope, session)
            return
        self._grow(new)
        self._session[new], self._session[old] = id_, _NONE
        before, after = int(self._before[old]), int(self._after[old])
        self._link(before, new)
        self._link(new, after)
        if self._last[id_] == old:
            self._last[id_] = new

    def remove(self, row: int) -> None:
        """Take a row out; its neighbours become each other's. A row in no session is none of our business."""
        if row >= len(self._session) or self._session[row] == _NONE:
            return
        id_ = int(self._session[row])
        before, after = int(self._before[row]), int(self._after[row])
        self._session[row] = _NONE
        if self._last[id_] == row:
            self._last[id_] = before
        if before != _NONE:
            self._after[before] = after
        if after != _NONE:
            self._before[after] = before
        self._mark_changed(before, after)

    def reorder(self, rows: Iterable[int], places: Callable[[Sequence[int]], Mapping[int, int]]) -> bool:
        """Bring the sessions of some rows into the order of their places, where they are not.

        Args:
            rows: those that were put at a place; which it is may differ from the order in which they came.
            places: what the place of each of some rows is; deleted ones are missing.

        Returns:
            Whether anything moved.
        """
        here = [row for row in rows if row < len(self._session) and self._session[row] != _NONE]
        beside = {int(near[row]) for row in here for near in (self._before, self._after)} - {_NONE}
        known = places([*beside.union(here)])
        wrong: dict[int, None] = {}
        for row in here:
            before, after = int(self._before[row]), int(self._after[row])
            if known.get(before, -1) > known[row] or known.get(after, known[row]) < known[row]:
                wrong[int(self._session[row])] = None
        for id_ in wrong:
            self._reorder_session(id_, places)
        return bool(wrong)

    def _reorder_session(self, id_: int, places: Callable[[Sequence[int]], Mapping[int, int]]) -> None:
        members = []
        row = self._last.get(id_, _NONE)
        while row != _NONE:
            members.append(row)
            row = int(self._before[row])
        known = places(members)
        members.sort(key=lambda member: (known[member], member))
        for before, after in zip([_NONE, *members], [*members, _NONE], strict=True):
            if before != _NONE:
                self._after[before] = after
            if after != _NONE:
                self._before[after] = before
        self._mark_changed(*members)
        self._last[id_] = members[-1]

    def neighbours(self, rows: NDArray[np.uint32]) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
        """(n,) rows before and (n,) rows after; 0 where there is none."""
        before, after = np.zeros(len(rows), np.uint32), np.zeros(len(rows), np.uint32)
        known = rows < min(len(self._before), len(self._after))
        before[known] = self._before[rows[known]]
        after[known] = self._after[rows[known]]
        return before, after

    def take_changed_rows(self) -> BitMap:
        """Rows whose neighbours changed since the last call."""
        with self._changed_lock:
            touched, self._changed = self._changed, BitMap()
        return touched

    def _link(self, before: int, after: int) -> None:
        if before != _NONE:
            self._after[before] = after
        if after != _NONE:
            self._before[after] = before
        self._mark_changed(before, after)

    def _mark_changed(self, *rows: int) -> None:
        with self._changed_lock:
            self._changed.update(row for row in rows if row != _NONE)

    def _grow(self, row: int) -> None:
        if row >= len(self._session):
            size = max(1024, 2 * row)
            self._before, self._after, self._session = (
                np.concatenate([old, np.zeros(size - len(old), np.uint32)])
                for old in (self._before, self._after, self._session)
            )
