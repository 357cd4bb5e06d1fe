"""The database steps of workers: claiming jobs, reporting, heartbeats and recovery."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from super_advanced_agents.jobs.backend import ClaimedJob, JobLimits, NewJob, Outcome
from super_advanced_agents.jobs.progress import Progress
from super_advanced_agents.jobs.sql import calls, uploads
from super_advanced_agents.jobs.sql.database import ANSWERS, Database, Row, marks
from super_advanced_agents.jobs.sql.rows import plain, stored_value
from super_advanced_agents.types import JobInfo, JobState
from super_advanced_agents.types.jobs import ANSWER_STEP, KeptAnswer

MAX_LOSSES = 10
"""The workers that may end in one step of a job before it is given up."""

_ANSWER_S = 5.0
"""The seconds after which the answer to a claim is lost."""

_LOST = f"its worker ended {MAX_LOSSES} times while it ran"
_TENANTS = """
WITH RECURSIVE waiting(tenant) AS (
    SELECT min(tenant) FROM jobs WHERE state = 'queued' AND tenant > ?
    UNION ALL
    SELECT (SELECT min(tenant) FROM jobs WHERE state = 'queued' AND jobs.tenant > waiting.tenant)
    FROM waiting WHERE tenant IS NOT NULL
)
SELECT tenant FROM waiting WHERE tenant IS NOT NULL
    AND EXISTS (SELECT 1 FROM jobs WHERE state = 'queued' AND jobs.tenant = waiting.tenant AND queue = ?) LIMIT ?
