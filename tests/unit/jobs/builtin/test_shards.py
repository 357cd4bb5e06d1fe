"""Imports in shards store what imports in one job store, record by record."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from tests.unit.jobs.builtin.test_builtin import working

from super_advanced_agents.agents import AsyncLLMAgent
from super_advanced_agents.errors import JobError
from super_advanced_agents.jobs import Jobs
from super_advanced_agents.tenancy.runtime import Runtime
from super_advanced_agents.tenancy.settings import Settings
from super_advanced_agents.types import JobState, JSONValue, Record


def _write_first(folder: Path) -> None:
    folder.mkdir(parents=True)
    facts = [{"text": f"Fact {n} is known.", "uid": f"fact-{n}" if n % 5 == 0 else None} for n in range(30)]
    _write_lines(folder / "facts.jsonl", facts)
    _write_lines(folder / "chat.jsonl", [_turn(n) for n in range(20)])
    (folder / "a.md").write_text("# Paris\n\nThe Louvre is a museum.\n")
    (folder / "b.md").write_text("# Cats\n\nCats sleep all day.\n")


def _change(folder: Path) -> None:
    _write_lines(folder / "facts.jsonl", [{"text": f"Fact {n} is known well."} for n in range(3, 30, 2)])
    _write_lines(folder / "chat.jsonl", [_turn(n) for n in (*range(5), *range(100, 107), *range(5, 20))])
    (folder / "moved.md").write_text((folder / "a.md").read_text())
    (folder / "a.md").unlink()
    (folder / "b.md").write_text("# Dogs\n\nDogs run.\n\n# Cats\n\nCats sleep all night.\n")


def _turn(n: int) -> dict[str, object]:
    return {"speaker": "AB"[n % 2], "text": f"I said thing {n}.", "session": f"day {n % 3}"}


def _write_lines(file: Path, values: list[dict[str, object]]) -> None:
    lines = [json.dumps({name: value for name, value in each.items() if value is not None}) for each in values]
    file.write_text("\n".join(lines))


async def _records(agent: AsyncLLMAgent) -> tuple[dict[str, object], list[tuple[str, str]]]:
    found: list[Record] = await agent.ascan(limit=1_000)
    turns = sorted((record.session, record.place or 0, record.uid) for record in found if record.session)
    values: dict[str, object] = {
        record.uid: (record.text, record.metadata, record.source, record.session) for record in found
    }
    return values, [(session, uid) for session, _, uid in turns]


async def test_import_in_shards_stores_the_same_records(jobs: Jobs, runtime: Runtime, settings: Settings) -> None:
    """Also when files were changed, moved and cut, and in one process with one place in the queue."""
    folder = settings.data_dir / "files" / "default" / "notes"
    agents = {size: runtime.agent_of(runtime.memories("default"), "default", f"by-{size}") for size in (0, 4)}
    async with working(jobs):
        for write in (_write_first, _change):
            await asyncio.to_thread(write, folder)
            results: dict[int, JSONValue] = {}
            for size in agents:
                arguments: dict[str, JSONValue] = {"path": "notes", "agent": f"by-{size}", "sync": True}
                info = await jobs.asubmit("import_files", {**arguments, "shard_size": size})
                results[size] = await jobs.aresult(info.id, timeout_s=120)
            divided = results[4]
            assert isinstance(divided, dict)
            assert isinstance(shards := divided.pop("shards"), int)
            assert shards > 3
            assert divided == results[0]
            assert await _records(agents[4]) == await _records(agents[0])
    assert not list((folder.parent / ".shards").iterdir())


async def test_wrong_sizes_and_shards_are_refused(jobs: Jobs) -> None:
    """The names of files in arguments lead nowhere else."""
    wrong: list[tuple[str, dict[str, JSONValue], str]] = [
        ("import_files", {"path": "notes", "shard_size": -1}, "shard_size"),
        ("import_shard", {"parent": "../x", "number": 0, "digest": ""}, "parent"),
        ("import_shard", {"parent": "x", "number": 0, "digest": ""}, "cannot read the shard"),
    ]
    async with working(jobs):
        for kind, arguments, message in wrong:
            info = await jobs.asubmit(kind, arguments)
            with pytest.raises(JobError, match=message):
                await jobs.aresult(info.id, timeout_s=60)


async def test_shards_of_a_cancelled_import_are_deleted_and_another_import_stores_the_rest(
    jobs: Jobs, settings: Settings
) -> None:
    """The worker deletes them once the job has stopped."""
    folder = settings.data_dir / "files" / "default" / "notes"
    await asyncio.to_thread(_write_first, folder)
    arguments: dict[str, JSONValue] = {"path": "notes", "shard_size": 1}
    async with working(jobs), asyncio.timeout(120):
        info = await jobs.asubmit("import_files", arguments)
        async for seen in jobs.awatch(info.id):
            if seen.done:
                break
        assert list((folder.parent / ".shards").iterdir())
        await jobs.acancel(info.id)
        while list((folder.parent / ".shards").iterdir()):  # noqa: ASYNC110 - a file system has no event
            await asyncio.sleep(0.05)
        assert (await jobs.aget(info.id)).state is JobState.CANCELLED
        whole = await jobs.aresult((await jobs.asubmit("import_files", arguments)).id)
        assert isinstance(whole, dict)
        assert whole["stored"]
        assert whole["known"]
