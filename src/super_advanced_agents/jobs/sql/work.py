"""The database steps of workers: claiming jobs, reporting, heartbeats and recovery."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from super_advanced_agents.jobs.backend import ClaimedJob, JobLimits, NewJob, Outcome
from super_advanced_agents.jobs.progress import Progress
from super_advanced_agents.jobs.sql import calls
from super_advanced_agents.jobs.sql.database import Database, marks
from super_advanced_agents.types import JobInfo, JobState

MAX_LOSSES = 10
"""The workers that may end in one step of a job before it is given up."""

_LOST = f"its worker ended {MAX_LOSSES} times while it ran"
_TENANTS = """
WITH RECURSIVE waiting(tenant) AS (
    SELECT min(tenant) FROM jobs WHERE state = 'queued'
    UNION ALL
    SELECT (SELECT min(tenant) FROM jobs WHERE state = 'queued' AND jobs.tenant > waiting.tenant)
    FROM waiting WHERE tenant IS NOT NULL
)
SELECT tenant FROM waiting WHERE tenant IS NOT NULL
"""  # steps over the index from tenant to tenant: GROUP BY would read each waiting job


def claim(
    db: Database, worker: str, free: Mapping[str, int], kinds: Sequence[str], limits: JobLimits, *, now: float
) -> list[ClaimedJob]:
    """Take jobs that are due, up to a number from each queue, fairly between tenants."""
    tenants = [tenant for [tenant] in db.execute(_TENANTS)]
    if not tenants or not kinds:
        return []
    running = {tenant: int(n) for tenant, n in db.execute(_RUNNING)}
    claimed: list[ClaimedJob] = []
    for queue, room in free.items():
        waiting = {tenant: _due(db, tenant, queue, kinds, room=room, now=now) for tenant in tenants}
        taken: set[tuple[str, str]] = set()
        for _ in range(room):
            open_to = [
                tenant
                for tenant, jobs in waiting.items()
                if _skip_taken(jobs, tenant, taken) and running.get(tenant, 0) < limits.running
            ]
            if not open_to:
                break
            tenant = min(open_to, key=lambda each: (running.get(each, 0), waiting[each][0][0]))
            job_id, key = waiting[tenant].pop(0)
            if key is not None:
                taken.add((tenant, key))
            running[tenant] = running.get(tenant, 0) + 1
            claimed.append(_take(db, worker, job_id, now))
    return claimed


_RUNNING = "SELECT tenant, count(*) FROM jobs WHERE state = 'running' GROUP BY tenant"


def _due(
    db: Database, tenant: str, queue: str, kinds: Sequence[str], *, room: int, now: float
) -> list[tuple[str, str | None]]:
    # A job that seems to have changed in the future waits no longer: the clock was set back since.
    rows = db.execute(
        "SELECT id, key FROM jobs AS waiting WHERE state = 'queued' AND tenant = ? AND queue = ?"  # noqa: S608
        f" AND kind IN ({marks(len(kinds))}) AND (due_at <= ? OR changed_at > ?)"
        " AND (key IS NULL OR NOT EXISTS (SELECT 1 FROM jobs AS other WHERE other.state = 'running'"
        " AND other.tenant = waiting.tenant AND other.key = waiting.key)) ORDER BY id LIMIT ?",
        (tenant, queue, *kinds, now, now, room),
    )
    return [(job_id, key) for job_id, key in rows]


def _skip_taken(jobs: list[tuple[str, str | None]], tenant: str, taken: set[tuple[str, str]]) -> bool:
    # Drops jobs whose key was taken by this claim; False when none is left.
    while jobs and jobs[0][1] is not None and (tenant, jobs[0][1]) in taken:
        jobs.pop(0)
    return bool(jobs)


def _take(db: Database, worker: str, job_id: str, now: float) -> ClaimedJob:
    [row] = db.execute(
        "UPDATE jobs SET state = 'running', worker = ?, claim = claim + 1, attempt = attempt + 1, note = '',"
        " started_at = ?, changed_at = ?, per_s = NULL, left_s = NULL WHERE id = ? AND state = 'queued'"
        " RETURNING id, claim, tenant, scopes, kind, queue, arguments, attempt, max_attempts",
        (worker, now, now, job_id),
    )
    steps = [] if row[1] == 1 else db.execute("SELECT name, result FROM job_steps WHERE job = ?", (job_id,))
    return ClaimedJob(
        id=row[0],
        claim=row[1],
        tenant=row[2],
        scopes=row[3].split(),
        kind=row[4],
        queue=row[5],
        arguments=bytes(row[6]),
        attempt=row[7],
        max_attempts=row[8],
        steps={name: bytes(result) for name, result in steps},
    )


_MINE = "id = ? AND claim = ? AND state = 'running'"


def submit_part(db: Database, job: ClaimedJob, part: NewJob, now: float) -> JobInfo | None:
    """Store a part of a job that goes on, and return it as it is stored."""
    if not db.execute(f"SELECT 1 FROM jobs WHERE {_MINE} AND cancelling = 0", (job.id, job.claim)):  # noqa: S608
        return None
    calls.insert(db, part, now)
    return calls.get(db, part.tenant, part.id, now)


def claim_part(db: Database, job: ClaimedJob, now: float) -> ClaimedJob | None:
    """Take a part of a job that is due, if the job is still this worker's."""
    mine = db.execute(f"SELECT worker FROM jobs WHERE {_MINE} AND cancelling = 0", (job.id, job.claim))  # noqa: S608
    waiting = mine and db.execute(
        f"SELECT id FROM jobs WHERE tenant = ? AND state = 'queued' AND {calls.PARTS}"  # noqa: S608
        " AND (due_at <= ? OR changed_at > ?) ORDER BY id LIMIT 1",
        (job.tenant, *calls.parts_of(job.id), now, now),
    )
    return _take(db, mine[0][0], waiting[0][0], now) if waiting else None


