"""The tasks that run beside the work of a server or a worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from super_advanced_agents.errors import SuperAdvancedAgentsError
from super_advanced_agents.server.audit_log import AuditLog
from super_advanced_agents.server.observing.expiries import ExpiryReceipts
from super_advanced_agents.server.observing.loop_lag import measure_loop_lag
from super_advanced_agents.tenancy.runtime import Runtime


@asynccontextmanager
async def background_tasks(runtime: Runtime, audit: AuditLog) -> AsyncIterator[None]:
    """Enter a context in which models load, and the event loop and expired records are observed.

    At its end the audit log gets an entry about the records that have expired since the last one.

    Args:
        runtime: loads its models.
        audit: the audit log.
    """
    receipts = ExpiryReceipts(audit)
    tasks = [
        asyncio.create_task(runtime.akeep_loading(), name="load models"),
        asyncio.create_task(measure_loop_lag(), name="measure loop lag"),
        asyncio.create_task(receipts.arun(), name="record expiries"),
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with suppress(SuperAdvancedAgentsError):  # a log that fails closed, and cannot be written
            await receipts.arecord()
