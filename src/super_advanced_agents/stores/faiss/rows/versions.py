"""A number for what can be found in each scope, so that whoever keeps answers knows when they are out of date.

Numbers are drawn from one counter of the process: none is ever given twice, not even to a store that is opened again.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterable

import numpy as np

from super_advanced_agents.stores.faiss.metadata.columns import NumberColumn

_numbers = itertools.count(1)


class Versions:
    """The versions of one store's scopes; any thread asks, the writer thread moves them."""

    def __init__(self) -> None:
        self._whole = self._latest = next(_numbers)
        self._of: dict[int, int] = {}
        self._expiring = NumberColumn()  # for each record with a lifetime its end and its scope
        self._unchanged: tuple[float, float] = (-np.inf, np.inf)  # nothing expires from the first to before the second
        self._lock = threading.Lock()

    def of(self, scope: int | None) -> int:
        """The version of a scope now; of the whole store for None, and of a scope nothing was ever written to.

        What a search finds that began after this was asked is at least as new as the version. Nothing that is found
        changes while the version stays: neither by a write, once it is acknowledged, nor because a record expires.
        """
        now = time.time()
        since, until = self._unchanged
        if not since <= now < until:
            self._expire(now)
        return self._latest if scope is None else max(self._of.get(scope, 0), self._whole)

    def expires(self, scope: int, at: float) -> None:
        """A record of the scope will expire; said before it can be found."""
        with self._lock:
            self._expiring.add(at, scope)
            since, until = self._unchanged
            self._unchanged = since, min(until, at)

    def keep_expiring(self, ends: NumberColumn) -> None:
        """Forget records that have gone before they expired: these are the ends of those that are left."""
        with self._lock:
            self._expiring = ends

    def move(self, scopes: Iterable[int]) -> None:
        """Something changed in these scopes; called when every search sees it, before the writer is told."""
        with self._lock:
            self._move(scopes)

    def move_all(self) -> None:
        """Anything may have changed anywhere."""
        with self._lock:
            self._whole = self._latest = next(_numbers)

    def _move(self, scopes: Iterable[int]) -> None:
        number = next(_numbers)
        for scope in scopes:
            self._of[scope] = number
        self._latest = number

    def _expire(self, now: float) -> None:
        """Move the scopes of what has expired since this was last done; all when the clock has jumped back."""
        with self._lock:
            since, until = self._unchanged
            if since <= now < until:
                return
            if now < since:
                self._whole = self._latest = next(_numbers)
            else:
                self._move(self._expiring.rows_between(since, now))
            self._unchanged = now, self._expiring.next_above(now)
