"""`Scheduler`: submits the jobs of schedules whose time has come, each once."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from functools import partial

import orjson

from super_advanced_agents._runtime.concurrency.futures import in_thread
from super_advanced_agents._runtime.uids import seeded_uids
from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.jobs.backend import DueSchedule, JobBackend, JobLimits, NewJob
from super_advanced_agents.jobs.cron import latest_times, times_after
from super_advanced_agents.jobs.kinds import JobKind, JobKinds
from super_advanced_agents.telemetry import get_logger

_log = get_logger("jobs")
_AT_ONCE = 100
_MAX_MISSED = 100
"""The jobs that one schedule submits at once for times that passed while no scheduler ran."""

_LATE_S = 60.0
"""The delay after which a time counts as missed."""

_AGAIN_S = 3600.0
"""The pause before a schedule is tried again that cannot submit its jobs."""

NEVER = 1e15
"""The next time of a schedule that has none."""


class Scheduler:
    """Submit the jobs of schedules whose time has come.

    Any number of schedulers may use one backend: the id of a job is derived from its schedule and its time, and one of
    them sets the schedule's next time in the same transaction.

    Args:
        backend: stores the schedules and the jobs.
        kinds: the kinds of jobs that are known here; schedules of others are left to other processes.
        limits: the limits of one tenant.
    """

    def __init__(self, backend: JobBackend, kinds: JobKinds, limits: JobLimits) -> None:
        self._backend = backend
        self._kinds = kinds
        self._limits = limits

    async def afire(self, now: float | None = None) -> int:
        """Submit the jobs of all schedules that are due; return the number of schedules.

        Args:
            now: the time in seconds since 1970; the clock's when None.
        """
        at = time.time() if now is None else now
        fired = 0
        for due in await self._backend.adue_schedules(at, list(self._kinds), _AT_ONCE):
            kind = self._kinds[due.info.kind]
            jobs, last_at, next_at, error = list[NewJob](), None, at + _AGAIN_S, ""
            try:
                missed, next_at = await in_thread(partial(_times, due, at), name="schedule times")
                last_at = missed[-1] if missed else None
                kind.checked(due.info.arguments)
                jobs = [_job(due, kind, moment) for moment in _chosen(due, missed, at)]
            except InvalidInputError as exc:  # a newer version takes other arguments, or the zone is unknown here
                error = exc.message
            if await self._backend.afire(due, jobs, next_at=next_at, last_at=last_at, limits=self._limits, error=error):
                fired += 1
                _log.info("jobs.schedule_fired", extra={"schedule": due.info.name, "jobs": len(jobs)})
        return fired


def _times(due: DueSchedule, now: float) -> tuple[list[float], float]:
    # Returns the latest due times, and the next time. After the clock was set back no time is due, and only the next
    # one changes.
    cron, zone = due.info.cron, due.info.zone
    missed: list[float] = []
    if due.due_at <= now:
        missed = [due.due_at, *latest_times(cron, zone, max(due.due_at, now - 366 * 86_400.0), now, _MAX_MISSED)]
    return missed[-_MAX_MISSED:], next(times_after(cron, zone, now), NEVER)


def _chosen(due: DueSchedule, missed: Sequence[float], now: float) -> list[float]:
    if due.info.missed == "all":
        return list(missed)
    if due.info.missed == "one":
        return list(missed[-1:])
    return [moment for moment in missed[-1:] if now - moment <= _LATE_S]


def _job(due: DueSchedule, kind: JobKind, moment: float) -> NewJob:
    name = [due.tenant, due.info.name, due.made_at, moment]
    seed = hashlib.sha256(orjson.dumps(name)).digest()
    return NewJob(
        id=seeded_uids(seed, moment, 0, 1)[0],
        tenant=due.tenant,
        scopes=due.scopes,
        kind=kind.name,
        queue=kind.queue,
        arguments=orjson.dumps(due.info.arguments),
        key=kind.key_of(due.info.arguments),
        max_attempts=kind.max_attempts,
        schedule=due.info.name,
    )
