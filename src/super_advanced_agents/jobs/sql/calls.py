"""The database steps of callers: submitting, reading, cancelling and retrying jobs."""

from __future__ import annotations

from collections.abc import Sequence

from super_advanced_agents.errors import InvalidInputError, OverloadedError
from super_advanced_agents.jobs.backend import JobLimits, NewJob
from super_advanced_agents.jobs.sql import uploads
from super_advanced_agents.jobs.sql.database import Database, Row, marks
from super_advanced_agents.jobs.sql.rows import JOB, LISTED_JOB, Served, job_info, plain
from super_advanced_agents.types import JobInfo, JobState

_RETRY_AFTER_S = 5.0
_LARGE_BYTES = 4_096


PARTS = "substr(id, 1, ?) = ?"
"""The condition for parts of a job, with the parameters `parts_of`."""


def parts_of(job_id: str) -> tuple[int, str]:
    """Return the parameters of `PARTS`."""
    return len(job_id) + 1, f"{job_id}."


def submit(db: Database, jobs: Sequence[NewJob], limits: JobLimits | None, now: float) -> list[JobInfo]:
    """Store jobs that are not stored yet, all or none, and return them as they are stored."""
    if limits is not None:
        for tenant in {job.tenant for job in jobs}:
            mine = [job for job in jobs if job.tenant == tenant]
            check_room(db, tenant, len(mine), limits, size_bytes=sum(len(job.arguments) for job in mine))
    served = served_by_workers(db)
    found = []
    for job in jobs:
        rows = insert(db, job, now)
        if rows and job.upload is not None:
            uploads.use(db, job.tenant, job.upload, job.id)
        found.append(job_info(rows[0], served=served, now=now) if rows else get(db, job.tenant, job.id, now))
    if None in found:
        raise InvalidInputError("the id of a job is taken", field="id", hint="leave it out, and one is made")
    return [info for info in found if info is not None]


def check_room(db: Database, tenant: str, n: int, limits: JobLimits, *, size_bytes: int = 0) -> None:
    """Raise unless a tenant may have `n` more jobs that wait, with arguments of this size."""
    if size_bytes > _LARGE_BYTES:  # the number of jobs bounds the bytes of small ones
        summed = "SELECT coalesce(sum(length(arguments)), 0) FROM jobs WHERE tenant = ? AND state = 'queued'"
        if int(db.execute(summed, (tenant,))[0][0]) + size_bytes > limits.queued_bytes:
            raise OverloadedError(
                f"the jobs of the tenant that wait already have {limits.queued_bytes} bytes of arguments",
                retry_after_s=_RETRY_AFTER_S,
                hint="submit more when some have ended, or put the data into a file or a collection",
            )
    if _count_waiting(db, tenant, limits) + n > limits.queued:
        raise OverloadedError(
            f"{limits.queued} jobs of the tenant wait already",
            retry_after_s=_RETRY_AFTER_S,
            hint="submit more when some have ended",
        )


def _count_waiting(db: Database, tenant: str, limits: JobLimits) -> int:
    counted = "SELECT count(*) FROM (SELECT 1 FROM jobs WHERE tenant = ? AND state = 'queued' LIMIT ?) AS counted"
    return int(db.execute(counted, (tenant, limits.queued))[0][0])


def insert(db: Database, job: NewJob, now: float) -> list[Row]:
    """Store a job and return its row, or no row if one is stored under its id."""
    return db.execute(
        "INSERT INTO jobs (id, tenant, scopes, kind, queue, key, arguments, state, max_attempts, changed_at,"  # noqa: S608
        " created_at, schedule, upload, trace) VALUES (?, ?, ?, ?, ?, ?, ?, 'queued', ?, ?, ?, ?, ?, ?)"
        f" ON CONFLICT DO NOTHING RETURNING {JOB}",
        (
            *(job.id, job.tenant, " ".join(job.scopes), job.kind, job.queue),
            *(
                None if job.key is None else plain(job.key),
                job.arguments,
                job.max_attempts,
                now,
                now,
                job.schedule,
                job.upload,
                job.trace,
            ),
        ),
    )


def get(db: Database, tenant: str, job_id: str, now: float, *, brief: bool = False) -> JobInfo | None:
    """Return a job of a tenant; None where it has none of that id."""
    columns = LISTED_JOB if brief else JOB
    rows = db.execute(f"SELECT {columns} FROM jobs WHERE id = ? AND tenant = ?", (job_id, tenant))  # noqa: S608
    return job_info(rows[0], served=served_by_workers(db), now=now) if rows else None


