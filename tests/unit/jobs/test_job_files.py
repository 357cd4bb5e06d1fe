"""Files of jobs go as soon as no job can need them: shards, copies of uploads, and uploads."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest
from tests.unit.jobs.kinds import running

from super_advanced_agents.errors import JobError
from super_advanced_agents.jobs import JobContext, JobLimits, Jobs, JobState, SQLJobBackend, job
from super_advanced_agents.jobs.backend import ClaimedJob, Outcome
from super_advanced_agents.jobs.erasing import delete_ended
from super_advanced_agents.jobs.job_files import JobFiles
from super_advanced_agents.tenancy.data_folder.compacting import old_copies
from super_advanced_agents.tenancy.settings import Settings

_CANARY = "a word that is to be forgotten"
_DAYS_S = 86_400.0


@job(upload="upload", max_attempts=1)
async def taking(context: JobContext, upload: str | None = None, fails: bool = False) -> None:
    """Take an upload."""
    if fails:
        raise ValueError
    del context, upload


async def _upload(jobs: Jobs) -> str:
    info = await jobs.uploads.acreate("notes.txt")
    return (await jobs.uploads.aadd_part(info.id, 0, _CANARY.encode())).id


async def _claimed(jobs: Jobs) -> ClaimedJob:
    await jobs.backend.aheartbeat("one", ["taking"], ["default"])
    [claimed] = await jobs.backend.aclaim("one", {"default": 1}, ["taking"], JobLimits())
    return claimed


async def _end(jobs: Jobs, job_id: str, state: JobState) -> None:
    info = await jobs.asubmit(taking, job_id=job_id)
    if state is JobState.CANCELLED:
        await jobs.acancel(info.id)
    elif state is not JobState.QUEUED:
        await jobs.backend.afinish(await _claimed(jobs), Outcome(state=state))


def _write_shards(files_dir: Path, names: list[str]) -> None:
    for name in names:
        folder = files_dir / "default" / ".shards" / name
        folder.mkdir(parents=True)
        (folder / "00000").write_text(_CANARY)


def _left(files_dir: Path) -> set[str]:
    return {path.name for path in files_dir.glob("*/.shards/*")}


def _holding_canary(folder: Path) -> list[Path]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if _CANARY.encode() in path.read_bytes()]


@pytest.mark.parametrize("how", ["waits", "runs", "fails", "loses its worker"])
async def test_upload_goes_when_its_job_is_cancelled(place: Path | str, how: str) -> None:
    """However far it came; a retry is refused, and says what to do."""
    async with Jobs(place, [taking]) as jobs:
        await jobs.aopen()
        info = await jobs.asubmit(taking, {"upload": await _upload(jobs)})
        if how != "waits":
            claimed = await _claimed(jobs)
            if how == "fails":
                await jobs.backend.afinish(claimed, Outcome(state=JobState.FAILED, error="failed"))
                assert len(await jobs.uploads.alist()) == 1
        await jobs.acancel(info.id)
        if how == "runs":
            await jobs.backend.afinish(claimed, Outcome(state=JobState.CANCELLED))
        elif how == "loses its worker":
            await jobs.backend.aleave("one")
        assert (await jobs.aget(info.id)).state is JobState.CANCELLED
        assert await jobs.uploads.alist() == []
        with pytest.raises(JobError, match="upload of the job is deleted"):
            await jobs.aretry(info.id)


async def test_cancel_of_a_job_without_an_upload_looks_at_no_file(folder: Path) -> None:
    """A thousand cancels list a folder of a thousand uploads not once."""
    async with Jobs(folder, [taking]) as jobs:
        await jobs.aopen()
        upload, other = await _upload(jobs), folder / "uploads" / "unknown"
        other.touch()
        await jobs.acancel((await jobs.asubmit(taking)).id)
        assert other.exists()
        await jobs.acancel((await jobs.asubmit(taking, {"upload": upload})).id)
        assert not other.exists()


async def test_cancelled_failure_keeps_its_reason_and_can_be_retried(place: Path | str) -> None:
    """It is no dead letter any more, so that a retry of all failed jobs leaves it alone."""
    async with Jobs(place, [taking]) as jobs:
        await jobs.aopen()
        info = await jobs.asubmit(taking)
        await jobs.backend.afinish(await _claimed(jobs), Outcome(state=JobState.FAILED, error="the reason"))
        cancelled = await jobs.acancel(info.id)
        assert (cancelled.state, cancelled.error) == (JobState.CANCELLED, "the reason")
        assert await jobs.aretry() == 0
        assert await jobs.aretry(info.id) == 1


async def test_shards_are_kept_while_a_job_can_need_them(place: Path | str, tmp_path: Path) -> None:
    """Those of jobs that nobody knows may be those of another database, so they stay for four weeks."""
    files = JobFiles(tmp_path / "files", tmp_path / "data")
    async with Jobs(place, [taking]) as jobs:
        await jobs.aopen()
        for state in (JobState.SUCCEEDED, JobState.CANCELLED, JobState.FAILED, JobState.QUEUED):
            await _end(jobs, str(state), state)
        _write_shards(files.files_dir, ["succeeded", "cancelled", "failed", "queued", "unknown", "old"])
        then = time.time() - 29 * _DAYS_S
        os.utime(files.files_dir / "default" / ".shards" / "old", (then, then))
        await files.adelete_unneeded(jobs.backend, failed_s=_DAYS_S)
        assert _left(files.files_dir) == {"failed", "queued", "unknown"}
        await files.adelete_unneeded(jobs.backend, failed_s=0.0)
        assert _left(files.files_dir) == {"queued", "unknown"}


async def test_copies_of_uploads_that_a_killed_worker_left_are_deleted(tmp_path: Path) -> None:
    """A failed job makes a new copy when it is retried."""
    files = JobFiles(tmp_path / "files", tmp_path / "data")
    async with Jobs(tmp_path / "jobs", [taking]) as jobs:
        await jobs.aopen()
        for state in (JobState.SUCCEEDED, JobState.CANCELLED, JobState.FAILED, JobState.QUEUED):
            await _end(jobs, str(state), state)
            (tmp_path / "data" / "cache" / "uploads" / state).mkdir(parents=True)
        await files.adelete_unneeded(jobs.backend, failed_s=_DAYS_S)
    assert [path.name for path in (tmp_path / "data" / "cache" / "uploads").iterdir()] == ["queued"]


async def test_erasure_lists_what_failed_jobs_keep_and_a_cancel_deletes_it(tmp_path: Path) -> None:
    """After it no file holds the canary: neither an upload nor a shard."""
    settings = Settings.load(data_dir=tmp_path / "data")
    async with Jobs(settings.data_dir / "jobs", [taking]) as jobs:
        await jobs.aopen()
        info = await jobs.asubmit(taking, {"upload": await _upload(jobs), "fails": True})
        async with running(jobs):
            with pytest.raises(JobError):
                await jobs.aresult(info.id, timeout_s=60)
        _write_shards(settings.data_dir / "files", [info.id])
        listed = [copy.path for copy in await asyncio.to_thread(old_copies, settings)]
        assert sorted(listed) == sorted(await asyncio.to_thread(_holding_canary, tmp_path))
        assert len(listed) == 2
        await jobs.acancel(info.id)
    await asyncio.to_thread(delete_ended, settings, 0.0)
    assert await asyncio.to_thread(_holding_canary, tmp_path) == []


async def test_compaction_deletes_the_shards_of_jobs_that_failed_before_an_erasure(tmp_path: Path) -> None:
    """With the jobs themselves."""
    settings = Settings.load(data_dir=tmp_path / "data")
    async with Jobs(settings.data_dir / "jobs", [taking]) as jobs:
        assert isinstance(jobs.backend, SQLJobBackend)
        await jobs.aopen()
        await _end(jobs, "failed", JobState.FAILED)
    _write_shards(settings.data_dir / "files", ["failed"])
    assert await asyncio.to_thread(delete_ended, settings, time.time() + 1) == 1
    assert await asyncio.to_thread(_holding_canary, tmp_path) == []
