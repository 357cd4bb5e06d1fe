"""Shards of an import are kept as long as its job, which may be retried."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from super_advanced_agents.jobs import SQLJobBackend
from super_advanced_agents.jobs.backend import JobLimits, NewJob
from super_advanced_agents.jobs.erasing import delete_ended
from super_advanced_agents.jobs.shard_folders import adelete_unneeded, shards_folder


def _write_shard(files: Path, tenant: str, job_id: str) -> Path:
    folder = shards_folder(files / tenant, job_id)
    folder.mkdir(parents=True)
    (folder / "0").write_text("a text")
    return folder


async def _ended_job(backend: SQLJobBackend, tenant: str) -> str:
    [info] = await backend.asubmit(
        [NewJob(id=f"of-{tenant}", tenant=tenant, kind="import_files", arguments=b"{}", scopes=(), queue="bulk")],
        limits=JobLimits(),
    )
    await backend.acancel(tenant, info.id)
    return info.id


async def test_only_shards_without_a_job_are_deleted(backend: SQLJobBackend, tmp_path: Path) -> None:
    """Jobs of every tenant and state keep theirs."""
    async with backend:
        await backend.aopen()
        needed = [_write_shard(tmp_path, tenant, await _ended_job(backend, tenant)) for tenant in ("acme", "zeta")]
        unneeded = _write_shard(tmp_path, "acme", "gone")
        assert await adelete_unneeded(tmp_path, backend) == 1
        assert not unneeded.exists()
        assert all(folder.exists() for folder in needed)
        await backend.asweep(succeeded_s=0, failed_s=0)
        assert await adelete_unneeded(tmp_path, backend) == 2
        assert not any(folder.exists() for folder in needed)
        assert await adelete_unneeded(tmp_path / "missing", backend) == 0


def test_erasure_deletes_shards_with_their_jobs(folder: Path, tmp_path: Path) -> None:
    """Those of a job that ended later stay, and are listed as copies."""

    async def submit() -> str:
        async with SQLJobBackend(folder) as backend:
            await backend.aopen()
            return await _ended_job(backend, "acme")

    shards = _write_shard(tmp_path, "acme", asyncio.run(submit()))
    assert delete_ended(folder, time.time() - 3600, files_folder=tmp_path) == 0
    assert shards.exists()
    assert delete_ended(folder, time.time() + 1, files_folder=tmp_path) == 1
    assert not shards.exists()
