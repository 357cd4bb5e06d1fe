"""`JobBackend`: the interface of what stores jobs and hands them to workers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from super_advanced_agents._runtime.concurrency.lifecycle import Resource
from super_advanced_agents.jobs.progress import Progress
from super_advanced_agents.types import JobInfo, JobState, ScheduleInfo, UploadInfo
from super_advanced_agents.types.jobs import KeptAnswer


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """Describe a job to be stored.

    Attributes:
        id: its identifier; a job that is stored already under it is left as it is.
        tenant: the tenant to which it belongs.
        scopes: the scopes of the caller that submits it.
        kind: the kind of job.
        queue: the queue in which it waits.
        arguments: its arguments as JSON.
        key: only one running job of the tenant may have it; None for no limit.
        max_attempts: the number of attempts after which it fails for good.
        schedule: the schedule that submits it; None for a caller.
        upload: the upload that it uses; None for none.
        trace: the span that submits it, as W3C's `traceparent`; None while traces are off.
    """

    id: str
    tenant: str
    scopes: Sequence[str]
    kind: str
    queue: str
    arguments: bytes = field(repr=False)
    key: str | None = None
    max_attempts: int = 5
    schedule: str | None = None
    upload: str | None = None
    trace: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedJob:
    """Hold a job that a worker has taken, with the results of earlier finished steps.

    Attributes:
        id: its identifier.
        claim: the number of this claim; what a worker reports counts only while no other claim followed.
        worker: the worker that has taken it.
        tenant: the tenant to which it belongs.
        scopes: the scopes of the caller that submitted it.
        kind: the kind of job.
        queue: the queue from which it was taken.
        arguments: its arguments as JSON.
        attempt: the number of this attempt, from 1.
        max_attempts: the number of attempts after which it fails for good.
        steps: the results of finished steps as JSON, by name.
        upload: the upload that it uses; None for none.
        trace: the span that submitted it, as W3C's `traceparent`; None for none.
    """

    id: str
    claim: int
    worker: str
    tenant: str
    scopes: Sequence[str]
    kind: str
    queue: str
    arguments: bytes = field(repr=False)
    attempt: int
    max_attempts: int
    steps: dict[str, bytes] = field(repr=False)
    upload: str | None = None
    trace: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Describe the end of one attempt.

    Attributes:
        state: the job's state from now on: `queued` where it is to be tried again.
        result: the returned value as JSON.
        error: the reason of a failure.
        delay_s: the seconds before the next attempt.
        counts: False where the attempt does not count, as when a worker hands its job back.
    """

    state: JobState
    result: bytes | None = None
    error: str = ""
    delay_s: float = 0.0
    counts: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class DueSchedule:
    """Hold a schedule whose time has come.

    Attributes:
        tenant: the tenant to which it belongs.
        scopes: the scopes of the caller that made it.
        made_at: the time at which it was made; with the name it identifies the schedule.
        info: the schedule.
        due_at: the first time for which it has submitted no job.
    """

    tenant: str
    scopes: Sequence[str]
    made_at: float
    info: ScheduleInfo
    due_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class JobLimits:
    """Hold the limits of one tenant.

    Attributes:
        queued: the number of jobs that may wait.
        queued_bytes: the bytes of their arguments together, as JSON.
        running: the number of jobs that run at once.
        schedules: the number of schedules.
        uploads: the number of uploads.
        upload_bytes: the bytes of one upload.
        uploads_bytes: the bytes of all uploads together.
    """

    queued: int = 10_000
    queued_bytes: int = 64 * 1024**2
    running: int = 4
    schedules: int = 100
    uploads: int = 1_000
    upload_bytes: int = 1024**3
    uploads_bytes: int = 4 * 1024**3


SWEEP_JOBS = 500
"""The number of jobs of each state that one call of `asweep` deletes at most."""


