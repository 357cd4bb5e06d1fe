"""`SQLJobBackend`: jobs in an SQL database, in transactions that callers share."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from super_advanced_agents._runtime.clock import ForwardClock
from super_advanced_agents._runtime.concurrency.futures import Future, in_thread
from super_advanced_agents._runtime.concurrency.sync_bridge import blocking
from super_advanced_agents._runtime.queues.batcher import MicroBatcher
from super_advanced_agents.errors import EngineUnavailableError, ResourceClosedError
from super_advanced_agents.jobs.backend import (
    SWEEP_JOBS,
    ClaimedJob,
    DueSchedule,
    JobBackend,
    JobLimits,
    NewJob,
    Outcome,
)
from super_advanced_agents.jobs.progress import Progress
from super_advanced_agents.jobs.sql import calls, schedules, uploads, work
from super_advanced_agents.jobs.sql.database import READ, Database, Needs
from super_advanced_agents.jobs.sql.postgres import PostgresDatabase
from super_advanced_agents.jobs.sql.sqlite import SQLiteDatabase
from super_advanced_agents.jobs.sql.upload_files import UploadFiles
from super_advanced_agents.types import JobInfo, JobState, ScheduleInfo, UploadInfo
from super_advanced_agents.types.jobs import KeptAnswer

T = TypeVar("T")

_MAX_QUEUE, _MAX_BATCH = 4_096, 64
_SHARED_POLL_S = 0.25
"""The longest wait for work where other processes submit it."""


@dataclass(frozen=True, slots=True)
class _Step:
    run: Callable[[Database], Any]
    kind: Needs


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
        self._files = UploadFiles(place / "uploads") if isinstance(place, Path) else None
        self._opening = threading.Lock()
        self._batcher: MicroBatcher[_Step, Any] = MicroBatcher(
            self._run, name="job steps", max_batch_cost=_MAX_BATCH, max_queue_cost=_MAX_QUEUE
        )
        self._registered: set[str] = set()
        self._rounds: dict[str, str] = {}
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
        if (database := self._database) is not None and not self._closed:
            database.check_files()

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
        cancelled, dropped = await self._write(lambda db: calls.cancel(db, tenant, job_id, self._clock.now()))
        self._wake()
        if dropped:
            await self._remove_files()
        return cancelled

    async def aretry(self, tenant: str, job_id: str | None, *, limits: JobLimits | None = None) -> int:
        n = await self._write(lambda db: calls.retry(db, tenant, job_id, limits, self._clock.now()), alone=True)
        self._wake()
        return n

    async def astates(self, ids: Sequence[str]) -> dict[str, tuple[JobState, float]]:
        return await self._read(lambda db: calls.states(db, ids, self._clock.now())) if ids else {}

    async def acount(self, tenant: str | None = None) -> dict[JobState, int]:
        return await self._read(lambda db: calls.count(db, tenant))

    # -- schedules ------------------------------------------------------------------------------------------------

    async def aput_schedule(
        self, tenant: str, scopes: Sequence[str], info: ScheduleInfo, *, limits: JobLimits, due_at: float
    ) -> None:
        await self._write(
            lambda db: schedules.put(db, tenant, scopes, info, limits=limits, due_at=due_at, now=self._clock.now()),
            alone=True,
        )

    async def aschedules(self, tenant: str) -> list[ScheduleInfo]:
        return await self._read(lambda db: schedules.list_schedules(db, tenant))

    async def apause_schedule(self, tenant: str, name: str, *, paused: bool, due_at: float) -> bool:
        return await self._write(lambda db: schedules.pause(db, tenant, name, paused=paused, due_at=due_at))

    async def adelete_schedule(self, tenant: str, name: str) -> bool:
        return await self._write(lambda db: schedules.delete(db, tenant, name))

    async def adue_schedules(self, now: float, kinds: Sequence[str], limit: int) -> list[DueSchedule]:
        return await self._read(lambda db: schedules.due(db, now, kinds, limit))

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
        fire = partial(
            schedules.fire, schedule=due, jobs=jobs, next_at=next_at, last_at=last_at, limits=limits, error=error
        )
        fired = await self._write(lambda db: fire(db, now=self._clock.now()), alone=True)
        self._wake()
        return fired

    # -- uploads --------------------------------------------------------------------------------------------------

    async def acreate_upload(self, tenant: str, upload_id: str, name: str, *, limits: JobLimits) -> UploadInfo:
        return await self._write(
            lambda db: uploads.create(db, tenant, upload_id, name, limits=limits, now=self._clock.now())
        )

    async def aadd_part(
        self, tenant: str, upload_id: str, offset: int, data: bytes, *, limits: JobLimits
    ) -> UploadInfo:
        named: Any = {"tenant": tenant, "upload_id": upload_id, "offset": offset, "limits": limits}
        grow = lambda db: uploads.grow(db, data=data, now=self._clock.now(), **named)  # noqa: E731
        if (files := self._files) is None:
            return await self._write(grow)

        def add() -> UploadInfo:
            # Into the file first: bytes behind the size that is noted are written again by the next attempt.
            with files.lock_of(upload_id):
                info: UploadInfo = self._submit(lambda db: uploads.check_part(db, size=len(data), **named), READ).wait()
                if info.size_bytes == offset:
                    files.write(upload_id, offset, data)
                    info = self._submit(grow, Needs()).wait()
                return info

        return await in_thread(add, name="write upload")

    async def auploads(self, tenant: str) -> list[UploadInfo]:
        return await self._read(lambda db: uploads.list_uploads(db, tenant))

    async def adelete_upload(self, tenant: str, upload_id: str) -> bool:
        deleted = await self._write(lambda db: uploads.delete(db, tenant, upload_id))
        await self._remove_files()
        return deleted

    async def afetch_upload(self, job: ClaimedJob, folder: Path) -> tuple[UploadInfo, Path]:
        upload_id = job.upload
        if upload_id is None:
            raise uploads.no_upload()
        info = await self._read(lambda db: uploads.of_job(db, job.tenant, upload_id, job.id))
        files = self._files
        if files is not None:
            return info, await in_thread(lambda: files.whole(upload_id, info.size_bytes), name="open upload")
        copied, done = UploadFiles(folder), 0
        while done < info.size_bytes:
            data = await self._read(partial(uploads.part_at, upload_id=upload_id, start=done))
            if not data:
                raise uploads.no_upload()  # it was deleted meanwhile
            await in_thread(partial(copied.write, upload_id, done, data), name="write upload")
            done += len(data)
        return info, await in_thread(lambda: copied.whole(upload_id, info.size_bytes), name="open upload")

    async def _remove_files(self) -> None:
        # Those of uploads that are no longer in the database. A file is made only once its upload is.
        if (files := self._files) is not None:
            names = await in_thread(files.names, name="list uploads")
            known = set(await self._read(lambda db: list(uploads.ids(db))))
            await in_thread(lambda: files.remove(names - known), name="delete uploads")

    # -- workers --------------------------------------------------------------------------------------------------

    async def aclaim(
        self, worker: str, free: Mapping[str, int], kinds: Sequence[str], limits: JobLimits
    ) -> list[ClaimedJob]:
        # Alone, so that claims see each other's keys and limits. Not durable: a lost claim is made again.
        claim = partial(work.claim, worker=worker, free=free, kinds=kinds, limits=limits, rounds=self._rounds)
        return await self._write(lambda db: claim(db, now=self._clock.now()), alone=True, durable=False)

    async def asubmit_part(self, job: ClaimedJob, part: NewJob) -> JobInfo | None:
        stored = await self._write(lambda db: work.submit_part(db, job, part, self._clock.now()))
        self._wake()
        return stored

    async def aclaim_part(self, job: ClaimedJob) -> ClaimedJob | None:
        return await self._write(lambda db: work.claim_part(db, job, self._clock.now()), alone=True, durable=False)

    async def asave_step(self, job: ClaimedJob, name: str, result: bytes) -> bool:
        return await self._write(lambda db: work.save_step(db, job, name, result))

    async def atake_key(self, job: ClaimedJob, key: str) -> bool:
        taken = await self._write(lambda db: work.take_key(db, job, key, self._clock.now()), alone=True, durable=False)
        self._wake()
        return taken

    async def asave_progress(self, job: ClaimedJob, progress: Progress) -> bool:
        return await self._write(lambda db: work.save_progress(db, job, progress, self._clock.now()), durable=False)

    async def afinish(self, job: ClaimedJob, outcome: Outcome) -> bool:
        mine = await self._write(lambda db: work.finish(db, job, outcome, self._clock.now()))
        self._wake()
        if job.upload is not None:
            await self._remove_files()
        return mine

    async def aheartbeat(
        self, worker: str, kinds: Sequence[str], queues: Sequence[str], *, held: Collection[str] | None = None
    ) -> list[str] | None:
        first, now = worker not in self._registered, self._clock.now()
        cancelling = await self._write(
            lambda db: work.heartbeat(db, worker, kinds, queues, first=first, held=held, now=now), durable=False
        )
        if cancelling is None:
            self._registered.discard(worker)
        else:
            self._registered.add(worker)
        return cancelling

    async def arecover(self, lease_s: float) -> int:
        beats = await self._read(lambda db: db.execute("SELECT id, beat FROM job_workers"))
        now, seen = time.monotonic(), {}
        # No worker could send a heartbeat while the database was away, so after a gap each gets its whole lease again.
        known = self._beats if now - self._looked_at < lease_s / 2 else {}
        self._looked_at = now
        for worker, beat in beats:
            before = known.get(worker)
            seen[worker] = before if before is not None and before[0] == beat else (int(beat), now)
        self._beats = seen
        n = 0
        for worker, (beat, since) in seen.items():
            if now - since >= lease_s:
                n += await self._remove_worker(worker, beat)
        return n

    async def aleave(self, worker: str) -> None:
        await self._remove_worker(worker, None, lost=False)
        self._registered.discard(worker)

    async def _remove_worker(self, worker: str, beat: int | None, *, lost: bool = True) -> int:
        remove = partial(work.remove_worker, worker=worker, beat=beat, lost=lost)
        return await self._write(lambda db: remove(db, now=self._clock.now()), alone=True)

    async def asweep(self, *, succeeded_s: float, failed_s: float) -> int:
        now = self._clock.now()
        ended = {
            JobState.SUCCEEDED: now - succeeded_s,
            JobState.CANCELLED: now - succeeded_s,
            JobState.FAILED: now - failed_s,
        }
        deleted = await self._write(lambda db: work.sweep(db, ended, SWEEP_JOBS, now))
        await self._remove_files()
        return deleted

    async def akept_answers(self, after: str, limit: int) -> list[KeptAnswer]:
        return await self._read(lambda db: work.kept_answers(db, after, limit))

    async def areplace_answer(self, answer: KeptAnswer, value: bytes) -> bool:
        return await self._write(lambda db: work.replace_answer(db, answer, value))

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

    def _submit(self, run: Callable[[Database], T], needs: Needs) -> Future[T]:
        self._check_open()
        return self._batcher.submit(_Step(run, needs))

    async def _write(self, run: Callable[[Database], T], *, alone: bool = False, durable: bool = True) -> T:
        return await self._submit(run, Needs(alone=alone, durable=durable))

    async def _read(self, run: Callable[[Database], T]) -> T:
        return await self._submit(run, READ)

    def _run(self, steps: list[_Step]) -> list[Any]:
        database = self._database
        if database is None:
            raise ResourceClosedError("the jobs are not open", hint="call open() or await aopen() first")
        if not database.shared:
            return _run_together(database, steps)
        # Two transactions: what must be alone holds up other processes, and is not to wait for a flush of the others.
        results: dict[int, Any] = {}
        for alone in (False, True):
            chosen = [number for number, step in enumerate(steps) if step.kind.alone is alone]
            results |= zip(chosen, _run_together(database, [steps[number] for number in chosen]), strict=True)
        return [results[number] for number in range(len(steps))]

    def _open(self) -> None:
        with self._opening:
            if self._database is not None or self._closed:
                return
            if isinstance(self._place, Path):
                database: Database = SQLiteDatabase(self._place)
                try:
                    with database.transaction(Needs()):
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


def _run_together(database: Database, steps: Sequence[_Step]) -> list[Any]:
    # Returns the results of the steps, or their errors.
    if not steps:
        return []
    needs = Needs(alone=any(step.kind.alone for step in steps), durable=any(step.kind.durable for step in steps))
    try:
        with database.transaction(needs):
            return [step.run(database) for step in steps]
    except EngineUnavailableError as exc:  # the database is away, so the steps are not tried one by one
        return [exc] * len(steps)
    except Exception as exc:
        if len(steps) == 1:
            return [exc]
    # One step failed, and the others were rolled back with it: each gets a transaction of its own.
    return [result for step in steps for result in _run_together(database, [step])]
