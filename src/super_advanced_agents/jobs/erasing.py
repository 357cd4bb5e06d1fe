"""Erasure of ended jobs, whose arguments, results and uploads may repeat what was deleted."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from super_advanced_agents.jobs.leftovers import JobFiles
from super_advanced_agents.jobs.sql import SQLJobBackend
from super_advanced_agents.jobs.sql.sqlite import FILE
from super_advanced_agents.tenancy.settings import Settings


def delete_ended(settings: Settings, before: float) -> int:
    """Delete the jobs of a data folder that ended before a time, with all their files. Blocks.

    Args:
        settings: they name the data folder, which may have no jobs, and the folder of files.
        before: the time, in seconds since 1970.

    Returns:
        The number of jobs.

    Raises:
        StoreLockedError: another process uses it.
        StoreError: the file cannot be used.
    """
    folder = settings.data_dir / "jobs"
    return asyncio.run(_delete(folder, JobFiles.of(settings), before)) if (folder / FILE).is_file() else 0


async def _delete(folder: Path, files: JobFiles, before: float) -> int:
    backend, deleted = SQLJobBackend(folder), 0
    await backend.aopen()
    try:
        kept_s = max(0.0, time.time() - before)
        await files.adelete_unneeded(backend, failed_s=kept_s)
        while some := await backend.asweep(succeeded_s=kept_s, failed_s=kept_s):
            deleted += some
    finally:
        await backend.aclose()
    return deleted
