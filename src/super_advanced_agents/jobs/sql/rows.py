"""Conversion of rows of the tables of jobs and schedules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from super_advanced_agents.jobs.sql.database import Row
from super_advanced_agents.types import JobInfo, JobState, JSONValue, ScheduleInfo

JOB = (
    "id, kind, queue, state, arguments, attempt, max_attempts, done, total, per_s, left_s, note, result, error, "
    "schedule, created_at, started_at, finished_at, due_at, cancelling"
)
"""The columns of a job for `job_info`."""

_SHOWN_BYTES = 4_096
LISTED_JOB = JOB.replace("arguments", f"CASE WHEN length(arguments) <= {_SHOWN_BYTES} THEN arguments END").replace(
    "result", "NULL"
)
"""The columns of a job in a list, of bounded size: no results, no long arguments."""

SCHEDULE = "name, kind, arguments, cron, zone, missed, paused, last_at, error"


@dataclass(frozen=True, slots=True)
class Served:
    """Hold the kinds of jobs that a worker knows, and the queues that it serves."""

    kinds: frozenset[str]
    queues: frozenset[str]


def _not_served(kind: str, queue: str, served: Sequence[Served]) -> str | None:
    # Returns what no worker has, in the words of a note; None where a worker will take the job.
    if any(kind in each.kinds and queue in each.queues for each in served):
        return None
    if not served:
        return ""
    return " that serves its queue" if any(kind in each.kinds for each in served) else " that knows this kind of job"


def job_info(row: Row, *, served: Sequence[Served], now: float) -> JobInfo:
    """Make a `JobInfo` of a row.

    Args:
        row: the columns `JOB`.
        served: what each worker serves; empty when none runs.
        now: the time in seconds since 1970.
    """
    state, attempt, due_at, cancelling = JobState(row[3]), int(row[5]), float(row[18]), row[19]
    note = row[11]
    if state is JobState.QUEUED:
        if (missing := _not_served(row[1], row[2], served)) is not None:
            note = f"waits for a worker{missing}"
        elif due_at > now:
            note = f"waits {due_at - now:.0f} s before attempt {attempt + 1}"
    elif state is JobState.RUNNING and cancelling:
        note = "is being cancelled"
    arguments = stored_value(row[4])
    return JobInfo(
        id=row[0],
        kind=row[1],
        queue=row[2],
        state=state,
        arguments=arguments if isinstance(arguments, dict) else {},
        attempt=attempt,
        max_attempts=int(row[6]),
        done=row[7],
        total=row[8],
        per_s=row[9],
        left_s=row[10],
        note=note,
        result=stored_value(row[12]),
        error=row[13],
        schedule=row[14],
        created_at=row[15],
        started_at=row[16],
        finished_at=row[17],
    )


def schedule_info(row: Row) -> ScheduleInfo:
    """Make a `ScheduleInfo`, without its next times, of a row with the columns `SCHEDULE`."""
    arguments = stored_value(row[2])
    return ScheduleInfo(
        name=row[0],
        kind=row[1],
        arguments=arguments if isinstance(arguments, dict) else {},
        cron=row[3],
        zone=row[4],
        missed=row[5],
        paused=bool(row[6]),
        last_at=row[7],
        error=row[8],
    )


def plain(text: str) -> str:
    """Return a text without what a database cannot store: NUL characters and lone surrogates."""
    return text.encode(errors="replace").decode().replace("\0", "")


def stored_value(data: bytes | None) -> JSONValue:
    """Return the value of stored JSON; None where there is none."""
    if data is None:
        return None
    import orjson

    value: JSONValue = orjson.loads(data)
    return value
