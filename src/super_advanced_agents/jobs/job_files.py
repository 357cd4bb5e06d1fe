"""The folders of jobs: shards and copies of uploads, deleted when no job needs them."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from super_advanced_agents._runtime.concurrency.futures import in_thread
from super_advanced_agents.jobs.backend import JobBackend
from super_advanced_agents.tenancy.settings import Settings
from super_advanced_agents.types import JobState

_SHARDS = ".shards"
"""The hidden folder of a tenant's files that holds shards; imports pass over hidden folders."""

_UNKNOWN_SHARDS_S, _UNKNOWN_COPIES_S = 28 * 86_400.0, 86_400.0
"""The ages at which folders of unknown jobs go; these may be jobs of another database."""

_ASKED = 500


@dataclass(frozen=True, slots=True)
class JobFiles:
    """Delete the folders of jobs that have ended, each called by the id of its job.

    A cancelled job is over; a failed one keeps its shards for a retry as long as it is kept itself.

    Args:
        files_dir: the folder with a folder of files for each tenant.
        data_dir: the data folder of this process, with its copies of uploads.
    """

    files_dir: Path
    data_dir: Path

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the folders of jobs of a process with these settings."""
        return cls(settings.files_folder, settings.data_dir)

    async def adelete_unneeded(self, backend: JobBackend, *, failed_s: float) -> None:
        """Delete what no job can need; what cannot be deleted now is left for the next time.

        Args:
            backend: stores the jobs.
            failed_s: the seconds for which failed jobs are kept.
        """
        shards, copies = await in_thread(lambda: (list(self._shards()), list(self._copies())), name="list job files")
        ids = sorted({folder.name for folder in (*shards, *copies)})
        ages: dict[str, tuple[JobState, float]] = {}
        for start in range(0, len(ids), _ASKED):
            ages |= await backend.astates(ids[start : start + _ASKED])

        def delete() -> None:
            over = [folder for folder in shards if _is_over(folder, ages, failed_s, _UNKNOWN_SHARDS_S)]
            over += [folder for folder in copies if _is_over(folder, ages, 0.0, _UNKNOWN_COPIES_S)]
            for folder in over:
                shutil.rmtree(folder, ignore_errors=True)

        await in_thread(delete, name="delete job files")

    def _shards(self) -> Iterator[Path]:
        for tenant in _folders(self.files_dir):
            yield from _folders(tenant / _SHARDS)

    def _copies(self) -> Iterator[Path]:
        return _folders(copies_of(self.data_dir))


def shards_folder(tenant_files: Path, job_id: str) -> Path:
    """Return the folder of an import's shards.

    Args:
        tenant_files: the tenant's folder of files.
        job_id: the job that planned the import.
    """
    return tenant_files / _SHARDS / job_id


def copies_of(data_dir: Path) -> Path:
    """Return the folder in which a worker copies uploads out of a database."""
    return data_dir / "cache" / "uploads"


def _folders(folder: Path) -> Iterator[Path]:
    with suppress(OSError):
        yield from (each for each in folder.iterdir() if each.is_dir() and not each.is_symlink())


def _is_over(folder: Path, ages: dict[str, tuple[JobState, float]], failed_s: float, unknown_s: float) -> bool:
    if folder.name in ages:
        state, ended_s = ages[folder.name]
        return state.final and (state is not JobState.FAILED or ended_s >= failed_s)
    try:
        return time.time() - folder.stat().st_mtime > unknown_s
    except OSError:
        return False
