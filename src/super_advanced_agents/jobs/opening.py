"""The background jobs of a process, as its settings describe them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from super_advanced_agents._runtime.concurrency.futures import in_thread
from super_advanced_agents.jobs.backend import JobLimits
from super_advanced_agents.jobs.jobs import Jobs
from super_advanced_agents.jobs.kinds import kinds_in
from super_advanced_agents.jobs.worker import Worker, WorkerOptions
from super_advanced_agents.tenancy.context import SupportsCharge
from super_advanced_agents.tenancy.runtime import Runtime
from super_advanced_agents.tenancy.settings import Settings
from super_advanced_agents.tenancy.shared_state import state_url

_FAILED_TIMES_LONGER = 4


@asynccontextmanager
async def opened_jobs(settings: Settings, *, runtime: Runtime | None = None) -> AsyncIterator[Jobs]:
    """Enter a context with the open background jobs of a process.

    Args:
        settings: the place of the jobs, the modules with further kinds, and the limits of a tenant.
        runtime: the store and models for jobs that work on memories; it must outlive the context.

    Raises:
        ConfigurationError: a module of kinds cannot be imported.
        StoreLockedError: another process uses the folder.
        EngineUnavailableError: PostgreSQL cannot be reached.
    """
    jobs = await in_thread(lambda: jobs_of(settings, runtime=runtime), name="import jobs")
    async with jobs:
        await jobs.aopen()
        yield jobs


def jobs_of(settings: Settings, *, runtime: Runtime | None = None) -> Jobs:
    """Return the background jobs of a process, which are not open yet.

    Args:
        settings: the place of the jobs, the modules with further kinds, and the limits of a tenant.
        runtime: the store and models for jobs that work on memories.

    Raises:
        ConfigurationError: a module of kinds cannot be imported.
    """
    from super_advanced_agents.jobs.builtin import BUILTIN

    kinds = [*BUILTIN, *kinds_in(settings.job_modules)]
    return Jobs(jobs_place(settings), kinds, limits=job_limits(settings), runtime=runtime)


@asynccontextmanager
async def running_worker(
    jobs: Jobs | None, settings: Settings, *, limiter: SupportsCharge | None = None
) -> AsyncIterator[Worker | None]:
    """Enter a context in which a worker runs jobs; None where the settings name no queues.

    At the end running jobs have `drain_s` seconds to end, and those that have not are handed back.

    Args:
        jobs: the jobs; None where there are none.
        settings: the queues, the limits and the times.
        limiter: charges what jobs ask of the language model to their tenants; None for no rate limits.
    """
    if jobs is None or not settings.job_queues:
        yield None
        return
    options = WorkerOptions(
        queues=settings.job_queues,
        limits=jobs.limits,
        lease_s=settings.job_lease_s,
        succeeded_s=settings.jobs_kept_s,
        failed_s=_FAILED_TIMES_LONGER * settings.jobs_kept_s,
    )
    worker, stop = jobs.worker(options=options, limiter=limiter), asyncio.Event()
    task = asyncio.create_task(worker.arun(stop, drain_s=settings.drain_s), name="job worker")
    try:
        yield worker
    finally:
        stop.set()
        await asyncio.gather(task, return_exceptions=True)


def job_limits(settings: Settings) -> JobLimits:
    """Return the limits of one tenant's jobs."""
    return JobLimits(
        queued=settings.max_queued_jobs,
        running=settings.max_running_jobs,
        schedules=settings.max_schedules,
        upload_bytes=min(settings.max_upload_bytes, settings.max_uploads_bytes),
        uploads_bytes=settings.max_uploads_bytes,
    )


def jobs_place(settings: Settings) -> Path | str:
    """Return the folder of the jobs, or the URL of their database.

    Servers that share their state share their jobs, unless the setting `jobs` names another database.
    """
    if settings.jobs is not None:
        return settings.jobs.get_secret_value()
    return state_url(settings) or settings.data_dir / "jobs"
