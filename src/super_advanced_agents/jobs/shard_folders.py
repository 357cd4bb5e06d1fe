"""The folders with the shards of imports, which are deleted once no job needs them."""

from __future__ import annotations

import shutil
from pathlib import Path

from super_advanced_agents._runtime.concurrency.futures import in_thread
from super_advanced_agents.jobs.backend import JobBackend

_FOLDER = ".shards"
"""The hidden folder of a tenant's files that holds shards; imports pass over hidden folders."""


def shards_folder(tenant_files: Path, job_id: str) -> Path:
    """Return the folder of an import's shards.

    Args:
        tenant_files: the tenant's folder of files.
        job_id: the job that planned the import.
    """
    return tenant_files / _FOLDER / job_id


async def adelete_unneeded(files_dir: Path, backend: JobBackend) -> int:
    """Delete the shards of imports that are no longer among the jobs; return of how many.

    Args:
        files_dir: the folder with each tenant's files; it may be missing.
        backend: has all jobs whose shards lie there.
    """
    # A folder is made only once its job is stored, so one without a job is never needed again.
    folders = await in_thread(lambda: list(files_dir.glob(f"*/{_FOLDER}/*")), name="list shards")
    if not folders:
        return 0
    stored = await backend.astored({folder.name for folder in folders})
    unneeded = [folder for folder in folders if folder.name not in stored]
    await in_thread(lambda: _delete(unneeded), name="delete shards")
    return len(unneeded)


def _delete(folders: list[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
