"""Jobs whose worker or process ends in the middle."""

from __future__ import annotations

from pathlib import Path

from tests.unit.jobs.kinds import Work, running

from super_advanced_agents.jobs import JobLimits, Jobs, JobState
from super_advanced_agents.jobs.backend import Outcome
from super_advanced_agents.jobs.sql import SQLJobBackend
from super_advanced_agents.jobs.sql.work import MAX_LOSSES

_LIMITS = JobLimits()


async def test_stopped_worker_hands_its_jobs_back(place: Path | str) -> None:
    """The next one goes on after the last finished step, and the attempt does not count."""
    work = Work()
    async with Jobs(place, work.kinds) as jobs:
        await jobs.aopen()
        stepped = await jobs.asubmit("stepped", {"steps": 3})
        async with running(jobs):
            await work.started.wait()
        info = await jobs.aget(stepped.id)
        assert (info.state, info.attempt) == (JobState.QUEUED, 0)
        work.go_on.set()
        async with running(jobs):
            assert await jobs.aresult(stepped.id, timeout_s=30) == [0, 1, 2]
        assert work.runs[f"{stepped.id}/0"] == 1


async def test_job_of_a_process_that_ended_runs_again_when_the_file_is_opened(folder: Path) -> None:
    """Nobody else can run it: its owner held the lock of the file."""
    work = Work()
    async with Jobs(folder, work.kinds) as jobs:
        await jobs.aopen()
        info = await jobs.asubmit("double", {"number": 4})
        await jobs.backend.aheartbeat("gone", ["double"], ["default"])
        [claimed] = await jobs.backend.aclaim("gone", {"default": 1}, ["double"], _LIMITS)
        assert claimed.id == info.id
    async with Jobs(folder, work.kinds) as again:
        await again.aopen()
        async with running(again):
            assert await again.aresult(info.id, timeout_s=30) == 8


async def test_jobs_of_a_silent_worker_are_given_to_others_after_its_lease(backend: SQLJobBackend) -> None:
    """Not before; and what it reports afterwards is ignored."""
    async with Jobs(backend, Work().kinds) as jobs:
        await jobs.aopen()
        info = await jobs.asubmit("double", {"number": 4})
        await backend.aheartbeat("silent", ["double"], ["default"])
        [claimed] = await backend.aclaim("silent", {"default": 1}, ["double"], _LIMITS)
        assert await backend.arecover(60) == 0
        assert (await jobs.aget(info.id)).state is JobState.RUNNING
        while not await backend.arecover(0.02):
            pass  # a lease is a time: nothing else tells that it has passed
        await backend.aheartbeat("other", ["double"], ["default"])
        [again] = await backend.aclaim("other", {"default": 1}, ["double"], _LIMITS)
        assert again.claim > claimed.claim
        assert not await backend.asave_step(claimed, "one", b"1")
        assert not await backend.afinish(claimed, Outcome(state=JobState.FAILED, error="late"))
        assert await backend.aheartbeat("silent", ["double"], ["default"]) is None
        assert await backend.afinish(again, Outcome(state=JobState.SUCCEEDED, result=b"8"))
        assert (await jobs.aget(info.id)).result == 8


async def test_worker_that_beats_keeps_its_jobs(backend: SQLJobBackend) -> None:
    """However often others look."""
    async with backend:
        await backend.aopen()
        for _ in range(5):
            assert await backend.aheartbeat("alive", [], []) == []
            assert await backend.arecover(1e-9) == 0


async def test_job_that_ends_each_worker_is_given_up(place: Path | str) -> None:
    """After ten workers without a finished step between."""
    async with Jobs(place, Work().kinds) as jobs:
        await jobs.aopen()
        info = await jobs.asubmit("double", {"number": 4})
        for number in range(MAX_LOSSES):
            assert (await jobs.aget(info.id)).state is JobState.QUEUED, number
            await jobs.backend.aheartbeat(f"w{number}", ["double"], ["default"])
            await jobs.backend.aclaim(f"w{number}", {"default": 1}, ["double"], _LIMITS)
            while (await jobs.aget(info.id)).state is JobState.RUNNING:
                await jobs.backend.arecover(0)
        found = await jobs.aget(info.id)
        assert found.state is JobState.FAILED
        assert "ended 10 times" in found.error


async def test_kind_that_no_worker_knows_waits_and_says_so(place: Path | str) -> None:
    """As while an older version runs beside a newer one."""
    work = Work()
    async with Jobs(place, work.kinds) as jobs:
        await jobs.aopen()
        info = await jobs.asubmit("double", {"number": 4})
        older = Jobs(jobs.backend, [kind for kind in work.kinds if kind.name != "double"])
        async with running(older):
            other = await jobs.asubmit("hopeless")
            async for each in older.awatch(other.id):
                if each.state is JobState.FAILED:
                    break
            assert (await jobs.aget(info.id)).note == "waits for a worker that knows this kind of job"


async def test_tables_of_an_older_version_are_brought_up_to_date(place: Path | str) -> None:
    """Its jobs are still there."""
    work = Work()
    async with Jobs(place, work.kinds) as jobs:
        await jobs.aopen()
        info = await jobs.asubmit("double", {"number": 4})
        assert isinstance(jobs.backend, SQLJobBackend)
        old = ["DROP TABLE job_uploads", "DROP TABLE job_upload_parts", "DROP INDEX jobs_answers"]
        old += [f"ALTER TABLE jobs DROP COLUMN {column}" for column in ("upload", "trace")]
        if isinstance(place, Path):
            old.append("PRAGMA user_version = 1")
        else:  # as programs kept it that had a table of their own for it
            old += ["DELETE FROM migrations WHERE component = 'jobs'", "CREATE TABLE job_version (number BIGINT)"]
            old.append("INSERT INTO job_version VALUES (1)")
        for statement in old:
            await jobs.backend._write(lambda db, statement=statement: db.execute(statement))  # type: ignore[misc]
    async with Jobs(place, work.kinds) as again:
        await again.aopen()
        await again.uploads.acreate("notes.txt")
        async with running(again):
            assert await again.aresult(info.id, timeout_s=30) == 8
