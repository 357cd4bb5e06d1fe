"""The job that moves everything to another store, as `saa migrate` does."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial

from super_advanced_agents._runtime.concurrency.futures import in_thread
from super_advanced_agents.errors import ConfigurationError, ResourceClosedError
from super_advanced_agents.jobs.builtin.maintenance import BULK
from super_advanced_agents.jobs.context import JobContext
from super_advanced_agents.jobs.kinds import job
from super_advanced_agents.stores.opening import folder_url
from super_advanced_agents.types import JSONValue


@job(queue=BULK, timeout_s=7 * 86_400.0, key="*", operator=True)
async def migrate(context: JobContext) -> dict[str, JSONValue]:
    """Copy what all tenants have to the store `migrate_to`, and compare both.

    This store is used meanwhile, and is not changed. A job that was interrupted goes on, and a further one catches up
    with what was written since. The server goes on with this store: restart it on the other one.
    """
    settings = context.runtime.settings
    if settings.migrate_to is None:
        raise ConfigurationError("there is no store to move to", hint="the operator sets SAA_MIGRATE_TO")
    target, ended = settings.migrate_to.get_secret_value(), threading.Event()

    def run(report: Callable[[int, int | None], None]) -> dict[str, JSONValue]:
        # In an event loop of its own, whose pauses hold up nobody.
        from super_advanced_agents.tenancy.migration import Migration

        done, total = 0, None

        def on_step(step: str, expected: int | None) -> None:
            nonlocal total
            del step
            total = expected if expected is not None else total

        def on_records(n: int) -> None:
            nonlocal done
            if ended.is_set():
                raise ResourceClosedError("the migration was stopped", hint="start it again: it goes on")
            done += n
            report(done, None if total is None or done > total else total)

        source = folder_url(settings.data_dir) if settings.has_own_store else settings.store_url
        migration = Migration(source, target, settings.data_dir / "migrations", on_step=on_step, on_records=on_records)
        found = asyncio.run(migration.arun())
        return {
            "equal": found.equal,
            "copied": sum(part.copied for part in found.parts.values()),
            "deleted": sum(part.deleted for part in found.parts.values()),
            "collections": len(found.parts) - 1,
            "agents": found.agents,
        }

    try:
        async with context.reporting("copies records") as report:
            return await in_thread(partial(run, report), name="migrate")
    finally:
        ended.set()
