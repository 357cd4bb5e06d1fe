"""Imports of uploads, and the migration of a store by a job."""

from __future__ import annotations

import zipfile
from io import BytesIO
from pathlib import Path

import pytest
from tests.unit.jobs.builtin.test_builtin import working

from super_advanced_agents.errors import JobError
from super_advanced_agents.jobs import Jobs
from super_advanced_agents.jobs.builtin import BUILTIN
from super_advanced_agents.tenancy.runtime import Runtime
from super_advanced_agents.tenancy.settings import Settings
from super_advanced_agents.types import JSONValue


async def _import(jobs: Jobs, name: str, content: bytes) -> dict[str, JSONValue]:
    info = await jobs.uploads.acreate(name)
    await jobs.uploads.aadd_part(info.id, 0, content)
    job = await jobs.asubmit("import_files", {"upload": info.id})
    result = await jobs.aresult(job.id, timeout_s=60)
    assert isinstance(result, dict)
    return result


def _zip(**files: bytes) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(f"{name}.md", content)
    return buffer.getvalue()


async def test_file_that_is_no_text_in_a_zip_is_named_and_the_rest_is_stored(
    runtime: Runtime, settings: Settings, place: Path | str
) -> None:
    """An upload of the same name follows: what changed is replaced, and nothing is doubled."""
    async with Jobs(place, BUILTIN, runtime=runtime) as jobs:
        await jobs.aopen()
        async with working(jobs):
            first = await _import(
                jobs, "notes.zip", _zip(a=b"Ann likes tea.", b=b"\xff\xfe\x00\xd8 no text", c=b"Bob.")
            )
            assert first["stored"] == 2
            assert (first["passed_over"], first["not_understood"]) == ({".md": 1}, ["notes.zip/b.md"])
            second = await _import(jobs, "notes.zip", _zip(a=b"Ann likes coffee.", c=b"Bob."))
            assert (second["replaced"], second["known"]) == (1, 1)
        assert {match.source for match in await runtime.agent(settings.agent).asearch_text("Ann", 5)} == {
            "notes.zip/a.md",
            "notes.zip/c.md",
        }
        assert not list((settings.data_dir / "cache").glob("uploads/*"))


async def test_import_needs_a_path_or_an_upload(jobs: Jobs) -> None:
    """Neither, or both, is an error that is not tried again."""
    async with working(jobs):
        info = await jobs.asubmit("import_files")
        with pytest.raises(JobError, match="a path or an upload"):
            await jobs.aresult(info.id, timeout_s=60)


@pytest.mark.blocks_loop  # that of the thread in which it runs
async def test_migration_copies_everything_to_the_store_of_the_operator(
    jobs: Jobs, runtime: Runtime, settings: Settings, tmp_path: Path
) -> None:
    """Without one it says whose word it needs."""
    await runtime.agent("ann").aadd_text_memories(["one", "two"])
    async with working(jobs):
        refused = await jobs.asubmit("migrate")
        with pytest.raises(JobError, match="no store to move to"):
            await jobs.aresult(refused.id, timeout_s=60)
    moving = Settings.load(data_dir=settings.data_dir, migrate_to=f"faiss:{tmp_path / 'moved'}")
    runtime.settings = moving
    async with working(jobs):
        info = await jobs.asubmit("migrate")
        result = await jobs.aresult(info.id, timeout_s=60)
    assert isinstance(result, dict)
    assert (result["equal"], result["copied"]) == (True, 2)
