"""The job that imports files, by the source of each memory as `saa import` does."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from super_advanced_agents._runtime.concurrency.futures import in_thread
from super_advanced_agents.agents import AsyncLLMAgent
from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.jobs.builtin.copies import files_of
from super_advanced_agents.jobs.builtin.maintenance import BULK
from super_advanced_agents.jobs.builtin.shards import (
    agent_of,
    apply_plan,
    ignore,
    import_in_shards,
    result_of,
)
from super_advanced_agents.jobs.context import JobContext
from super_advanced_agents.jobs.kinds import job
from super_advanced_agents.tenancy.context import Access
from super_advanced_agents.tenancy.importing.summary import Summary
from super_advanced_agents.types import JSONValue

if TYPE_CHECKING:
    from super_advanced_agents.tenancy.importing.plan import Plan
    from super_advanced_agents.tenancy.importing.shards import Shards

_MAX_SHARD_SIZE = 100_000
_MAX_PARTS = 500_000  # of one file: about 200 bytes each stay in memory until it is compared
_KNOWN = Path("cache", ".imported-files")
_Place: TypeAlias = Path | tuple[str, Path]
"""A file or folder, or the name of an upload with the file that holds its bytes."""


@job(queue=BULK, timeout_s=7 * 86_400.0, upload="upload")
async def import_files(
    context: JobContext,
    path: str = "",
    *,
    upload: str | None = None,
    agent: str | None = None,
    memory_type: str = "document",
    file_format: str | None = None,
    sync: bool = False,
    shard_size: int = 0,
) -> dict[str, JSONValue]:
    """Make an agent's memories follow an upload, or a file or folder of the tenant.

    Files lie in the tenant's folder in `files_dir`.
    What is new is stored, what was changed is replaced, and nothing is doubled. Each batch is durable, so that an
    interrupted job stores only the rest. One import of a file or folder, however its path is written, and of uploads of
    one name runs at a time.

    Args:
        context: the job.
        path: a file, a zip file or a folder, relative to the tenant's folder.
        upload: a file or a zip file that was uploaded, in place of `path`; one of the same name follows it.
        agent: the agent; the default one when None.
        memory_type: the label of memories from documents.
        file_format: the format of all files; the content of each tells when None.
        sync: also delete the memories of files and entries that are gone.
        shard_size: the memories that a worker stores at a time, up to 100,000, to share the import between all
            workers, which need the same `files_dir`; 0 to store everything in this job.
    """
    if not 0 <= shard_size <= _MAX_SHARD_SIZE:
        raise InvalidInputError(f"shard_size must be from 0 to {_MAX_SHARD_SIZE}", field="shard_size")
    for access in (Access.WRITE, Access.READ):
        context.require(access)
    folder = files_of(context.runtime, context.tenant)
    if (upload is None) is not bool(path):
        raise InvalidInputError("an import needs a path or an upload, and not both", field="path")
    target = agent_of(context, agent)
    summary, ended = Summary(), threading.Event()
    try:
        async with _place(context, folder, path) as place:
            await context.take_key(await in_thread(lambda: _key(folder, place), name="key of import"))
            known = context.runtime.settings.data_dir / _KNOWN
            options = _Options(place, memory_type, file_format, sync, known, ended)
            if shard_size:
                return await import_in_shards(
                    context, agent, folder, partial(_plan_shards, options, target, shard_size)
                )
            async with context.reporting("imports memories") as report:
                await in_thread(lambda: _import(options, target, summary, report), name="import files")
    finally:
        ended.set()
    return result_of(summary, folder)


@dataclass(frozen=True, slots=True)
class _Options:
    place: _Place
    memory_type: str
    file_format: str | None
    sync: bool
    known: Path
    ended: threading.Event


@contextmanager
def _planned(options: _Options, target: AsyncLLMAgent, summary: Summary) -> Iterator[Plan]:
    # Imported here, as an idle server has no use for the parsers of files: 3 MB.
    from super_advanced_agents.formats import FORMAT_NAMES, UNDERSTOOD
    from super_advanced_agents.formats.parser_process import ParserProcess
    from super_advanced_agents.tenancy.importing.files import Inputs, file_to_parse
    from super_advanced_agents.tenancy.importing.locations import Locations
    from super_advanced_agents.tenancy.importing.planning import Planning
    from super_advanced_agents.tenancy.importing.uploaded import UploadedInputs

    place = options.place
    if options.file_format is not None and options.file_format not in FORMAT_NAMES:
        raise InvalidInputError(
            f"there is no format {options.file_format[:64]!r}",
            field="file_format",
            hint=f"use one of {', '.join(FORMAT_NAMES)}",
        )
    with ExitStack() as stack:
        parser = stack.enter_context(ParserProcess(options.ended))
        planning = Planning(
            inputs=UploadedInputs(*place, stack) if isinstance(place, tuple) else Inputs([place], stack),
            locations=Locations(None if isinstance(place, tuple) else options.known),
            memory_type=options.memory_type,
            forced=options.file_format,
            sync=options.sync,
            summary=summary,
            on_rejected=ignore,
            read=lambda file, format_: parser.read(file_to_parse(file, format_)),
            max_parts=_MAX_PARTS,
        )
        summary.passed_over = planning.inputs.passed_over
        files = list(planning.inputs.find())
        if not files and not options.sync:
            raise InvalidInputError("there are no files to import", field="path", hint=f"understood are {UNDERSTOOD}")
        with closing(planning.plan(files, target)) as plan:
            planning.locations.save()
            yield plan


def _import(
    options: _Options,
    target: AsyncLLMAgent,
    summary: Summary,
    report: Callable[[int, int | None], None],
) -> None:
    with _planned(options, target, summary) as plan:
        apply_plan(plan, target, summary, report, options.ended)


def _plan_shards(options: _Options, target: AsyncLLMAgent, size: int, shards_folder: Path) -> tuple[Summary, Shards]:
    from super_advanced_agents.tenancy.importing.shards import write_shards

    summary = Summary()
    with _planned(options, target, summary) as plan:
        return summary, write_shards(plan, shards_folder, size)


@asynccontextmanager
async def _place(context: JobContext, folder: Path, path: str) -> AsyncIterator[_Place]:
    if path:
        yield await in_thread(lambda: _below(folder, path), name="find files")
        return
    async with context.uploaded() as uploaded:
        yield uploaded


def _key(folder: Path, place: _Place) -> str:
    # The path without links and dots, so that each way to write it is one key.
    return f"upload {place[0]}" if isinstance(place, tuple) else place.relative_to(folder.resolve()).as_posix()


def _below(folder: Path, path: str) -> Path:
    if "\0" in path or not path:
        raise InvalidInputError("path must name a file or a folder", field="path")
    found = (folder / path).resolve()
    if not found.is_relative_to(folder.resolve()) or not found.exists():
        raise InvalidInputError(
            f"there is no file {path[:200]!r} in the tenant's folder; those of callers are uploaded",
            field="path",
            hint="the operator puts files there; your own can be uploaded",
        )
    return found
