"""`SQLJobBackend`: jobs in an SQL database, in transactions that callers share."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from super_advanced_agents._runtime.clock import ForwardClock
from super_advanced_agents._runtime.concurrency.futures import Future, in_thread
from super_advanced_agents._runtime.concurrency.sync_bridge import blocking
from super_advanced_agents._runtime.queues.batcher import MicroBatcher
from super_advanced_agents.errors import ResourceClosedError, SuperAdvancedAgentsError
from super_advanced_agents.jobs.backend import ClaimedJob, DueSchedule, JobBackend, JobLimits, NewJob, Outcome
from super_advanced_agents.jobs.progress import Progress
from super_advanced_agents.jobs.sql import calls, schedules, work
from super_advanced_agents.jobs.sql.database import Database
from super_advanced_agents.jobs.sql.postgres import PostgresDatabase
from super_advanced_agents.jobs.sql.sqlite import SQLiteDatabase
from super_advanced_agents.types import JobInfo, JobState, ScheduleInfo

T = TypeVar("T")

_MAX_QUEUE, _MAX_BATCH = 4_096, 64
_SWEEP_JOBS = 500
_SHARED_POLL_S = 0.25
"""The longest wait for work where other processes submit it."""


@dataclass(frozen=True, slots=True)
class _Step:
    run: Callable[[Database], Any]
    writes: bool


class SQLJobBackend(JobBackend):
    """Jobs in an SQLite file of one process, or in a PostgreSQL database of many.

    Steps that arrive together share one transaction and one flush.

    Args:
        place: the folder of the SQLite file `jobs.db`, or the URL of a PostgreSQL database.
    """

    def __init__(self, place: Path | str) -> None:
        super().__init__()
        self._place = place
        self._clock = ForwardClock()
        self._database: Database | None = None
        self._opening = threading.Lock()
        self._batcher: MicroBatcher[_Step, Any] = MicroBatcher(
            self._run, name="job steps", max_batch_cost=_MAX_BATCH, max_queue_cost=_MAX_QUEUE
        )
        self._registered: set[str] = set()
        self._waiting: list[Future[None]] = []
        self._changes = 0
        self._beats: dict[str, tuple[int, float]] = {}
        self._looked_at = float("-inf")

    async def aopen(self) -> None:
        """Open the database, creating its tables when missing.

        Raises:
            StoreLockedError: another process uses the SQLite file.
            EngineUnavailableError: PostgreSQL cannot be reached.
            StoreError: the database cannot be used.
        """
        self._check_open()
        await in_thread(self._open, name="open jobs")

    open = blocking(aopen)

    def check_files(self) -> None:
        if self._database is not None and not self._closed:
            self._database.check_files()

    # -- callers --------------------------------------------------------------------------------------------------

    async def asubmit(self, jobs: Sequence[NewJob], *, limits: JobLimits | None = None) -> list[JobInfo]:
        stored = await self._write(lambda db: calls.submit(db, jobs, limits, self._clock.now()))
        self._wake()
        return stored

    async def aget(self, tenant: str, job_id: str, *, brief: bool = False) -> JobInfo | None:
        return await self._read(lambda db: calls.get(db, tenant, job_id, self._clock.now(), brief=brief))

    async def alist(
        self, tenant: str, *, state: JobState | None, kind: str | None, after: str | None, limit: int
    ) -> list[JobInfo]:
        return await self._read(
            lambda db: calls.list_jobs(
                db, tenant, state=state, kind=kind, after=after, limit=limit, now=self._clock.now()
            )
        )

    async def acancel(self, tenant: str, job_id: str) -> JobInfo | None:
        cancelled = await self._write(lambda db: calls.cancel(db, tenant, job_id, self._clock.now()))
        self._wake()
        return cancelled

    async def aretry(self, tenant: str, job_id: str | None) -> int:
        n = await self._write(lambda db: calls.retry(db, tenant, job_id, self._clock.now()))
        self._wake()
        return n

    async def acount(self, tenant: str | None = None) -> dict[JobState, int]:
        return await self._read(lambda db: calls.count(db, tenant))

    # -- schedules ------------------------------------------------------------------------------------------------

    async def aput_schedule(
        self, tenant: str, scopes: Sequence[str], info: ScheduleInfo, *, limits: JobLimits, due_at: float
    ) -> None:
        await self._write(
            lambda db: schedules.put(db, tenant, scopes, info, limits=limits, due_at=due_at, now=self._clock.now())
        )

    async def aschedules(self, tenant: str) -> list[ScheduleInfo]:
        return await self._read(lambda db: schedules.list_schedules(db, tenant))

    async def apause_schedule(self, tenant: str, name: str, *, paused: bool, due_at: float) -> bool:
        return await self._write(lambda db: schedules.pause(db, tenant, name, paused=paused, due_at=due_at))

    async def adelete_schedule(self, tenant: str, name: str) -> bool:
        return await self._write(lambda db: schedules.delete(db, tenant, name))

    async def adue_schedules(self, now: float, limit: int) -> list[DueSchedule]:
        return await self._read(lambda db: schedules.due(db, now, limit))

    async def afire(
        self, due: DueSchedule, jobs: Sequence[NewJob], *, next_at: float, limits: JobLimits, error: str = ""
    ) -> bool:
        fired = await self._write(
            lambda db: schedules.fire(db, due, jobs, next_at=next_at, limits=limits, error=error, now=self._clock.now())
        )
        self._wake()
        return fired

    # -- workers --------------------------------------------------------------------------------------------------

    async def aclaim(
        self, worker: str, free: Mapping[str, int], kinds: Sequence[str], limits: JobLimits
    ) -> list[ClaimedJob]:
        return await self._write(lambda db: work.claim(db, worker, free, kinds, limits, now=self._clock.now()))

    async def asubmit_part(self, job: ClaimedJob, part: NewJob) -> JobInfo | None:
        stored = await self._write(lambda db: work.submit_part(db, job, part, self._clock.now()))
        self._wake()
        return stored

    async def aclaim_part(self, job: ClaimedJob) -> ClaimedJob | None:
        return await self._write(lambda db: work.claim_part(db, job, self._clock.now()))

    async def asave_step(self, job: ClaimedJob, name: str, result: bytes) -> bool:
        return await self._write(lambda db: work.save_step(db, job, name, result))

    async def asave_progress(self, job: ClaimedJob, progress: Progress) -> bool:
        return await self._write(lambda db: work.save_progress(db, job, progress, self._clock.now()))

    async def afinish(self, job: ClaimedJob, outcome: Outcome) -> bool:
        mine = await self._write(lambda db: work.finish(db, job, outcome, self._clock.now()))
        self._wake()
        return mine

    async def aheartbeat(self, worker: str, kinds: Sequence[str], queues: Sequence[str]) -> list[str] | None:
        first = worker not in self._registered
        cancelling = await self._write(lambda db: work.heartbeat(db, worker, kinds, queues, first=first))
        self._registered.add(worker)
        return cancelling

    async def arecover(self, lease_s: float) -> int:
        beats = await self._read(lambda db: db.execute("SELECT id, beat FROM job_workers"))
        now, seen = time.monotonic(), {}
        # After a gap, as while the database was away, nobody could show a heartbeat: all are given their time again.
        known = self._beats if now - self._looked_at < lease_s / 2 else {}
        self._looked_at = now
        for worker, beat in beats:
            before = known.get(worker)
            seen[worker] = before if before is not None and before[0] == beat else (int(beat), now)
        self._beats = seen
        n = 0
        for worker, (beat, since) in seen.items():
            if now - since >= lease_s:
                n += await self._write(
                    lambda db, worker=worker, beat=beat: work.remove_worker(  # type: ignore[misc]
                        db, worker, beat, self._clock.now()
                    )
                )
        return n

    async def aleave(self, worker: str) -> None:
        await self._write(lambda db: work.remove_worker(db, worker, None, self._clock.now(), lost=False))
        self._registered.discard(worker)

    async def asweep(self, *, succeeded_s: float, failed_s: float) -> int:
        now = self._clock.now()
        ended = {
            JobState.SUCCEEDED: now - succeeded_s,
            JobState.CANCELLED: now - succeeded_s,
            JobState.FAILED: now - failed_s,
        }
        return await self._write(lambda db: work.sweep(db, ended, _SWEEP_JOBS))

    async def await_work(self, seen: int, timeout_s: float) -> int:
        if seen != self._changes:
            return self._changes
        waiting: Future[None] = Future()
        self._waiting.append(waiting)
        shared = self._database is None or self._database.shared
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(timeout_s, _SHARED_POLL_S) if shared else timeout_s):
                    await waiting
        finally:
            with suppress(ValueError):
                self._waiting.remove(waiting)
        return self._changes

    # -- the thread -----------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        self._changes += 1
        for waiting in list(self._waiting):
            waiting.set_result(None)

    async def _write(self, run: Callable[[Database], T]) -> T:
        self._check_open()
        found: T = await self._batcher.submit(_Step(run, True))
        return found

    async def _read(self, run: Callable[[Database], T]) -> T:
        self._check_open()
        found: T = await self._batcher.submit(_Step(run, False))
        return found

    def _run(self, steps: list[_Step]) -> list[Any]:
        database = self._database
        if database is None:
            raise ResourceClosedError("the jobs are not open", hint="call open() or await aopen() first")
        try:
            with database.transaction(writes=any(step.writes for step in steps)):
                return [step.run(database) for step in steps]
        except SuperAdvancedAgentsError:
            if len(steps) == 1:
                raise
        # One was refused, and took the others back: each has a transaction of its own now.
        return [_run_alone(database, step) for step in steps]

    def _open(self) -> None:
        with self._opening:
            if self._database is not None or self._closed:
                return
            if isinstance(self._place, Path):
                database: Database = SQLiteDatabase(self._place)
                try:
                    with database.transaction(writes=True):
                        database.execute("DELETE FROM job_workers")
                        work.requeue(database, "1 = 1", (), self._clock.now(), lost=True)
                except BaseException:
                    database.close()
                    raise
            else:
                database = PostgresDatabase(self._place)
            self._database = database

    def _release(self) -> None:
        self._batcher.close()
        with self._opening:
            if self._database is not None:
                self._database.close()


def _run_alone(database: Database, step: _Step) -> Any:
    try:
        with database.transaction(writes=step.writes):
            return step.run(database)
    except SuperAdvancedAgentsError as exc:
        return exc