class JobBackend(Resource):
    """Store jobs durably and hand each to one worker at a time.

    Every method is one transaction, durable on return. The methods of workers name a worker; when its heartbeats stop
    for the length of a lease, `arecover` gives its jobs to others, and what it reports afterwards is ignored.
    """

    # -- callers --------------------------------------------------------------------------------------------------

    @abstractmethod
    async def asubmit(self, jobs: Sequence[NewJob], *, limits: JobLimits | None = None) -> list[JobInfo]:
        """Store jobs, all or none; return them as they are stored.

        Raises:
            OverloadedError: the tenant has too many jobs that wait; not raised without `limits`.
            InvalidInputError: another tenant has a job of that id, or the tenant has no such upload that is free.
        """

    @abstractmethod
    async def aget(self, tenant: str, job_id: str, *, brief: bool = False) -> JobInfo | None:
        """Return a job of a tenant, or None if it has no job of this id.

        With `brief`, the result is left out, and so are arguments of more than 4 KiB.
        """

    @abstractmethod
    async def alist(
        self, tenant: str, *, state: JobState | None, kind: str | None, after: str | None, limit: int
    ) -> list[JobInfo]:
        """Return one page of a tenant's jobs, newest first, without results.

        `after` is the id of the last job of the previous page; None for the first page.
        """

    @abstractmethod
    async def acancel(self, tenant: str, job_id: str) -> JobInfo | None:
        """Cancel a job that waits or failed, or ask its worker to; leave one that is over."""

    @abstractmethod
    async def aretry(self, tenant: str, job_id: str | None, *, limits: JobLimits | None = None) -> int:
        """Queue a failed or cancelled job again, or all failed jobs; return the number queued.

        Of all failed jobs, as many are queued as the tenant's limit on queued jobs admits.

        Raises:
            OverloadedError: the tenant has too many jobs that wait; not raised without `limits`.
        """

    @abstractmethod
    async def acount(self, tenant: str | None = None) -> dict[JobState, int]:
        """Return the number of jobs in each state, of one tenant or of all."""

    @abstractmethod
    async def astates(self, ids: Sequence[str]) -> dict[str, tuple[JobState, float]]:
        """Return the states of jobs of any tenant by id, and the seconds since their ends."""

    @abstractmethod
    def check_files(self) -> None:
        """Raise `StoreError` if others removed, replaced, emptied or cut a file of the database."""

    # -- schedules ------------------------------------------------------------------------------------------------

    @abstractmethod
    async def aput_schedule(
        self, tenant: str, scopes: Sequence[str], info: ScheduleInfo, *, limits: JobLimits, due_at: float
    ) -> None:
        """Store or replace a schedule.

        Raises:
            InvalidInputError: the tenant has too many schedules.
        """

    @abstractmethod
    async def aschedules(self, tenant: str) -> list[ScheduleInfo]:
        """Return a tenant's schedules in the order of their names, without their next times."""

    @abstractmethod
    async def apause_schedule(self, tenant: str, name: str, *, paused: bool, due_at: float) -> bool:
        """Pause or resume a schedule; return False where the tenant has none of that name."""

    @abstractmethod
    async def adelete_schedule(self, tenant: str, name: str) -> bool:
        """Delete a schedule; return False where the tenant has none of that name."""

    @abstractmethod
    async def adue_schedules(self, now: float, kinds: Sequence[str], limit: int) -> list[DueSchedule]:
        """Return schedules of some kinds of jobs whose time has come, the latest ones last.

        Also returns those that seem to have fired in the future: the clock was set back since, and their next time is
        to be set anew.
        """

    @abstractmethod
    async def afire(
        self,
        due: DueSchedule,
        jobs: Sequence[NewJob],
        *,
        next_at: float,
        last_at: float | None,
        limits: JobLimits,
        error: str = "",
    ) -> bool:
        """Submit the jobs of a due schedule and set its times, unless another scheduler has done so.

        Return False if another scheduler has. There is one job for each time that is not skipped. `next_at` is the
        time at which the schedule is due next, `last_at` the latest of the times for which it fires (None for none), in
        seconds since the epoch; `error` is the reason why no jobs could be made.
        """

    # -- uploads --------------------------------------------------------------------------------------------------

    @abstractmethod
    async def acreate_upload(self, tenant: str, upload_id: str, name: str, *, limits: JobLimits) -> UploadInfo:
        """Store a new upload without bytes, or return the tenant's existing upload of this id.

        Raises:
            InvalidInputError: the tenant has too many uploads.
        """

    @abstractmethod
    async def aadd_part(
        self, tenant: str, upload_id: str, offset: int, data: bytes, *, limits: JobLimits
    ) -> UploadInfo:
        """Append bytes to an upload, durable on return, and return the upload with its new size.

        `offset` is the size of the upload before. A repeated part, which the upload has already, is not appended again.

        Raises:
            JobNotFoundError: the tenant has no such upload.
            InvalidInputError: it has another size than `offset`, a job uses it, or there is no room.
        """

    @abstractmethod
    async def auploads(self, tenant: str) -> list[UploadInfo]:
        """Return a tenant's uploads, the oldest first."""

    @abstractmethod
    async def adelete_upload(self, tenant: str, upload_id: str) -> bool:
        """Delete an upload that no job uses; return False where the tenant has none of that id.

        Raises:
            InvalidInputError: a job uses it.
        """

    # -- workers --------------------------------------------------------------------------------------------------

    @abstractmethod
    async def aclaim(
        self, worker: str, free: Mapping[str, int], kinds: Sequence[str], limits: JobLimits
    ) -> list[ClaimedJob]:
        """Take queued jobs for a worker, fairly between tenants, and return them.

        A tenant with fewer running jobs goes first, then the job that has waited longest. A worker whose lease was
        lost gets none.

        `free` has the number of jobs that the worker can take from each queue, `kinds` the kinds that it knows.
        """

    @abstractmethod
    async def asubmit_part(self, job: ClaimedJob, part: NewJob) -> JobInfo | None:
        """Store a part of a running job, and return it as it is stored.

        The id of a part is derived from the job's by `part_id`, so that cancelling the job cancels its parts.

        Returns:
            The part; None if the job belongs to another worker by now, or is being cancelled.
        """

    @abstractmethod
    async def aclaim_part(self, job: ClaimedJob) -> ClaimedJob | None:
        """Take a waiting part of a running job, beyond limits of queues; None if there is none."""

    @abstractmethod
    async def asave_step(self, job: ClaimedJob, name: str, result: bytes) -> bool:
        """Store a finished step's result; return False where the job is no longer this worker's."""

    @abstractmethod
    async def afetch_upload(self, job: ClaimedJob, folder: Path) -> tuple[UploadInfo, Path]:
        """Return the upload of a job with a file that holds its bytes, to be read only.

        Args:
            job: the job.
            folder: a private folder for the file, where it does not lie in one already.

        Raises:
            JobNotFoundError: the job has no upload.
            StoreFullError: there is no room for the file.
        """

    @abstractmethod
    async def atake_key(self, job: ClaimedJob, key: str) -> bool:
        """Give a running job a key; return False where another one has it, or the job is lost.

        Where another running job of the tenant has it, the job is queued again until that has ended.
        """

    @abstractmethod
    async def asave_progress(self, job: ClaimedJob, progress: Progress) -> bool:
        """Store the progress of a job; return False where the job is no longer this worker's."""

    @abstractmethod
    async def afinish(self, job: ClaimedJob, outcome: Outcome) -> bool:
        """End an attempt; return False where the job is no longer this worker's."""

    @abstractmethod
    async def aheartbeat(
        self, worker: str, kinds: Sequence[str], queues: Sequence[str], *, held: Collection[str] | None = None
    ) -> list[str] | None:
        """Renew a worker's lease; return the ids of its jobs to cancel, or None if it was lost.

        Args:
            worker: the worker; its first heartbeat begins its lease.
            kinds: the kinds of jobs that it knows.
            queues: the queues that it serves.
            held: the ids of the jobs that it has. Others that it seems to have are queued again: it took them with a
                call whose answer was lost. None leaves them.
        """

    @abstractmethod
    async def arecover(self, lease_s: float) -> int:
        """Queue the jobs of workers again that have lost their lease; return how many.

        A worker has lost it after `lease_s` seconds without a heartbeat. This process measures them by its monotonic
        clock, from its first look at a heartbeat, so that no change of a clock takes a job from a worker that lives.
        """

    @abstractmethod
    async def aleave(self, worker: str) -> None:
        """Remove a worker that has stopped, and queue what it still has again."""

    @abstractmethod
    async def asweep(self, *, succeeded_s: float, failed_s: float) -> int:
        """Delete jobs that ended longer ago than this; return how many.

        `SWEEP_JOBS` of each state are deleted at most, and uploads that no job has used for a day.
        """

    @abstractmethod
    async def akept_answers(self, after: str, limit: int) -> list[KeptAnswer]:
        """Return answers that jobs of all tenants keep, in the order of the jobs' ids."""

    @abstractmethod
    async def areplace_answer(self, answer: KeptAnswer, value: bytes) -> bool:
        """Replace a kept answer and delete its job's steps; return False if the job went on."""

    @abstractmethod
    async def await_work(self, seen: int, timeout_s: float) -> int:
        """Wait until jobs have changed, at most `timeout_s` seconds; return the number of changes.

        Returns at once if that is no longer `seen`, the number that the caller got before it looked for work.
        """
