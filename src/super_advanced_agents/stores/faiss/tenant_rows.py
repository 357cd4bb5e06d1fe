"""The rows of one tenant, with their expiry times and their metadata.

What a tenant reads costs the same with and without the rows of others.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
from pyroaring import BitMap

from super_advanced_agents.stores.faiss.metadata.columns import NumberColumn, RowNumbers
from super_advanced_agents.stores.faiss.metadata.index import MetadataIndex

_NO_ROWS = BitMap()


class TenantRows:
    """Hold one tenant's rows, their expiry times and the index of their metadata.

    The writer thread adds rows; any thread reads.

    Args:
        metadata: the index of their metadata.

    Attributes:
        rows: the rows; deleted ones may be among them, and only those that are live in a view count.
        metadata: the index of their metadata.
    """

    def __init__(self, metadata: MetadataIndex) -> None:
        self.rows = BitMap()
        self.metadata = metadata
        self._expiry = NumberColumn()
        self._lock = threading.Lock()

    @property
    def expires(self) -> bool:
        """True if rows have an expiry time."""
        return bool(len(self._expiry))

    def add(self, row: int, expires_at: float | None) -> None:
        """Add a row, with its expiry time in seconds since the epoch; None if it does not expire."""
        self.rows.add(row)
        if expires_at is not None:
            with self._lock:
                self._expiry.add(expires_at, row)

    def retain(self, live: BitMap) -> BitMap:
        """Remove the rows that are not live, and return the live ones that have an expiry time."""
        self.rows &= live
        with self._lock:
            self._expiry.retain(live)
            return self._expiry.rows_in_range("$lte", np.inf)

    def expired(self, now: float) -> BitMap:
        """Return the rows whose expiry time is at or before `now`; some may be deleted already."""
        if not self.expires:
            return _NO_ROWS
        with self._lock:
            return self._expiry.rows_in_range("$lte", now)

    def next_expiry(self, now: float) -> float:
        """Return the first expiry time after `now`; infinity if there is none."""
        if not self.expires:
            return float("inf")
        with self._lock:
            return self._expiry.next_above(now)

    def expiry_times(self, scopes_of: Callable[[RowNumbers], RowNumbers]) -> NumberColumn:
        """Return the rows' expiry times, each with the number of the row's namespace.

        Args:
            scopes_of: returns the numbers of the namespaces of rows that have an expiry time.
        """
        with self._lock:
            return self._expiry.with_renumbered_rows(scopes_of)
