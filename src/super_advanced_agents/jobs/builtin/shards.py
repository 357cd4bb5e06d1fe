"""Imports that all workers share: one plans, and any of them stores shards of the plan."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from super_advanced_agents._runtime.concurrency.futures import in_thread
from super_advanced_agents.agents import AsyncLLMAgent
from super_advanced_agents.config import checked_name
from super_advanced_agents.errors import ResourceClosedError
from super_advanced_agents.jobs.builtin.copies import files_of
from super_advanced_agents.jobs.builtin.maintenance import BULK
from super_advanced_agents.jobs.context import JobContext
from super_advanced_agents.jobs.dividing import run_parts
from super_advanced_agents.jobs.job_files import shards_folder
from super_advanced_agents.jobs.kinds import job
from super_advanced_agents.tenancy.context import Access
from super_advanced_agents.tenancy.importing.summary import RejectedLine, Summary
from super_advanced_agents.types import JSONValue

if TYPE_CHECKING:
    from super_advanced_agents.tenancy.importing.plan import Plan
    from super_advanced_agents.tenancy.importing.shards import Shards

_SHOWN, _SHOWN_OF_SHARD = 20, 3
_SHOWN_CHARS = 300


@job(queue=BULK, timeout_s=86_400.0)
async def import_shard(
    context: JobContext, parent: str, number: int, digest: str, agent: str | None = None
) -> dict[str, JSONValue]:
    """Store one shard of an import, which the job `import_files` submits.

    Its memories have uids, so that a shard that is stored twice has the same effect.

    Args:
        context: the job.
        parent: the job that planned the import.
        number: the number of the shard.
        digest: the SHA-256 of its file.
        agent: the agent; the default one when None.
    """
    from super_advanced_agents.tenancy.importing.shards import shard_name

    for access in (Access.WRITE, Access.READ):
        context.require(access)
    folder = files_of(context.runtime, context.tenant)
    path = shards_folder(folder, checked_name(parent, "parent")) / shard_name(number)
    summary = await _apply(context, path, digest, agent_of(context, agent), "stores a shard")
    return {
        "stored": summary.stored,
        "replaced": summary.replaced,
        "failed": summary.failed,
        "rejected": _shown(summary, folder, _SHOWN_OF_SHARD),
    }


async def import_in_shards(
    context: JobContext, agent: str | None, folder: Path, plan: Callable[[Path], tuple[Summary, Shards]]
) -> dict[str, JSONValue]:
    """Plan an import, and store it by shards that all workers share.

    Args:
        context: the job.
        agent: the agent; the default one when None.
        folder: the tenant's folder of files.
        plan: plans the import into the files of a folder. Blocks.

    Raises:
        JobError: shards failed; the others are stored.
    """
    from super_advanced_agents.tenancy.importing.shards import FIRST, LAST

    own_folder = shards_folder(folder, context.job_id)
    target = agent_of(context, agent)

    async def plan_once() -> dict[str, JSONValue]:
        await context.progress(0, None, "reads the files")
        summary, shards = await in_thread(lambda: plan(own_folder), name="plan shards")
        return {
            "summary": result_of(summary, folder),
            "parts": [[part.memories, part.digest] for part in shards.parts],
            "first": shards.first.digest,
            "last": shards.last.digest,
        }

    async def take(name: str, digest: str, note: str) -> int:
        return (await _apply(context, own_folder / name, digest, target, note)).deleted

    planned: dict[str, Any] = await context.step("plan", plan_once)
    # A step, so that no later attempt repeats the deletion: it would delete what the shards have stored.
    deleted = await context.step("first", take, FIRST, planned["first"], "deletes memories")
    arguments = [
        {"parent": context.job_id, "number": number, "digest": digest, "agent": agent}
        for number, (_, digest) in enumerate(planned["parts"])
    ]
    units = [memories for memories, _ in planned["parts"]]
    results = await run_parts(context, import_shard, arguments, units, note="imports memories in shards")
    deleted += await context.step("last", take, LAST, planned["last"], "moves and deletes memories")
    await in_thread(lambda: shutil.rmtree(own_folder, ignore_errors=True), name="delete shards")
    whole = {**planned["summary"], "deleted": deleted}
    stored: list[dict[str, Any]] = [result for result in results if isinstance(result, dict)]
    for name in ("stored", "replaced", "failed"):
        whole[name] += sum(shard[name] for shard in stored)
    rejected = [*whole["rejected"], *(line for shard in stored for line in shard["rejected"])]
    return {**whole, "rejected": rejected[:_SHOWN], "shards": len(stored)}


async def _apply(context: JobContext, path: Path, digest: str, target: AsyncLLMAgent, note: str) -> Summary:
    summary, ended = Summary(), threading.Event()

    def run(report: Callable[[int, int | None], None]) -> None:
        from super_advanced_agents.tenancy.importing.shards import reading_shard

        with reading_shard(path, digest) as plan:
            apply_plan(plan, target, summary, report, ended)

    try:
        async with context.reporting(note) as report:
            await in_thread(lambda: run(report), name="import a shard")
    finally:
        ended.set()
    return summary


def apply_plan(
    plan: Plan,
    target: AsyncLLMAgent,
    summary: Summary,
    report: Callable[[int, int | None], None],
    ended: threading.Event,
) -> None:
    """Take all steps of a plan. Blocks.

    Args:
        plan: the plan.
        target: the agent whose memories change.
        summary: counts what is stored and rejected.
        report: called with the number of memories stored, and of those to store.
        ended: set to stop between two batches.

    Raises:
        ResourceClosedError: `ended` was set.
    """
    from super_advanced_agents.tenancy.importing.applying import Applier

    done = 0

    def on_stored(count: int) -> None:
        nonlocal done
        done += count
        report(done, plan.to_store)
        if ended.is_set():
            raise ResourceClosedError("the import was stopped", hint="start it again: it stores the rest")

    Applier(target, summary=summary, on_stored=on_stored, on_rejected=ignore).apply(plan)


def agent_of(context: JobContext, agent: str | None) -> AsyncLLMAgent:
    """Return an agent of the job's tenant; the default one when None."""
    workspace = context.workspace
    return workspace.default_agent if agent is None else workspace.agent(agent)


def ignore(rejected: RejectedLine) -> None:
    """Do nothing with a rejected line: the summary keeps the first ones."""
    del rejected


def result_of(summary: Summary, folder: Path) -> dict[str, JSONValue]:
    """Return the result of an import job.

    Args:
        summary: the outcome.
        folder: the tenant's folder of files, which is not shown.
    """
    return {
        "stored": summary.stored,
        "replaced": summary.replaced,
        "known": summary.known,
        "deleted": summary.deleted,
        "kept": summary.kept,
        "files": summary.files,
        "failed": summary.failed,
        "rejected": _shown(summary, folder, _SHOWN),
        "passed_over": dict(summary.passed_over),
        "not_understood": [source[:_SHOWN_CHARS] for source in summary.not_understood[:_SHOWN]],
    }


def _shown(summary: Summary, folder: Path, n: int) -> list[JSONValue]:
    return [
        f"{line.location.source.removeprefix(str(folder))}:{line.location.line}: {line.reason}"[:_SHOWN_CHARS]
        for line in summary.rejected_lines[:n]
    ]
