"""The removal of expired rows: some after a write, all of them in time without any.

Every read hides an expired row at once. A sweep deletes it when two readings of the clock, an interval apart, both say
that it had expired at the first.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from super_advanced_agents._runtime.concurrency.futures import Future
from super_advanced_agents._runtime.queues.batcher import Workers
from super_advanced_agents.errors import ResourceClosedError, SuperAdvancedAgentsError
from super_advanced_agents.stores.milvus.expressions import every
from super_advanced_agents.stores.milvus.table import Table
from super_advanced_agents.stores.milvus.writing.recent_writes import RecentWrites
from super_advanced_agents.stores.milvus.writing.transaction import Transaction
from super_advanced_agents.telemetry import counter, get_logger

_log = get_logger("store")

INTERVAL_S = 60.0
"""Seconds from one sweep to the next; each process waits up to half of it longer or shorter."""
_ROWS = 1_000
_MAX_TENANTS = 10_000
_EXPIRED = counter("store_records_expired")


@dataclass(frozen=True, slots=True)
class ExpirySweep:
    """Ask the writer to delete some of a tenant's rows that had expired at a time.

    Attributes:
        tenant: the tenant.
        at: the time, in seconds since 1970.
    """

    tenant: str
    at: float


class ExpiredRows:
    """Delete expired rows, and count them. Only the writer thread uses it.

    Args:
        table: the rows.
        recent: what this client wrote a moment ago.
    """

    def __init__(self, table: Table, recent: RecentWrites) -> None:
        self._table, self._recent = table, recent
        self._swept_at: dict[str, float] = {}

    def delete_after_write(self, tenant: str) -> None:
        """Delete some of a tenant's expired rows, once in an interval. Never fails: the write is stored already."""
        now = time.monotonic()
        if now < self._swept_at.setdefault(tenant, now + INTERVAL_S):
            return
        if len(self._swept_at) >= _MAX_TENANTS:
            self._swept_at.clear()
        self._swept_at[tenant] = now + INTERVAL_S
        try:
            self.delete(ExpirySweep(tenant, self._table.clock.now()))
        except SuperAdvancedAgentsError as exc:
            _log.debug("store.sweep_failed", extra={"reason": exc.message[:200]})

    def delete(self, sweep: ExpirySweep) -> int:
        """Delete some of a tenant's expired rows; return their number."""
        expired = f"expires_at <= {sweep.at!r}"
        rows = self._table.some(sweep.tenant, every(self._table.scope(sweep.tenant), expired), ["pk"], _ROWS)
        if not rows:
            return 0
        transaction = Transaction(self._table, sweep.tenant, self._recent)
        deleted = transaction.remove(row["pk"] for row in rows)
        transaction.flush(only=expired)  # another client may have replaced one meanwhile
        _EXPIRED.add(deleted)
        return deleted


class ExpirySweeper:
    """Delete all tenants' expired rows at intervals, through the writer's queue.

    Args:
        table: the rows.
        submit: queues a sweep for the writer.
    """

    def __init__(self, table: Table, submit: Callable[[ExpirySweep], Future[object]]) -> None:
        self._table, self._submit = table, submit
        self._stop = threading.Event()
        self._worker = Workers(name="milvus sweeper", threads=1, max_queue=1)

    def start(self) -> None:
        """Begin to sweep, until `close`."""
        self._worker.submit(self._run)

    def close(self) -> None:
        """Stop after the current sweep."""
        self._stop.set()
        self._worker.close()

    def _run(self) -> None:
        checked_at = self._table.clock.now()
        while not self._stop.wait(INTERVAL_S * random.uniform(0.5, 1.5)):  # noqa: S311  # not a secret
            try:
                self._sweep(checked_at)
            except ResourceClosedError:
                return
            except SuperAdvancedAgentsError as exc:  # the server is away: the next interval tries again
                _log.debug("store.sweep_failed", extra={"reason": exc.message[:200]})
            checked_at = self._table.clock.now()

    def _sweep(self, checked_at: float) -> None:
        at = min(checked_at, time.time())  # a clock that was ahead for a moment deletes nothing
        for tenant in sorted(self._table.distinct(None, f"expires_at <= {at!r}", "tenant")):
            while self._submit(ExpirySweep(tenant, at)).wait() and not self._stop.is_set():
                pass
