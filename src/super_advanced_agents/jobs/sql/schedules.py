"""The database steps of schedules."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from super_advanced_agents.errors import InvalidInputError, OverloadedError
from super_advanced_agents.jobs.backend import DueSchedule, JobLimits, NewJob
from super_advanced_agents.jobs.sql import calls
from super_advanced_agents.jobs.sql.database import Database, marks
from super_advanced_agents.jobs.sql.rows import SCHEDULE, schedule_info
from super_advanced_agents.types import ScheduleInfo

_AHEAD_S = 120.0
"""The seconds by which clocks of machines may differ."""


def put(
    db: Database,
    tenant: str,
    scopes: Sequence[str],
    info: ScheduleInfo,
    *,
    limits: JobLimits,
    due_at: float,
    now: float,
) -> None:
    """Store or replace a schedule."""
    others = "SELECT count(*) FROM job_schedules WHERE tenant = ? AND name <> ?"
    if db.execute(others, (tenant, info.name))[0][0] >= limits.schedules:
        raise InvalidInputError(f"the tenant has {limits.schedules} schedules already", hint="delete one first")
    db.execute("DELETE FROM job_schedules WHERE tenant = ? AND name = ?", (tenant, info.name))
    db.execute(
        "INSERT INTO job_schedules (tenant, name, scopes, kind, arguments, cron, zone, missed, paused, made_at, due_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(tenant, info.name, " ".join(scopes), info.kind, orjson.dumps(info.arguments)),
            *(info.cron, info.zone, info.missed, int(info.paused), now, due_at),
        ),
    )


def list_schedules(db: Database, tenant: str) -> list[ScheduleInfo]:
    """Return a tenant's schedules in the order of their names."""
    rows = db.execute(f"SELECT {SCHEDULE} FROM job_schedules WHERE tenant = ? ORDER BY name", (tenant,))  # noqa: S608
    return [schedule_info(row) for row in rows]


def pause(db: Database, tenant: str, name: str, *, paused: bool, due_at: float) -> bool:
    """Pause or resume a schedule; times that passed meanwhile are no missed ones."""
    # A call that changes nothing, as one that is repeated, leaves the time that is due now.
    rows = db.execute(
        "UPDATE job_schedules SET due_at = CASE WHEN paused = ? THEN due_at ELSE ? END, paused = ?"
        " WHERE tenant = ? AND name = ? RETURNING name",
        (int(paused), due_at, int(paused), tenant, name),
    )
    return bool(rows)


def delete(db: Database, tenant: str, name: str) -> bool:
    """Delete a schedule; its jobs are kept."""
    return bool(db.execute("DELETE FROM job_schedules WHERE tenant = ? AND name = ? RETURNING name", (tenant, name)))


def due(db: Database, now: float, kinds: Sequence[str], limit: int) -> list[DueSchedule]:
    """Return schedules whose time has come."""
    if not kinds:
        return []
    rows = db.execute(
        f"SELECT {SCHEDULE}, tenant, scopes, made_at, due_at FROM job_schedules WHERE paused = 0"  # noqa: S608
        f" AND (due_at <= ? OR last_at > ?) AND kind IN ({marks(len(kinds))}) ORDER BY due_at LIMIT ?",
        (now, now + _AHEAD_S, *kinds, limit),
    )
    return [
        DueSchedule(tenant=row[9], scopes=row[10].split(), made_at=row[11], info=schedule_info(row[:9]), due_at=row[12])
        for row in rows
    ]


def fire(
    db: Database,
    schedule: DueSchedule,
    jobs: Sequence[NewJob],
    *,
    next_at: float,
    last_at: float | None,
    limits: JobLimits,
    error: str,
    now: float,
) -> bool:
    """Submit a schedule's jobs and set its next time, unless another scheduler has."""
    where = (schedule.tenant, schedule.info.name, schedule.made_at, schedule.due_at)
    if not db.execute(
        "UPDATE job_schedules SET due_at = ?, last_at = ?, error = ? WHERE tenant = ? AND name = ? AND made_at = ?"
        " AND due_at = ? AND paused = 0 RETURNING name",
        (next_at, last_at, error, *where),
    ):
        return False
    try:
        calls.check_room(db, schedule.tenant, len(jobs), limits)
    except OverloadedError as exc:
        db.execute(
            "UPDATE job_schedules SET error = ? WHERE tenant = ? AND name = ?",
            (exc.message, schedule.tenant, schedule.info.name),
        )
        return True
    for job in jobs:
        calls.insert(db, job, now)
    return True
