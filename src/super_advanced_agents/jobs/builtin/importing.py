"""The job that imports files, by the source of each memory as `saa import` does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from super_advanced_agents._runtime.concurrency.futures import in_thread
from super_advanced_agents.agents import AsyncLLMAgent
from super_advanced_agents.errors import InvalidInputError, ResourceClosedError
from super_advanced_agents.jobs.builtin.copies import files_of
from super_advanced_agents.jobs.builtin.upkeep import BULK
from super_advanced_agents.jobs.context import JobContext
from super_advanced_agents.jobs.kinds import job
from super_advanced_agents.tenancy.context import Access
from super_advanced_agents.tenancy.importing.summary import RejectedLine, Summary
from super_advanced_agents.types import JSONValue

if TYPE_CHECKING:
    from super_advanced_agents.tenancy.importing.planning import Planning

_SHOWN = 20


@job(queue=BULK, timeout_s=7 * 86_400.0, key="path")
async def import_files(
    context: JobContext,
    path: str,
    *,
    agent: str | None = None,
    memory_type: str = "document",
    file_format: str | None = None,
    sync: bool = False,
) -> dict[str, JSONValue]:
    """Make an agent's memories follow a file or folder below the tenant's folder in `files_dir`.

    What is new is stored, what was changed is replaced, and nothing is doubled. Each batch is durable, so that an
    interrupted job stores only the rest. One import of a path runs at a time.

    Args:
        context: the job.
        path: a file, a zip file or a folder, relative to the tenant's folder.
        agent: the agent; the default one when None.
        memory_type: the label of memories from documents.
        file_format: the format of all files; the content of each tells when None.
        sync: also delete the memories of files and entries that are gone.
    """
    for access in (Access.WRITE, Access.READ):
        context.require(access)
    folder = files_of(context.runtime, context.tenant)
    place = await in_thread(lambda: _below(folder, path), name="find files")
    workspace = context.workspace
    target = workspace.default_agent if agent is None else workspace.agent(agent)
    summary, ended = Summary(), threading.Event()
    known = context.runtime.settings.data_dir / "cache" / ".imported-files"

    def run(report: Callable[[int, int | None], None]) -> None:
        # Here, as an idle server has no use for the parsers of files: 3 MB.
        from super_advanced_agents.formats import FORMAT_NAMES
        from super_advanced_agents.tenancy.importing.files import Inputs
        from super_advanced_agents.tenancy.importing.locations import Locations
        from super_advanced_agents.tenancy.importing.planning import Planning

        if file_format is not None and file_format not in FORMAT_NAMES:
            raise InvalidInputError(
                f"there is no format {file_format[:64]!r}",
                field="file_format",
                hint=f"use one of {', '.join(FORMAT_NAMES)}",
            )
        with ExitStack() as stack:
            planning = Planning(
                inputs=Inputs([place], stack),
                locations=Locations(known),
                memory_type=memory_type,
                forced=file_format,
                sync=sync,
                summary=summary,
                on_rejected=_ignore,
            )
            _import(planning, target, report, ended)

    try:
        async with context.reporting("imports memories") as report:
            await in_thread(partial(run, report), name="import files")
    finally:
        ended.set()
    return {
        "stored": summary.stored,
        "replaced": summary.replaced,
        "known": summary.known,
        "deleted": summary.deleted,
        "kept": summary.kept,
        "files": summary.files,
        "failed": summary.failed,
        "rejected": [
            f"{line.location.source.removeprefix(str(folder))}:{line.location.line}: {line.reason}"
            for line in summary.rejected_lines[:_SHOWN]
        ],
        "passed_over": dict(summary.passed_over),
    }


def _import(
    planning: Planning, target: AsyncLLMAgent, report: Callable[[int, int | None], None], ended: threading.Event
) -> None:
    from super_advanced_agents.formats import UNDERSTOOD
    from super_advanced_agents.tenancy.importing.applying import Applier

    planning.summary.passed_over = planning.inputs.passed_over
    files = list(planning.inputs.find())
    if not files and not planning.sync:
        raise InvalidInputError("there are no files to import", field="path", hint=f"understood are {UNDERSTOOD}")
    with closing(planning.plan(files, target)) as plan:
        planning.locations.save()
        done = 0

        def on_stored(count: int) -> None:
            nonlocal done
            done += count
            report(done, plan.to_store)
            if ended.is_set():
                raise ResourceClosedError("the import was stopped", hint="start it again: it stores the rest")

        Applier(target, summary=planning.summary, on_stored=on_stored, on_rejected=_ignore).apply(plan)


def _ignore(rejected: RejectedLine) -> None:
    del rejected  # the summary keeps the first ones


def _below(folder: Path, path: str) -> Path:
    if "\0" in path or not path:
        raise InvalidInputError("path must name a file or a folder", field="path")
    found = (folder / path).resolve()
    if not found.is_relative_to(folder.resolve()) or not found.exists():
        raise InvalidInputError(
            f"there is no file {path[:200]!r} in the tenant's folder",
            field="path",
            hint="the operator puts files there",
        )
    return found
