"""Uploads: files of callers, in parts, within quotas, for one job each."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.jobs.kinds import running

from super_advanced_agents.config import DEFAULT_TENANT
from super_advanced_agents.errors import CorruptStoreError, InvalidInputError, JobNotFoundError
from super_advanced_agents.jobs import JobContext, JobKind, JobLimits, Jobs, JobState, SQLJobBackend, job
from super_advanced_agents.jobs.backend import Outcome
from super_advanced_agents.jobs.sql.uploads import UNUSED_S
from super_advanced_agents.tenancy.context import Access, Principal

OTHER = Principal(tenant="other", scopes=frozenset({Access.JOBS}), key_id="other")
_PARTS = [b"one ", b"two ", b"three"]


@job(upload="upload")
async def using(context: JobContext, upload: str) -> str:
    """Take an upload."""
    del context
    return upload


_KINDS: list[JobKind] = [using]


async def _uploaded(jobs: Jobs, tenant: str = DEFAULT_TENANT) -> str:
    info = await jobs.uploads.acreate("notes.txt", tenant=tenant)
    for part in _PARTS:
        info = await jobs.uploads.aadd_part(info.id, info.size_bytes, part, tenant=tenant)
    assert info.size_bytes == len(b"".join(_PARTS))
    return info.id


async def _two(jobs: Jobs) -> None:
    for _ in range(2):
        await _uploaded(jobs)


def _files(place: Path | str) -> list[Path]:
    return sorted((place / "uploads").iterdir()) if isinstance(place, Path) else []


async def test_upload_is_read_whole_and_deleted_when_its_job_has_succeeded(place: Path | str, tmp_path: Path) -> None:
    """Only its owner may read the file."""
    async with Jobs(place, _KINDS) as jobs:
        await jobs.aopen()
        upload_id = await _uploaded(jobs)
        for file in _files(place):
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
        info = await jobs.asubmit(using, {"upload": upload_id})
        await jobs.backend.aheartbeat("one", ["using"], ["default"])
        [claimed] = await jobs.backend.aclaim("one", {"default": 1}, ["using"], JobLimits())
        found, file = await jobs.backend.afetch_upload(claimed, tmp_path / "fetched")
        assert (found.name, await asyncio.to_thread(file.read_bytes)) == ("notes.txt", b"".join(_PARTS))
        assert [each.job for each in await jobs.uploads.alist()] == [info.id]
        await jobs.backend.afinish(claimed, Outcome(state=JobState.SUCCEEDED, result=b"1"))
        assert await jobs.uploads.alist() == []
        assert _files(place) == []
        if isinstance(jobs.backend, SQLJobBackend):
            rows = await jobs.backend._read(lambda db: db.execute("SELECT count(*) FROM job_upload_parts"))
            assert rows[0][0] == 0


async def test_failed_job_keeps_its_upload_for_a_retry(place: Path | str) -> None:
    """It goes with the job at last."""
    async with Jobs(place, _KINDS) as jobs:
        await jobs.aopen()
        await jobs.asubmit(using, {"upload": await _uploaded(jobs)})
        await jobs.backend.aheartbeat("one", ["using"], ["default"])
        [claimed] = await jobs.backend.aclaim("one", {"default": 1}, ["using"], JobLimits())
        await jobs.backend.afinish(claimed, Outcome(state=JobState.FAILED, error="failed"))
        [kept] = await jobs.uploads.alist()
        with pytest.raises(InvalidInputError, match="a job uses"):
            await jobs.uploads.adelete(kept.id)
        assert await jobs.backend.asweep(succeeded_s=0, failed_s=0) == 1
        assert await jobs.uploads.alist() == []
        assert _files(place) == []


async def test_part_that_is_sent_again_is_stored_once_and_a_gap_is_refused(place: Path | str) -> None:
    """The answer says where to go on."""
    async with Jobs(place, _KINDS) as jobs:
        await jobs.aopen()
        info = await jobs.uploads.acreate("notes.txt", upload_id="mine")
        assert await jobs.uploads.acreate("notes.txt", upload_id="mine") == info
        for _ in range(2):
            info = await jobs.uploads.aadd_part("mine", 0, b"abc")
        assert info.size_bytes == 3
        for offset in (2, 9):
            with pytest.raises(InvalidInputError, match="3 bytes"):
                await jobs.uploads.aadd_part("mine", offset, b"x")


async def test_uploads_of_another_tenant_are_not_there(place: Path | str) -> None:
    """Neither to be read, nor grown, nor deleted, nor used."""
    async with Jobs(place, _KINDS) as jobs:
        await jobs.aopen()
        upload_id = await _uploaded(jobs)
        assert await jobs.uploads.alist(tenant="other") == []
        with pytest.raises(JobNotFoundError):
            await jobs.uploads.aadd_part(upload_id, 0, b"x", tenant="other")
        with pytest.raises(JobNotFoundError):
            await jobs.uploads.adelete(upload_id, tenant="other")
        for upload in (upload_id, "../jobs.db"):
            with pytest.raises(InvalidInputError, match="no upload"):
                await jobs.asubmit(using, {"upload": upload}, by=OTHER)
        assert await jobs.alist(tenant="other") == []
        await jobs.asubmit(using, {"upload": upload_id})
        with pytest.raises(InvalidInputError, match="no upload"):
            await jobs.asubmit(using, {"upload": upload_id})
        with pytest.raises(InvalidInputError, match="one job"):
            await jobs.aput_schedule("daily", using, "0 7 * * *", {"upload": upload_id})


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        (JobLimits(upload_bytes=10), "may have 10 bytes"),
        (JobLimits(uploads_bytes=20), "20 bytes together"),
        (JobLimits(uploads=1), "1 uploads"),
    ],
)
async def test_uploads_of_a_tenant_are_limited(place: Path | str, limits: JobLimits, says: str) -> None:
    """What is deleted makes room; another tenant has room of its own."""
    async with Jobs(place, _KINDS, limits=limits) as jobs:
        await jobs.aopen()
        with pytest.raises(InvalidInputError, match=says):
            await _two(jobs)
        for info in await jobs.uploads.alist():
            await jobs.uploads.adelete(info.id)
        assert _files(place) == []
        await jobs.uploads.acreate("notes.txt")
        await jobs.uploads.acreate("notes.txt", tenant="other")


async def test_unused_upload_is_deleted_after_a_day(place: Path | str) -> None:
    """Its last part begins the day."""
    async with Jobs(place, _KINDS) as jobs:
        await jobs.aopen()
        await _uploaded(jobs)
        await jobs.backend.asweep(succeeded_s=60, failed_s=60)
        assert len(await jobs.uploads.alist()) == 1
        assert isinstance(jobs.backend, SQLJobBackend)
        await jobs.backend._write(lambda db: db.execute(f"UPDATE job_uploads SET changed_at = changed_at - {UNUSED_S}"))
        await jobs.backend.asweep(succeeded_s=60, failed_s=60)
        assert await jobs.uploads.alist() == []
        assert _files(place) == []


async def test_interrupted_part_is_written_again(folder: Path, tmp_path: Path) -> None:
    """What it left behind the noted size is overwritten, or cut off."""
    async with Jobs(folder, _KINDS) as jobs:
        await jobs.aopen()
        info = await jobs.uploads.acreate("notes.txt")
        await jobs.uploads.aadd_part(info.id, 0, b"abc")
        [file] = _files(folder)
        await asyncio.to_thread(file.write_bytes, b"abcXXXX")
        await jobs.uploads.aadd_part(info.id, 3, b"d")
        await jobs.asubmit(using, {"upload": info.id})
        await jobs.backend.aheartbeat("one", ["using"], ["default"])
        [claimed] = await jobs.backend.aclaim("one", {"default": 1}, ["using"], JobLimits())
        _, read = await jobs.backend.afetch_upload(claimed, tmp_path)
        assert await asyncio.to_thread(read.read_bytes) == b"abcd"


@pytest.mark.parametrize("lose", [Path.unlink, lambda file: os.truncate(file, 3)], ids=["removed", "cut"])
async def test_part_behind_lost_bytes_is_refused(folder: Path, lose: Callable[[Path], None]) -> None:
    """It would stand behind a hole, and a job would import that in silence."""
    async with Jobs(folder, _KINDS) as jobs:
        await jobs.aopen()
        upload_id = await _uploaded(jobs)
        [file] = _files(folder)
        lose(file)
        with pytest.raises(CorruptStoreError, match="upload"):
            await jobs.uploads.aadd_part(upload_id, len(b"".join(_PARTS)), b"four")
        info = await jobs.asubmit(using, {"upload": upload_id})
        await jobs.backend.aheartbeat("one", ["using"], ["default"])
        [claimed] = await jobs.backend.aclaim("one", {"default": 1}, ["using"], JobLimits())
        assert claimed.id == info.id
        with pytest.raises(CorruptStoreError, match=r"gone|lost"):
            await jobs.backend.afetch_upload(claimed, folder)


async def test_job_without_the_upload_kind_runs_beside(place: Path | str) -> None:
    """The result is the id that the job was given."""
    async with Jobs(place, _KINDS) as jobs:
        await jobs.aopen()
        upload_id = await _uploaded(jobs)
        async with running(jobs):
            info = await jobs.asubmit(using, {"upload": upload_id})
            assert await jobs.aresult(info.id, timeout_s=30) == upload_id


async def test_file_of_many_parts_is_stored_whole_and_a_missing_one_leaves_no_upload(
    place: Path | str, tmp_path: Path
) -> None:
    """Its name is that of the file, unless another one is given."""
    file = tmp_path / "notes.md"
    content = b"0123456789" * 250_000
    await asyncio.to_thread(file.write_bytes, content)
    async with Jobs(place, _KINDS) as jobs:
        await jobs.aopen()
        with pytest.raises(InvalidInputError, match="cannot be read"):
            await jobs.uploads.aadd_file(tmp_path / "missing.md")
        assert await jobs.uploads.alist() == []
        stored = [await jobs.uploads.aadd_file(file), await jobs.uploads.aadd_file(file, name="a/notes.md")]
        assert [(each.name, each.size_bytes) for each in stored] == [
            ("notes.md", len(content)),
            ("a/notes.md", len(content)),
        ]
        await jobs.asubmit(using, {"upload": stored[0].id})
        await jobs.backend.aheartbeat("one", ["using"], ["default"])
        [claimed] = await jobs.backend.aclaim("one", {"default": 1}, ["using"], JobLimits())
        _, found = await jobs.backend.afetch_upload(claimed, tmp_path / "fetched")
        assert await asyncio.to_thread(found.read_bytes) == content


async def test_bytes_of_an_acknowledged_part_are_those_of_no_other_call(folder: Path) -> None:
    """Two callers send different parts for one place at once, as where one gave up its call and began anew."""
    async with Jobs(folder, []) as jobs:
        await jobs.aopen()
        for _ in range(20):
            upload = (await jobs.uploads.acreate("notes.txt")).id
            calls = [jobs.uploads.aadd_part(upload, 0, letter * 2**18 * n) for n, letter in ((3, b"a"), (1, b"b"))]
            found = await asyncio.gather(*calls, return_exceptions=True)
            [stored] = [each for each in found if not isinstance(each, BaseException)]
            content = await asyncio.to_thread((folder / "uploads" / upload).read_bytes)
            letter = b"a" if stored.size_bytes == 3 * 2**18 else b"b"
            assert content[: stored.size_bytes] == letter * stored.size_bytes
