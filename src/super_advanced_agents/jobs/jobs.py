"""`Jobs`: submit background jobs, follow them, and make schedules."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, Self, TypeAlias, get_args

import orjson

from super_advanced_agents._runtime.concurrency.futures import in_thread
from super_advanced_agents._runtime.concurrency.lifecycle import Resource
from super_advanced_agents._runtime.concurrency.own_loop import blocking_in_own_loop
from super_advanced_agents._runtime.concurrency.sync_bridge import blocking
from super_advanced_agents._runtime.uids import new_uids
from super_advanced_agents.config import DEFAULT_TENANT, LIMITS, checked_name
from super_advanced_agents.errors import InvalidInputError, JobError, JobNotFoundError
from super_advanced_agents.jobs.backend import JobBackend, JobLimits, NewJob
from super_advanced_agents.jobs.cron import next_times
from super_advanced_agents.jobs.erasing import aread
from super_advanced_agents.jobs.kinds import JobKind, JobKinds
from super_advanced_agents.jobs.scheduler import NEVER
from super_advanced_agents.jobs.sql import SQLJobBackend
from super_advanced_agents.jobs.uploads import Uploads, not_retried
from super_advanced_agents.jobs.watching import watched
from super_advanced_agents.jobs.worker import DEFAULT_QUEUES, Worker, WorkerOptions
from super_advanced_agents.telemetry import tracing
from super_advanced_agents.tenancy.context import Access, Principal, SupportsCharge
from super_advanced_agents.tenancy.runtime import Runtime
from super_advanced_agents.types import JobInfo, JobState, JSONValue, ScheduleInfo

Missed: TypeAlias = Literal["skip", "one", "all"]
LOCAL = Principal(tenant=DEFAULT_TENANT, scopes=frozenset(Access), key_id="local")
"""The submitter of jobs of the process itself."""


class Jobs(Resource):
    """Submit background jobs and schedules, follow, cancel and retry them, and run workers.

    A job is durable when `submit` returns. Workers of this process, or of others with the same PostgreSQL database,
    carry it out.

    Args:
        place: the folder of `jobs.db`, or the URL of a PostgreSQL database; or a backend, which is closed with this.
        kinds: the kinds of jobs; see `job`.
        limits: the limits of one tenant.
        runtime: the store and models for jobs that work on memories; it is not closed with this.

    Attributes:
        kinds: the kinds of jobs, by name.
        limits: the limits of one tenant.
        backend: stores the jobs.
        uploads: files that callers send for jobs.
    """

    def __init__(
        self,
        place: str | os.PathLike[str] | JobBackend,
        kinds: Iterable[JobKind] = (),
        *,
        limits: JobLimits | None = None,
        runtime: Runtime | None = None,
    ) -> None:
        super().__init__()
        self.kinds = JobKinds(kinds)
        self.limits = limits or JobLimits()
        self.backend = place if isinstance(place, JobBackend) else SQLJobBackend(_place(place))
        self.uploads = Uploads(self.backend, self.limits)
        self._runtime = runtime

    async def aopen(self) -> Self:
        """Open the database of jobs, and return this object.

        Raises:
            StoreLockedError: another process uses the folder.
            EngineUnavailableError: PostgreSQL cannot be reached.
        """
        self._check_open()
        if isinstance(self.backend, SQLJobBackend):
            await self.backend.aopen()
        return self

    open = blocking(aopen)

    async def asubmit(
        self,
        kind: str | JobKind,
        arguments: Mapping[str, JSONValue] | None = None,
        *,
        queue: str | None = None,
        job_id: str | None = None,
        by: Principal = LOCAL,
    ) -> JobInfo:
        """Submit a job; it is durable on return, and waits for a worker.

        Args:
            kind: the kind of job, or its name.
            arguments: the arguments of its function, by name, as JSON of up to 1 MiB.
            queue: the queue; that of the kind when None.
            job_id: the identifier, for a call that may be repeated: the job is submitted once. One is made when None.
            by: the caller; the job belongs to its tenant, and has its scopes.

        Raises:
            InvalidInputError: there is no such kind or upload, or an argument is unknown, missing or of another type.
            PermissionDeniedError: the caller may not submit this kind.
            OverloadedError: the tenant has too many jobs that wait.
        """
        found = self.kinds.known(kind.name if isinstance(kind, JobKind) else kind)
        found.check_submitter(by)
        checked = await check_in_thread(found, arguments or {})
        new = NewJob(
            id=new_uids(1)[0] if job_id is None else checked_name(job_id, "job_id"),
            tenant=by.tenant,
            scopes=sorted(by.scopes),
            kind=found.name,
            queue=found.queue if queue is None else checked_name(queue, "queue"),
            arguments=orjson.dumps(checked),
            key=found.key_of(checked),
            max_attempts=found.max_attempts,
            upload=found.upload_of(checked),
            trace=tracing.current_traceparent(),
        )
        return (await self.backend.asubmit([new], limits=self.limits))[0]

    submit = blocking(asubmit)

    async def aget(self, job_id: str, *, tenant: str = DEFAULT_TENANT) -> JobInfo:
        """Return a job with its arguments, progress, and result or error.

        Raises:
            JobNotFoundError: the tenant has no job of that id.
        """
        return _found(await aread(self.backend, self._runtime, tenant, _checked_id(job_id)))

    get = blocking(aget)

    async def alist(
        self,
        *,
        state: str | None = None,
        kind: str | None = None,
        after: str | None = None,
        limit: int = 100,
        tenant: str = DEFAULT_TENANT,
    ) -> list[JobInfo]:
        """Return jobs, newest first, without results and long arguments.

        Args:
            state: only jobs in this state; the failed ones are the dead letters.
            kind: only jobs of this kind.
            after: the id of the last job of the page before.
            limit: the number of jobs, up to 1,000.
            tenant: the tenant to which they belong.

        Raises:
            InvalidInputError: an argument is invalid.
        """
        if type(limit) is not int or not 1 <= limit <= 1_000:
            raise InvalidInputError("limit must be an integer from 1 to 1000", field="limit")
        return await self.backend.alist(
            tenant,
            state=None if state is None else _checked_state(state),
            kind=None if kind is None else str(kind)[:64],
            after=None if after is None else _checked_id(after),
            limit=limit,
        )

    list = blocking(alist)

    async def acancel(self, job_id: str, *, tenant: str = DEFAULT_TENANT) -> JobInfo:
        """Cancel a job; one that runs stops within a second or two, and keeps its finished steps.

        One that failed is given up with its upload and shards. Another that has ended is left as it is.

        Raises:
            JobNotFoundError: the tenant has no job of that id.
        """
        return _found(await self.backend.acancel(tenant, _checked_id(job_id)))

    cancel = blocking(acancel)

    async def aretry(self, job_id: str | None = None, *, tenant: str = DEFAULT_TENANT) -> int:
        """Queue a failed or cancelled job again, with new attempts, or all failed jobs.

        Args:
            job_id: the job; all failed jobs when None.
            tenant: the tenant to which they belong.

        Returns:
            The number of jobs that wait again.

        Raises:
            JobNotFoundError: the tenant has no job of that id.
            JobError: the job waits, runs or has succeeded, or its upload is deleted.
            OverloadedError: the tenant has too many jobs that wait; failed jobs wait again as far as there is room.
        """
        n = await self.backend.aretry(tenant, None if job_id is None else _checked_id(job_id), limits=self.limits)
        if job_id is not None and not n:
            info = _found(await self.backend.aget(tenant, job_id))
            raise not_retried(info)
        return n

    retry = blocking(aretry)

    async def awatch(self, job_id: str, *, tenant: str = DEFAULT_TENANT) -> AsyncGenerator[JobInfo, None]:
        """Yield a job now and after each change, until it has ended.

        Between the first and the last it comes without its long arguments, since it may change often.

        Raises:
            JobNotFoundError: the tenant has no job of that id.
        """
        async for info in watched(self.backend, self._runtime, tenant, _checked_id(job_id)):
            yield _found(info)

    async def aresult(self, job_id: str, *, timeout_s: float | None = None, tenant: str = DEFAULT_TENANT) -> JSONValue:
        """Wait for the end of a job, and return its result.

        Args:
            job_id: the job.
            timeout_s: the longest wait in seconds; None for no limit.
            tenant: the tenant to which it belongs.

        Raises:
            JobNotFoundError: the tenant has no job of that id.
            JobError: the job failed or was cancelled.
            TimeoutError: it has not ended in time; it goes on.
        """
        async with asyncio.timeout(timeout_s):
            async for info in self.awatch(job_id, tenant=tenant):
                if info.state is JobState.SUCCEEDED:
                    return info.result
                if info.state.final:
                    raise JobError(
                        f"the job {info.state}: {info.error or 'by its owner'}", hint="`retry` runs it again"
                    )
        raise AssertionError

    result = blocking_in_own_loop(aresult)

    # -- schedules ------------------------------------------------------------------------------------------------

    async def aput_schedule(
        self,
        name: str,
        kind: str | JobKind,
        cron: str,
        arguments: Mapping[str, JSONValue] | None = None,
        *,
        zone: str = "UTC",
        missed: Missed = "one",
        paused: bool = False,
        by: Principal = LOCAL,
    ) -> ScheduleInfo:
        """Make or replace a schedule that submits a job at each time of a cron expression.

        Args:
            name: 1 to 64 letters, digits, `_` or `-`, unique within the tenant.
            kind: the kind of job, or its name.
            cron: five fields: minute, hour, day of the month, month, day of the week; see `jobs.cron`.
            arguments: the arguments of each job, as JSON of up to 16 KiB.
            zone: the IANA time zone of these fields.
            missed: after downtime, `skip` the missed times, run `one` job for all of them, or `all` (100 at most).
            paused: whether it submits no jobs yet.
            by: the caller; the jobs belong to its tenant, and have its scopes.

        Returns:
            The schedule with its next five times.

        Raises:
            InvalidInputError: an argument is invalid, the cron expression never comes, or there are too many schedules.
            PermissionDeniedError: the caller may not submit this kind.
        """
        found = self.kinds.known(kind.name if isinstance(kind, JobKind) else kind)
        found.check_submitter(by)
        if missed not in get_args(Missed):
            raise InvalidInputError(f"missed must be one of {', '.join(get_args(Missed))}", field="missed")
        if found.upload_of(arguments or {}) is not None:
            raise InvalidInputError("an upload is used by one job", field="arguments", hint="submit that job instead")
        times = await in_thread(lambda: next_times(cron, zone, time.time()), name="schedule times")
        info = ScheduleInfo(
            name=checked_name(name, "name"),
            kind=found.name,
            arguments=await check_in_thread(found, arguments or {}, max_bytes=LIMITS.schedule_bytes),
            cron=" ".join(cron.split()),
            zone=zone,
            missed=missed,
            paused=bool(paused),
        )
        await self.backend.aput_schedule(by.tenant, sorted(by.scopes), info, limits=self.limits, due_at=times[0])
        return replace(info, next_at=() if paused else times)

    put_schedule = blocking(aput_schedule)

    async def aschedules(self, *, tenant: str = DEFAULT_TENANT) -> Sequence[ScheduleInfo]:
        """Return the tenant's schedules with their next five times, in the order of their names."""
        found = await self.backend.aschedules(tenant)
        return await in_thread(lambda: [_with_times(info) for info in found], name="schedule times")

    schedules = blocking(aschedules)

    async def apause_schedule(self, name: str, *, paused: bool = True, tenant: str = DEFAULT_TENANT) -> ScheduleInfo:
        """Pause or resume a schedule; what it missed while paused is skipped.

        Raises:
            JobNotFoundError: the tenant has no schedule of that name.
        """
        info = next((each for each in await self.backend.aschedules(tenant) if each.name == name), None)
        if info is not None:
            timed = await in_thread(lambda: _with_times(replace(info, paused=False)), name="schedule times")
            due_at = timed.next_at[0] if timed.next_at else NEVER
            if await self.backend.apause_schedule(tenant, name, paused=paused, due_at=due_at):
                return replace(timed, paused=paused, next_at=() if paused else timed.next_at)
        raise no_schedule()

    pause_schedule = blocking(apause_schedule)

    async def adelete_schedule(self, name: str, *, tenant: str = DEFAULT_TENANT) -> None:
        """Delete a schedule; the jobs that it submitted are kept.

        Raises:
            JobNotFoundError: the tenant has no schedule of that name.
        """
        if not await self.backend.adelete_schedule(tenant, checked_name(name, "name")):
            raise no_schedule()

    delete_schedule = blocking(adelete_schedule)

    def check_files(self) -> None:
        """Raise `StoreError` if others removed, replaced, emptied or cut a file of the database."""
        self.backend.check_files()

    # -- workers --------------------------------------------------------------------------------------------------

    def worker(self, *, options: WorkerOptions | None = None, limiter: SupportsCharge | None = None) -> Worker:
        """Return a worker, which runs jobs while its `arun` does.

        Args:
            options: the queues, limits and times.
            limiter: charges what jobs ask of the language model to their tenants; None for no rate limits.
        """
        return Worker(
            self.backend,
            self.kinds,
            options or WorkerOptions(queues=DEFAULT_QUEUES, limits=self.limits),
            runtime=self._runtime,
            limiter=limiter,
        )

    def _release(self) -> None:
        self.backend.close()


