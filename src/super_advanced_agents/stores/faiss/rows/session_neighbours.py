"""The rows before and after each row in its session (conversation).

Only the writer thread changes them, and readers take no lock. A reader may see a neighbour of a moment ago, which
shifts a score a little and does no other harm.
"""

from __future__ import annotations

import threading
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

_NONE = 0
"""Stands for no row; row numbers begin at 1."""
_MAX_CHANGES = 65_536
"""The largest number of changed rows that are remembered.

After more than half as many changes the oldest may be gone.
"""


class SessionNeighbourIndex:
    """Hold sessions as doubly linked lists of rows, in three arrays indexed by row number."""

    def __init__(self) -> None:
        self._before = np.zeros(0, dtype=np.uint32)
        self._after = np.zeros(0, dtype=np.uint32)
        self._session = np.zeros(0, dtype=np.uint32)
        self._ids: dict[tuple[int, str], int] = {}
        self._scopes: set[int] = set()
        self._last: dict[int, int] = {}
        self._changed = array("I")  # the rows in the order of their changes, without the first `_forgotten`
        self._forgotten = 0
        self._changed_lock = threading.Lock()

    def has_sessions(self, scope: int | None) -> bool:
        """Return True if records of a namespace were in sessions since the store was opened.

        `scope` is the number of the namespace; None stands for the whole store.
        """
        return bool(self._scopes) if scope is None else scope in self._scopes

    def clear(self) -> None:
        """Remove all sessions from this index."""
        self._ids.clear()
        self._scopes.clear()
        self._last.clear()
        for column in (self._before, self._after, self._session):
            column[:] = _NONE

    def append(self, row: int, scope: int, session: str) -> None:
        """Append a new row to the end of a session."""
        self._grow(row)
        id_ = self._ids.setdefault((scope, session), len(self._ids) + 1)
        self._scopes.add(scope)
        self._session[row] = id_
        before = self._last.get(id_, _NONE)
        self._last[id_] = row
        self._link(before, row)

    def replace(self, old: int, new: int, scope: int, session: str) -> None:
        """Replace row `old` of a session by row `new`; append `new` if `old` is not in it."""
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
        """Remove a row from its session, and link its neighbours to each other.

        Does nothing for a row without a session.
        """
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
        """Sort the sessions that contain these rows by place, where they are out of order.

        Args:
            rows: rows with explicit places, which may differ from the order in which they were written.
            places: returns the place of each of some rows; deleted rows are missing.

        Returns:
            True if a session was out of order.
        """
        members = [row for row in rows if row < len(self._session) and self._session[row] != _NONE]
        neighbours = {int(side[row]) for row in members for side in (self._before, self._after)} - {_NONE}
        place_of = places([*neighbours.union(members)])
        unordered: dict[int, None] = {}
        for row in members:
            before, after, place = int(self._before[row]), int(self._after[row]), place_of[row]
            if place_of.get(before, -1) > place or place_of.get(after, place) < place:
                unordered[int(self._session[row])] = None
        for id_ in unordered:
            self._reorder_session(id_, places)
        return bool(unordered)

    def _reorder_session(self, id_: int, places: Callable[[Sequence[int]], Mapping[int, int]]) -> None:
        members = []
        row = self._last.get(id_, _NONE)
        while row != _NONE:
            members.append(row)
            row = int(self._before[row])
        place_of = places(members)
        members.sort(key=lambda member: (place_of[member], member))
        for before, after in zip([_NONE, *members], [*members, _NONE], strict=True):
            if before != _NONE:
                self._after[before] = after
            if after != _NONE:
                self._before[after] = before
        self._mark_changed(*members)
        self._last[id_] = members[-1]

    def neighbours(self, rows: NDArray[np.uint32]) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
        """Return the numbers of the rows before and after each row in its session.

        Both arrays are (n,); 0 stands for no row.
        """
        before, after = np.zeros(len(rows), np.uint32), np.zeros(len(rows), np.uint32)
        known = rows < min(len(self._before), len(self._after))
        before[known] = self._before[rows[known]]
        after[known] = self._after[rows[known]]
        return before, after

    @property
    def change_count(self) -> int:
        """The number of changes of rows' neighbours so far, a point in time for `changed_since`."""
        with self._changed_lock:
            return self._forgotten + len(self._changed)

    def changed_since(self, count: int) -> BitMap | None:
        """Return the rows whose neighbours have changed since `change_count` was `count`.

        None stands for all rows: more have changed since then than are remembered.
        """
        with self._changed_lock:
            return None if count < self._forgotten else BitMap(self._changed[count - self._forgotten :])

    def _link(self, before: int, after: int) -> None:
        if before != _NONE:
            self._after[before] = after
        if after != _NONE:
            self._before[after] = before
        self._mark_changed(before, after)

    def _mark_changed(self, *rows: int) -> None:
        with self._changed_lock:
            self._changed.extend(row for row in rows if row != _NONE)
            if len(self._changed) > _MAX_CHANGES:
                surplus = len(self._changed) - _MAX_CHANGES // 2
                del self._changed[:surplus]
                self._forgotten += surplus

    def _grow(self, row: int) -> None:
        if row >= len(self._session):
            size = max(1024, 2 * row)
            self._before, self._after, self._session = (
                np.concatenate([old, np.zeros(size - len(old), np.uint32)])
                for old in (self._before, self._after, self._session)
            )
