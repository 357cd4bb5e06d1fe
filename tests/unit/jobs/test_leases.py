"""Leases of workers, and answers of the database that are lost: no job runs beside itself, and none is stuck."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest
from tests.unit.jobs.kinds import Work, running

from super_advanced_agents._runtime.uids import new_uids
from super_advanced_agents.errors import OverloadedError
from super_advanced_agents.jobs import JobContext, JobLimits, Jobs, JobState, SQLJobBackend, WorkerOptions, job
from super_advanced_agents.jobs.backend import NewJob, Outcome
from super_advanced_agents.jobs.progress import Progress

_LIMITS = JobLimits()


async def _claim(jobs: Jobs, worker: str = "one") -> str:
    # Submits a job, and takes it by a worker.
    info = await jobs.asubmit("double", {"number": 4})
    await jobs.backend.aheartbeat(worker, ["double"], ["default"])
    [claimed] = await jobs.backend.aclaim(worker, {"default": 1}, ["double"], _LIMITS)
    assert claimed.id == info.id
    return info.id


async def test_job_whose_claim_got_no_answer_waits_again(place: Path | str) -> None:
    """As when the database restarts: its worker lives, and would never run it."""
    async with Jobs(place, Work().kinds) as jobs:
        await jobs.aopen()
        job_id = await _claim(jobs)
        assert await jobs.backend.aheartbeat("one", ["double"], ["default"], held={job_id}) == []
        assert (await jobs.aget(job_id)).state is JobState.RUNNING
        assert await jobs.backend.aheartbeat("one", ["double"], ["default"], held=set()) == []
        assert (await jobs.aget(job_id)).state is JobState.RUNNING  # the answer may be on the way
        assert isinstance(jobs.backend, SQLJobBackend)
        await jobs.backend._write(lambda db: db.execute("UPDATE jobs SET started_at = started_at - 60"))
        assert await jobs.backend.aheartbeat("one", ["double"], ["default"], held=set()) == []
        info = await jobs.aget(job_id)
        assert (info.state, info.attempt) == (JobState.QUEUED, 0)


async def test_first_heartbeat_can_be_sent_again(place: Path | str) -> None:
    """The answer to it may have been lost."""
    async with SQLJobBackend(place) as backend:
        await backend.aopen()
        for _ in range(2):
            assert await backend.aheartbeat("one", [], []) == []
            backend._registered.clear()


async def test_worker_that_lost_its_lease_takes_no_job(place: Path | str) -> None:
    """Nobody would give it to others when this worker ends."""
    async with Jobs(place, Work().kinds) as jobs:
        await jobs.aopen()
        await jobs.asubmit("double", {"number": 4})
        await jobs.backend.aheartbeat("one", ["double"], ["default"])
        await jobs.backend.aleave("one")
        assert await jobs.backend.aclaim("one", {"default": 1}, ["double"], _LIMITS) == []


async def test_cancelled_job_is_not_tried_again_when_its_attempt_fails(place: Path | str) -> None:
    """The failure may come before the worker knows that the job is cancelled."""
    async with Jobs(place, Work().kinds) as jobs:
        await jobs.aopen()
        await jobs.asubmit("double", {"number": 4})
        await jobs.backend.aheartbeat("one", ["double"], ["default"])
        [claimed] = await jobs.backend.aclaim("one", {"default": 1}, ["double"], _LIMITS)
        await jobs.acancel(claimed.id)
        assert await jobs.backend.afinish(claimed, Outcome(state=JobState.QUEUED, error="failed"))
        info = await jobs.aget(claimed.id)
        assert info.state is JobState.CANCELLED
        assert info.finished_at is not None


async def test_worker_that_drains_keeps_its_lease(place: Path | str) -> None:
    """Otherwise another one would run its jobs beside it."""
    work = Work()
    async with Jobs(place, work.kinds) as jobs:
        await jobs.aopen()
        held = await jobs.asubmit("held")
        stop = asyncio.Event()
        worker = jobs.worker(options=WorkerOptions(queues={"default": 1}))
        task = asyncio.create_task(worker.arun(stop, drain_s=60))
        await work.started.wait()
        stop.set()
        async with asyncio.timeout(30):
            before = await _beats(jobs)
            while await _beats(jobs) < before + 2:
                pass  # each look is a round trip
        work.go_on.set()
        await task
        assert (await jobs.aget(held.id)).state is JobState.SUCCEEDED


async def _beats(jobs: Jobs) -> int:
    assert isinstance(jobs.backend, SQLJobBackend)
    rows = await jobs.backend._read(lambda db: db.execute("SELECT sum(beat) FROM job_workers"))
    return int(rows[0][0])


async def test_what_cannot_be_stored_fails_alone(place: Path | str) -> None:
    """A lone surrogate or a NUL in a note is left out; calls beside it are not touched."""
    async with Jobs(place, Work().kinds) as jobs:
        await jobs.aopen()
        await jobs.asubmit("double", {"number": 4})
        await jobs.backend.aheartbeat("one", ["double"], ["default"])
        [claimed] = await jobs.backend.aclaim("one", {"default": 1}, ["double"], _LIMITS)
        progress = Progress()
        progress.report(1, 2, "a\ud800b\0c")
        assert await jobs.backend.asave_progress(claimed, progress)
        assert (await jobs.aget(claimed.id)).note == "a?bc"
        odd_call = jobs.backend.aget("default", "\ud800")
        listed, odd = await asyncio.gather(jobs.alist(), odd_call, return_exceptions=True)
        assert isinstance(listed, list)
        assert isinstance(odd, Exception)


async def test_queue_that_no_worker_serves_is_named(place: Path | str) -> None:
    """A job in it would wait without a word."""
    async with Jobs(place, Work().kinds) as jobs:
        await jobs.aopen()
        info = await jobs.asubmit("double", {"number": 1}, queue="forgotten")
        await jobs.backend.aheartbeat("one", ["double"], ["default"])
        assert (await jobs.aget(info.id)).note == "waits for a worker that serves its queue"


async def test_failed_jobs_wait_again_as_far_as_there_is_room(place: Path | str) -> None:
    """The limit of waiting jobs holds for retries too."""
    async with Jobs(place, Work().kinds, limits=JobLimits(queued=2)) as jobs:
        await jobs.aopen()
        await jobs.backend.aheartbeat("one", ["double"], ["default"])
        for _ in range(3):
            await jobs.asubmit("double", {"number": 1})
            [claimed] = await jobs.backend.aclaim("one", {"default": 1}, ["double"], _LIMITS)
            await jobs.backend.afinish(claimed, Outcome(state=JobState.FAILED, error="failed"))
        assert await jobs.aretry() == 2
        assert len(await jobs.alist(state="failed")) == 1


def _new(tenant: str, *, kind: str = "double") -> NewJob:
    return NewJob(id=new_uids(1)[0], tenant=tenant, scopes=[], kind=kind, queue="default", arguments=b"{}")


async def test_many_tenants_take_turns(place: Path | str) -> None:
    """A claim compares some of them, and later ones the next; each gets a job before any has got all of its own."""
    tenants = [f"tenant-{number:03}" for number in range(150)]
    async with Jobs(place, Work().kinds) as jobs:
        await jobs.aopen()
        await jobs.backend.asubmit([_new(tenant) for _ in range(3) for tenant in tenants])
        await jobs.backend.aheartbeat("one", ["double"], ["default"])
        order: list[str] = []
        while claimed := await jobs.backend.aclaim("one", {"default": 8}, ["double"], _LIMITS):
            order += [each.tenant for each in claimed]
            for each in claimed:
                await jobs.backend.afinish(each, Outcome(state=JobState.SUCCEEDED))
    assert sorted(order) == sorted(3 * tenants)
    assert set(order[:300]) == set(tenants)


async def test_job_behind_many_tenants_that_wait_for_another_worker_is_found(place: Path | str) -> None:
    """Nobody here knows their kind, as during an upgrade."""
    async with Jobs(place, Work().kinds) as jobs:
        await jobs.aopen()
        await jobs.backend.asubmit([_new(f"tenant-{number:03}", kind="newer") for number in range(200)])
        await jobs.backend.asubmit([_new("zoe"), _new("zoe")])
        await jobs.backend.aheartbeat("one", ["double"], ["default"])
        for _ in range(2):
            claimed = await jobs.backend.aclaim("one", {"bulk": 1, "default": 1}, ["double"], _LIMITS)
            assert [each.tenant for each in claimed] == ["zoe"]


async def test_step_waits_while_another_program_locks_the_file(folder: Path) -> None:
    """As a tool that reads the file and forgets its transaction; a submission says that it may be tried again."""
    stored, locked = asyncio.Event(), asyncio.Event()

    @job(max_attempts=1)
    async def stepping(context: JobContext) -> int:
        stored.set()
        await locked.wait()
        return await context.step("one", asyncio.sleep, 0, 1)

    async with Jobs(folder, [stepping]) as jobs:
        await jobs.aopen()
        assert isinstance(jobs.backend, SQLJobBackend)
        await jobs.backend._write(lambda db: db.execute("PRAGMA busy_timeout = 50"))
        info = await jobs.asubmit("stepping")
        async with running(jobs):
            await stored.wait()
            other = await asyncio.to_thread(_locking, folder / "jobs.db")
            locked.set()
            with pytest.raises(OverloadedError, match="another program"):
                await jobs.asubmit("stepping")
            await asyncio.sleep(0.3)  # the step is tried meanwhile
            await asyncio.to_thread(other.close)
            assert await jobs.aresult(info.id, timeout_s=30) == 1


def _locking(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, check_same_thread=False)
    connection.execute("BEGIN EXCLUSIVE")
    return connection