"""  # steps over the index from tenant to tenant: GROUP BY would read each waiting job

_AT_ONCE = 64
"""The tenants that one claim compares; further ones that wait follow in its next round."""


def claim(
    db: Database,
    worker: str,
    free: Mapping[str, int],
    kinds: Sequence[str],
    limits: JobLimits,
    *,
    now: float,
    rounds: dict[str, str],
) -> list[ClaimedJob]:
    """Take jobs that are due, up to a number from each queue, fairly between tenants.

    Args:
        db: the database.
        worker: the worker.
        free: the queues, and how many jobs to take from each.
        kinds: the kinds of jobs that the worker knows.
        limits: the limits of one tenant.
        now: the time in seconds since 1970.
        rounds: the last tenant of the earlier claim, by queue; of many tenants that wait, those after it come next.
    """
    if not kinds or not db.execute("SELECT id FROM job_workers WHERE id = ?", (worker,)):
        return []  # nobody would give the jobs of an unknown worker to others
    running = {tenant: int(n) for tenant, n in db.execute(_RUNNING)}
    claimed: list[ClaimedJob] = []
    for queue, room in free.items():
        taken: list[str] = []
        for tenants in _rounds(db, queue, rounds):
            waiting = {
                tenant: _due(db, tenant, queue, kinds, room=room, now=now)
                for tenant in tenants
                if running.get(tenant, 0) < limits.running
            }
            taken += _chosen(waiting, running, room - len(taken), limits)
            if len(taken) == room:
                break
        claimed += [job for job_id in taken for job in _take(db, worker, job_id, now)]
    return claimed


def _rounds(db: Database, queue: str, rounds: dict[str, str]) -> Iterator[list[str]]:
    # Yields the tenants with jobs in a queue, some at a time, until all were yielded.
    seen: set[str] = set()
    while True:
        after = rounds.get(queue, "")
        tenants = [tenant for [tenant] in db.execute(_TENANTS, (after, queue, _AT_ONCE))]
        if after and len(tenants) < _AT_ONCE:
            found = db.execute(_TENANTS, ("", queue, _AT_ONCE))
            tenants += [tenant for [tenant] in found if tenant not in tenants][: _AT_ONCE - len(tenants)]
        new = [tenant for tenant in tenants if tenant not in seen]
        if not new:
            return
        if len(tenants) == _AT_ONCE:
            rounds[queue] = tenants[-1]
        seen.update(new)
        yield new


def _chosen(
    waiting: dict[str, list[tuple[str, str | None]]], running: dict[str, int], room: int, limits: JobLimits
) -> list[str]:
    # Returns the ids of jobs to take, at most `room`, and counts them as running.
    chosen: list[str] = []
    keys: set[tuple[str, str]] = set()
    while len(chosen) < room:
        open_to = [
            tenant
            for tenant, jobs in waiting.items()
            if _skip_taken(jobs, tenant, keys) and running.get(tenant, 0) < limits.running
        ]
        if not open_to:
            break
        tenant = min(open_to, key=lambda each: (running.get(each, 0), waiting[each][0][0]))
        job_id, key = waiting[tenant].pop(0)
        if key is not None:
            keys.add((tenant, key))
        running[tenant] = running.get(tenant, 0) + 1
        chosen.append(job_id)
    return chosen


_RUNNING = "SELECT tenant, count(*) FROM jobs WHERE state = 'running' GROUP BY tenant"


def _due(
    db: Database, tenant: str, queue: str, kinds: Sequence[str], *, room: int, now: float
) -> list[tuple[str, str | None]]:
    # A job that seems to have changed in the future waits no longer: the clock was set back since.
    rows = db.execute(
        "SELECT id, key FROM jobs WHERE state = 'queued' AND tenant = ? AND queue = ?"  # noqa: S608
        f" AND kind IN ({marks(len(kinds))}) AND (due_at <= ? OR changed_at > ?)"
        " AND (key IS NULL OR key NOT IN (SELECT key FROM jobs WHERE state = 'running' AND tenant = ?"
        " AND key IS NOT NULL)) ORDER BY id LIMIT ?",
        (tenant, queue, *kinds, now, now, tenant, room),
    )
    return [(job_id, key) for job_id, key in rows]


def _skip_taken(jobs: list[tuple[str, str | None]], tenant: str, taken: set[tuple[str, str]]) -> bool:
    # Drops jobs whose key was taken by this claim; False when none is left.
    while jobs and jobs[0][1] is not None and (tenant, jobs[0][1]) in taken:
        jobs.pop(0)
    return bool(jobs)


def _take(db: Database, worker: str, job_id: str, now: float) -> list[ClaimedJob]:
    # Returns an empty list where the job was cancelled meanwhile.
    rows = db.execute(
        "UPDATE jobs SET state = 'running', worker = ?, claim = claim + 1, attempt = attempt + 1, note = '',"
        " started_at = ?, changed_at = ?, per_s = NULL, left_s = NULL WHERE id = ? AND state = 'queued'"
        " RETURNING id, claim, tenant, scopes, kind, queue, arguments, attempt, max_attempts, upload, trace",
        (worker, now, now, job_id),
    )
    return [_claimed(db, worker, row) for row in rows]


def _claimed(db: Database, worker: str, row: Row) -> ClaimedJob:
    steps = [] if row[1] == 1 else db.execute("SELECT name, result FROM job_steps WHERE job = ?", (row[0],))
    return ClaimedJob(
        id=row[0],
        claim=row[1],
        worker=worker,
        tenant=row[2],
        scopes=row[3].split(),
        kind=row[4],
        queue=row[5],
        arguments=bytes(row[6]),
        attempt=row[7],
        max_attempts=row[8],
        steps={name: bytes(result) for name, result in steps},
        upload=row[9],
        trace=row[10],
    )


_MINE = "id = ? AND claim = ? AND worker = ? AND state = 'running'"


def submit_part(db: Database, job: ClaimedJob, part: NewJob, now: float) -> JobInfo | None:
    """Store a part of a job that goes on, and return it as it is stored."""
    # An UPDATE in place of a SELECT locks the row: a concurrent cancel either waits and then sees the part, or comes
    # first and is seen here.
    going_on = f"UPDATE jobs SET changed_at = ? WHERE {_MINE} AND cancelling = 0 RETURNING id"  # noqa: S608
    if not db.execute(going_on, (now, *_mine(job))):
        return None
    calls.insert(db, part, now)
    return calls.get(db, part.tenant, part.id, now)


def claim_part(db: Database, job: ClaimedJob, now: float) -> ClaimedJob | None:
    """Take a part of a job that is due, if the job is still this worker's."""
    if not db.execute(f"SELECT 1 FROM jobs WHERE {_MINE} AND cancelling = 0", _mine(job)):  # noqa: S608
        return None
    waiting = db.execute(
        f"SELECT id FROM jobs WHERE tenant = ? AND state = 'queued' AND {calls.PARTS}"  # noqa: S608
        " AND (due_at <= ? OR changed_at > ?) ORDER BY id LIMIT 1",
        (job.tenant, *calls.parts_of(job.id), now, now),
    )
    return next((part for [part_id] in waiting for part in _take(db, job.worker, part_id, now)), None)