def served_by_workers(db: Database) -> list[Served]:
    """Return what each worker serves."""
    rows = db.execute("SELECT kinds, queues FROM job_workers")
    return [Served(frozenset(kinds.split()), frozenset(queues.split())) for kinds, queues in rows]


def list_jobs(
    db: Database, tenant: str, *, state: JobState | None, kind: str | None, after: str | None, limit: int, now: float
) -> list[JobInfo]:
    """Return a tenant's jobs, newest first."""
    conditions, parameters = ["tenant = ?"], [tenant]
    for column, comparison, value in (("state", "=", state), ("kind", "=", kind), ("id", "<", after)):
        if value is not None:
            conditions.append(f"{column} {comparison} ?")
            parameters.append(plain(str(value)))
    query = f"SELECT {LISTED_JOB} FROM jobs WHERE {' AND '.join(conditions)} ORDER BY id DESC LIMIT ?"  # noqa: S608
    served = served_by_workers(db)
    return [job_info(row, served=served, now=now) for row in db.execute(query, (*parameters, limit))]


def cancel(db: Database, tenant: str, job_id: str, now: float) -> tuple[JobInfo | None, bool]:
    """Cancel a job that waits or failed, or mark one that runs, with its parts.

    Returns:
        The job, and whether an upload was deleted.
    """
    dropped = False
    for which, parameters in (("id = ?", (job_id,)), (PARTS, parts_of(job_id))):
        cancelled = db.execute(
            "UPDATE jobs SET state = 'cancelled', changed_at = ?, finished_at = ? WHERE tenant = ?"  # noqa: S608
            f" AND state IN ('queued', 'failed') AND {which} RETURNING upload",
            (now, now, tenant, *parameters),
        )
        dropped |= uploads.drop_of(db, cancelled)
        running = f"UPDATE jobs SET cancelling = 1 WHERE tenant = ? AND state = 'running' AND {which}"  # noqa: S608
        db.execute(running, (tenant, *parameters))
    return get(db, tenant, job_id, now), dropped


_CAN_RUN = "(upload IS NULL OR upload IN (SELECT id FROM job_uploads))"
"""The condition for jobs whose upload, if they have one, is not deleted."""


def retry(db: Database, tenant: str, job_id: str | None, limits: JobLimits | None, now: float) -> int:
    """Queue a failed or cancelled job again, or the failed ones; finished steps are kept."""
    room = -1
    if limits is not None:
        check_room(db, tenant, 1, limits)
        room = limits.queued - _count_waiting(db, tenant, limits)
    which, states = ("id = ?", ("failed", "cancelled")) if job_id is not None else ("1 = 1", ("failed",))
    chosen = f"SELECT id FROM jobs WHERE {which} AND tenant = ? AND state IN ({marks(len(states))}) AND {_CAN_RUN}"  # noqa: S608
    changed = db.execute(
        "UPDATE jobs SET state = 'queued', attempt = 0, losses = 0, cancelling = 0, due_at = 0, error = '',"  # noqa: S608
        f" changed_at = ?, finished_at = NULL WHERE id IN ({chosen}{'' if room < 0 else ' ORDER BY id LIMIT ?'})"
        " RETURNING id",
        (now, *([] if job_id is None else [job_id]), tenant, *states, *([] if room < 0 else [room])),
    )
    return len(changed)


def states(db: Database, ids: Sequence[str], now: float) -> dict[str, tuple[JobState, float]]:
    """Return the states of jobs by id, and the seconds since their ends; 0 before."""
    rows = db.execute(f"SELECT id, state, finished_at FROM jobs WHERE id IN ({marks(len(ids))})", ids)  # noqa: S608
    return {job_id: (JobState(state), 0.0 if end is None else now - float(end)) for job_id, state, end in rows}


def count(db: Database, tenant: str | None) -> dict[JobState, int]:
    """Return the number of jobs in each state."""
    where, parameters = ("", ()) if tenant is None else ("WHERE tenant = ?", (tenant,))
    rows = db.execute(f"SELECT state, count(*) FROM jobs {where} GROUP BY state", parameters)  # noqa: S608
    return {JobState(state): int(n) for state, n in rows}