async def check_in_thread(
    kind: JobKind, arguments: Mapping[str, JSONValue], *, max_bytes: int = LIMITS.job_bytes
) -> dict[str, JSONValue]:
    """Check a job's arguments off the event loop, since a megabyte takes milliseconds."""
    return await in_thread(lambda: kind.checked(arguments, max_bytes=max_bytes), name="check arguments")


def no_schedule() -> JobNotFoundError:
    """Return the error of a schedule that the tenant does not have."""
    return JobNotFoundError("there is no schedule of that name", hint="list the schedules to see their names")


def _with_times(info: ScheduleInfo) -> ScheduleInfo:
    if info.paused:
        return info
    try:
        return replace(info, next_at=next_times(info.cron, info.zone, time.time()))
    except InvalidInputError:  # its last time has passed, or its zone was renamed
        return info


def _place(place: str | os.PathLike[str]) -> Path | str:
    text = os.fspath(place)
    return text if text.startswith(("postgresql://", "postgres://")) else Path(text)


def _checked_id(job_id: str) -> str:
    if not isinstance(job_id, str) or not 1 <= len(job_id) <= LIMITS.uid_chars or "\0" in job_id:
        raise InvalidInputError("the id of a job is a text of up to 256 characters", field="job_id")
    return job_id


def _checked_state(state: str) -> JobState:
    try:
        return JobState(state)
    except ValueError:
        raise InvalidInputError(f"state must be one of {', '.join(JobState)}", field="state") from None


def _found(info: JobInfo | None) -> JobInfo:
    if info is None:
        raise JobNotFoundError("there is no job of that id", hint="ended jobs are deleted after a while")
    return info