def save_step(db: Database, job: ClaimedJob, name: str, result: bytes) -> bool:
    """Store a finished step's result, if the job is still this worker's."""
    if not db.execute(f"UPDATE jobs SET losses = 0 WHERE {_MINE} RETURNING id", _mine(job)):  # noqa: S608
        return False
    db.execute(
        "INSERT INTO job_steps (job, name, result) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (job.id, name, result)
    )
    return True


def take_key(db: Database, job: ClaimedJob, key: str, now: float) -> bool:
    """Give a job a key, or queue it again where another running job of its tenant has it."""
    if not db.execute(f"UPDATE jobs SET key = ? WHERE {_MINE} RETURNING id", (plain(key), *_mine(job))):  # noqa: S608
        return False
    others = "SELECT 1 FROM jobs WHERE state = 'running' AND tenant = ? AND key = ? AND id <> ? LIMIT 1"
    if db.execute(others, (job.tenant, plain(key), job.id)):
        finish(db, job, Outcome(state=JobState.QUEUED, counts=False), now)
        return False
    return True


def save_progress(db: Database, job: ClaimedJob, progress: Progress, now: float) -> bool:
    """Store the progress of a job, if it is still this worker's."""
    values = (progress.done, progress.total, progress.per_s, progress.left_s, plain(progress.note))
    update = "UPDATE jobs SET done = ?, total = ?, per_s = ?, left_s = ?, note = ?, changed_at = ?"
    return bool(db.execute(f"{update} WHERE {_MINE} RETURNING id", (*values, now, *_mine(job))))


def finish(db: Database, job: ClaimedJob, outcome: Outcome, now: float) -> bool:
    """End an attempt, if the job is still this worker's; one to be cancelled is not tried again."""
    state, final = str(outcome.state), now if outcome.state.final else None
    changed = db.execute(
        "UPDATE jobs SET done = CASE WHEN ? THEN coalesce(total, done) ELSE done END, result = ?, error = ?,"  # noqa: S608
        " state = CASE WHEN cancelling = 1 AND ? = 'queued' THEN 'cancelled' ELSE ? END, due_at = ?, changed_at = ?,"
        " finished_at = CASE WHEN cancelling = 1 THEN ? ELSE ? END, attempt = attempt - ?, worker = NULL,"
        f" cancelling = 0, left_s = NULL, note = '' WHERE {_MINE} RETURNING state, upload",
        (
            *(outcome.state is JobState.SUCCEEDED, outcome.result, plain(outcome.error), state, state),
            *(now + outcome.delay_s, now, now, final, 0 if outcome.counts else 1, *_mine(job)),
        ),
    )
    if changed and outcome.state is JobState.SUCCEEDED:
        db.execute("DELETE FROM job_steps WHERE job = ?", (job.id,))
    uploads.drop_of(db, [row for row in changed if row[0] in (JobState.SUCCEEDED, JobState.CANCELLED)])
    return bool(changed)


def _mine(job: ClaimedJob) -> tuple[str, int, str]:
    return job.id, job.claim, job.worker


