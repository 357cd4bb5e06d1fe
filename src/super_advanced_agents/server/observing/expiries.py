"""Receipts in the audit log for the expired records that the process deleted."""

from __future__ import annotations

import asyncio

from super_advanced_agents.server.audit_log import AuditLog
from super_advanced_agents.telemetry import counter

_INTERVAL_S = 60.0
_EXPIRED = counter("store_records_expired")


class ExpiryReceipts:
    """Tell the audit log how many expired records were deleted since the last time.

    Args:
        audit: the audit log.
    """

    def __init__(self, audit: AuditLog) -> None:
        self._audit = audit
        self._told = _EXPIRED.value

    async def arun(self) -> None:
        """Append a receipt once a minute, if there is something to tell, until cancelled."""
        while True:
            await asyncio.sleep(_INTERVAL_S)
            await self.atell()

    async def atell(self) -> None:
        """Append a receipt of the records that were deleted since the last one, if there are any."""
        deleted = _EXPIRED.value - self._told
        if deleted:
            self._told += deleted
            await self._audit.arecord_expiry(deleted)
