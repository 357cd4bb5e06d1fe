"""Version numbers of namespaces, by which result caches detect that entries are stale.

Numbers come from one counter of the process, so none is used twice, not even by a store that is opened again.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable

import numpy as np

from super_advanced_agents._runtime.clock import ForwardClock
from super_advanced_agents.stores.faiss.metadata.columns import NumberColumn

_version_numbers = itertools.count(1)


class Versions:
    """Hold a version number per namespace, which changes when its search results may change.

    Any thread reads them; the writer thread advances them after a write.

    Args:
        clock: the clock by which records expire.
    """

    def __init__(self, clock: ForwardClock) -> None:
        self._clock = clock
        self._min_version = self._latest = next(_version_numbers)
        self._scope_versions: dict[int, int] = {}  # absent scopes have the minimum
        self._expiring = NumberColumn()  # the expiry time of each record that has one, with its scope as the row
        self._no_expiry_between: tuple[float, float] = (-np.inf, np.inf)  # from the first to just before the second
        self._lock = threading.Lock()

    def of(self, scope: int | None) -> int:
        """Return the current version number of a namespace; None stands for the whole store.

        The results of a search that begins after this call are at least as new as the version. While the version stays
        the same, so do the results: no acknowledged write and no expiry changes them. A namespace to which nothing was
        ever written has a version too.
        """
        now = self._clock.now()
        since, until = self._no_expiry_between
        if not since <= now < until:
            self._advance_expired(now)
        return self._latest if scope is None else max(self._scope_versions.get(scope, 0), self._min_version)

    def add_expiry(self, scope: int, at: float) -> None:
        """Register a record's expiry time, at which its namespace gets a new version number.

        `scope` is the number of the namespace. Called before searches can return the record.
        """
        with self._lock:
            self._expiring.add(at, scope)
            since, until = self._no_expiry_between
            self._no_expiry_between = since, min(until, at)

    def replace_expiries(self, expiries: NumberColumn) -> None:
        """Replace all registered expiry times by those of the records that still exist.

        Args:
            expiries: the expiry times of these records, with the numbers of their namespaces as the rows.
        """
        with self._lock:
            self._expiring = expiries

    def advance(self, scopes: Iterable[int]) -> None:
        """Give namespaces, listed by their numbers, a new version number after a write.

        Called when every search sees the write, and before it is acknowledged.
        """
        with self._lock:
            self._advance(scopes)

    def advance_all(self) -> None:
        """Give every namespace a new version number, so that no cached result stays valid."""
        with self._lock:
            self._min_version = self._latest = next(_version_numbers)

    def _advance(self, scopes: Iterable[int]) -> None:
        number = next(_version_numbers)
        for scope in scopes:
            self._scope_versions[scope] = number
        self._latest = number

    def _advance_expired(self, now: float) -> None:
        with self._lock:
            since, until = self._no_expiry_between
            if since <= now < until:
                return
            self._advance(self._expiring.rows_between(since, now))
            self._no_expiry_between = now, self._expiring.next_above(now)
