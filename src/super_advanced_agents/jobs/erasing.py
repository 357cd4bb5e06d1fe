"""Erasure of ended jobs, whose arguments, results and uploads may repeat what was deleted."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from super_advanced_agents.jobs.shard_folders import adelete_unneeded
from super_advanced_agents.jobs.sql import SQLJobBackend
from super_advanced_agents.jobs.sql.sqlite import FILE


def delete_ended(folder: Path, before: float, *, files_folder: Path) -> int:
    """Delete the jobs in a folder that ended before a time, with all that belongs to them. Blocks.

    Args:
        folder: the folder of `jobs.db`; it may be missing.
        before: the time, in seconds since 1970.
        files_folder: the folder with a folder of files for each tenant, where imports keep their shards.

    Returns:
        The number of jobs.

    Raises:
        StoreLockedError: another process uses it.
        StoreError: the file cannot be used.
    """
    return asyncio.run(_delete(folder, before, files_folder)) if (folder / FILE).is_file() else 0


async def _delete(folder: Path, before: float, files_folder: Path) -> int:
    backend, deleted = SQLJobBackend(folder), 0
    await backend.aopen()
    try:
        kept_s = max(0.0, time.time() - before)
        while some := await backend.asweep(succeeded_s=kept_s, failed_s=kept_s):
            deleted += some
        await adelete_unneeded(files_folder, backend)
    finally:
        await backend.aclose()
    return deleted