def save_step(db: Database, job: ClaimedJob, name: str, result: bytes) -> bool:
    """Store a finished step's result, if the job is still this worker's."""
    if not db.execute(f"UPDATE jobs SET losses = 0 WHERE {_MINE} RETURNING id", (job.id, job.claim)):  # noqa: S608
        return False
    db.execute(
        "INSERT INTO job_steps (job, name, result) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (job.id, name, result)
    )
    return True


def save_progress(db: Database, job: ClaimedJob, progress: Progress, now: float) -> bool:
    """Store the progress of a job, if it is still this worker's."""
    values = (progress.done, progress.total, progress.per_s, progress.left_s, progress.note.replace("\0", ""))
    update = "UPDATE jobs SET done = ?, total = ?, per_s = ?, left_s = ?, note = ?, changed_at = ?"
    return bool(db.execute(f"{update} WHERE {_MINE} RETURNING id", (*values, now, job.id, job.claim)))


def finish(db: Database, job: ClaimedJob, outcome: Outcome, now: float) -> bool:
    """End an attempt, if the job is still this worker's."""
    final = outcome.state.final
    changed = db.execute(
        "UPDATE jobs SET done = CASE WHEN ? THEN coalesce(total, done) ELSE done END, state = ?, result = ?,"  # noqa: S608
        " error = ?, due_at = ?, changed_at = ?, finished_at = ?,"
        f" attempt = attempt - ?, worker = NULL, cancelling = 0, left_s = NULL, note = '' WHERE {_MINE} RETURNING id",
        (
            *(
                outcome.state is JobState.SUCCEEDED,
                str(outcome.state),
                outcome.result,
                outcome.error.replace("\0", ""),
                now + outcome.delay_s,
                now,
            ),
            *(now if final else None, 0 if outcome.counts else 1, job.id, job.claim),
        ),
    )
    if changed and outcome.state is JobState.SUCCEEDED:
        db.execute("DELETE FROM job_steps WHERE job = ?", (job.id,))
    return bool(changed)


def heartbeat(
    db: Database, worker: str, kinds: Sequence[str], queues: Sequence[str], *, first: bool
) -> list[str] | None:
    """Renew a worker's lease; return the ids of its jobs to cancel, or None if it was lost."""
    if first:
        db.execute("INSERT INTO job_workers VALUES (?, 0, ?, ?)", (worker, " ".join(kinds), " ".join(queues)))
    elif not db.execute("UPDATE job_workers SET beat = beat + 1 WHERE id = ? RETURNING id", (worker,)):
        return None
    cancelling = "SELECT id FROM jobs WHERE worker = ? AND state = 'running' AND cancelling = 1"
    return [job_id for [job_id] in db.execute(cancelling, (worker,))]


def remove_worker(db: Database, worker: str, beat: int | None, now: float, *, lost: bool = True) -> int:
    """Remove a worker if its heartbeat is `beat`, and queue its jobs again; return how many."""
    condition, parameters = ("", ()) if beat is None else (" AND beat = ?", (beat,))
    if not db.execute(f"DELETE FROM job_workers WHERE id = ?{condition} RETURNING id", (worker, *parameters)):  # noqa: S608
        return 0
    return requeue(db, "worker = ?", (worker,), now, lost=lost)


def requeue(db: Database, condition: str, parameters: Sequence[object], now: float, *, lost: bool) -> int:
    """Queue running jobs again whose worker has ended, except those to be cancelled."""
    running = f"state = 'running' AND {condition}"
    db.execute(
        f"UPDATE jobs SET state = 'cancelled', finished_at = ?, changed_at = ?, worker = NULL, cancelling = 0"  # noqa: S608
        f" WHERE cancelling = 1 AND {running}",
        (now, now, *parameters),
    )
    if lost:
        db.execute(
            f"UPDATE jobs SET state = 'failed', finished_at = ?, changed_at = ?, worker = NULL, error = ?"  # noqa: S608
            f" WHERE losses >= {MAX_LOSSES - 1} AND {running}",
            (now, now, _LOST, *parameters),
        )
    queued = db.execute(
        "UPDATE jobs SET state = 'queued', worker = NULL, attempt = attempt - 1, losses = losses + ?, due_at = 0,"  # noqa: S608
        f" changed_at = ? WHERE {running} RETURNING id",
        (int(lost), now, *parameters),
    )
    return len(queued)


def sweep(db: Database, ended: Mapping[JobState, float], limit: int) -> int:
    """Delete jobs that ended before the time given for their state; return how many."""
    deleted = 0
    for state, before in ended.items():
        old = "SELECT id FROM jobs WHERE state = ? AND finished_at <= ? LIMIT ?"
        rows = db.execute(f"DELETE FROM jobs WHERE id IN ({old}) RETURNING id", (str(state), before, limit))  # noqa: S608
        for [job_id] in rows:
            db.execute("DELETE FROM job_steps WHERE job = ?", (job_id,))
        deleted += len(rows)
    return deleted
