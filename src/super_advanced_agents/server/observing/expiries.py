"""Receipts in the audit log for the expired records that the process deleted."""

from __future__ import annotations

import asyncio

from super_advanced_agents.server.audit_log import AuditLog
from super_advanced_agents.telemetry import counter

_INTERVAL_S = 60.0
_EXPIRED = counter("store_records_expired")


class ExpiryReceipts:
    """Record in the audit log how many expired records were deleted since its last entry.

    Args:
        audit: the audit log.
    """

    def __init__(self, audit: AuditLog) -> None:
        self._audit = audit
        self._recorded = _EXPIRED.value

    async def arun(self) -> None:
        """Append an entry once a minute, if records have expired, until cancelled."""
        while True:
            await asyncio.sleep(_INTERVAL_S)
            await self.arecord()

    async def arecord(self) -> None:
        """Append an entry about the records that were deleted since the last one, if there are any."""
        deleted = _EXPIRED.value - self._recorded
        if deleted:
            self._recorded += deleted
            await self._audit.arecord_expiry(deleted)