def heartbeat(
    db: Database,
    worker: str,
    kinds: Sequence[str],
    queues: Sequence[str],
    *,
    first: bool,
    held: Collection[str] | None,
    now: float,
) -> list[str] | None:
    """Renew a worker's lease; return the ids of its jobs to cancel, or None if it was lost."""
    if first:  # True again when the answer to the first heartbeat was lost
        db.execute(
            "INSERT INTO job_workers VALUES (?, 0, ?, ?) ON CONFLICT (id) DO UPDATE SET beat = job_workers.beat + 1",
            (worker, " ".join(kinds), " ".join(queues)),
        )
    elif not db.execute("UPDATE job_workers SET beat = beat + 1 WHERE id = ? RETURNING id", (worker,)):
        return None
    found = db.execute("SELECT id, cancelling FROM jobs WHERE worker = ? AND state = 'running'", (worker,))
    if held is not None:
        for job_id in {job_id for job_id, _ in found}.difference(held):
            # Only after a while, as the answer to the claim may still be on its way to the worker.
            requeue(db, "worker = ? AND id = ? AND started_at <= ?", (worker, job_id, now - _ANSWER_S), now, lost=False)
    return [job_id for job_id, cancelling in found if cancelling]


def remove_worker(db: Database, worker: str, beat: int | None, now: float, *, lost: bool = True) -> int:
    """Remove a worker if its heartbeat is `beat`, and queue its jobs again; return how many."""
    condition, parameters = ("", ()) if beat is None else (" AND beat = ?", (beat,))
    if not db.execute(f"DELETE FROM job_workers WHERE id = ?{condition} RETURNING id", (worker, *parameters)):  # noqa: S608
        return 0
    return requeue(db, "worker = ?", (worker,), now, lost=lost)


def requeue(db: Database, condition: str, parameters: Sequence[object], now: float, *, lost: bool) -> int:
    """Queue running jobs again whose worker has ended, except those to be cancelled."""
    running = f"state = 'running' AND {condition}"
    cancelled = db.execute(
        f"UPDATE jobs SET state = 'cancelled', finished_at = ?, changed_at = ?, worker = NULL, cancelling = 0"  # noqa: S608
        f" WHERE cancelling = 1 AND {running} RETURNING upload",
        (now, now, *parameters),
    )
    uploads.drop_of(db, cancelled)
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


def sweep(db: Database, ended: Mapping[JobState, float], limit: int, now: float) -> int:
    """Delete jobs that ended before a time, and unused uploads; return how many jobs."""
    uploads.drop(db, "job IS NULL AND changed_at <= ?", (now - uploads.UNUSED_S,))
    deleted = 0
    for state, before in ended.items():
        old = "SELECT id FROM jobs WHERE state = ? AND finished_at <= ? LIMIT ?"
        rows = db.execute(f"DELETE FROM jobs WHERE id IN ({old}) RETURNING id, upload", (str(state), before, limit))  # noqa: S608
        for job_id, _ in rows:
            db.execute("DELETE FROM job_steps WHERE job = ?", (job_id,))
        uploads.drop_of(db, rows)
        deleted += len(rows)
    return deleted


def kept_answers(db: Database, after: str, limit: int) -> list[KeptAnswer]:
    """Return answers that jobs keep as results or as finished steps, in the order of their ids."""
    step = "SELECT result FROM job_steps WHERE job = jobs.id AND name = ?"
    rows = db.execute(
        f"SELECT id, tenant, claim, coalesce(result, ({step})) FROM jobs"  # noqa: S608
        f" WHERE {ANSWERS} AND state <> 'running' AND id > ? ORDER BY id LIMIT ?",
        (ANSWER_STEP, after, limit),
    )
    return [
        KeptAnswer(job=job_id, tenant=tenant, claim=int(claim), value=stored_value(value))
        for job_id, tenant, claim, value in rows
    ]


def replace_answer(db: Database, answer: KeptAnswer, value: bytes) -> bool:
    """Replace a kept answer and delete its job's steps; return False if the job went on."""
    changed = db.execute(
        "UPDATE jobs SET result = CASE WHEN result IS NULL THEN NULL ELSE ? END"
        " WHERE id = ? AND claim = ? AND state <> 'running' RETURNING id",
        (value, answer.job, answer.claim),
    )
    if changed:
        db.execute("DELETE FROM job_steps WHERE job = ?", (answer.job,))
    return bool(changed)
