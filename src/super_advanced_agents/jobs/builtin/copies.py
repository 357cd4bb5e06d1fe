"""Jobs that copy data: backups of the data folder with retention, and exports of a tenant."""

from __future__ import annotations

import re
import shutil
import threading
from functools import partial
from pathlib import Path
from typing import Literal

from super_advanced_agents._runtime.concurrency.futures import in_thread
from super_advanced_agents._runtime.disk.files import private_folder
from super_advanced_agents.errors import ConfigurationError, InvalidInputError, ResourceClosedError, StoreError
from super_advanced_agents.jobs.builtin.maintenance import BULK
from super_advanced_agents.jobs.context import JobContext
from super_advanced_agents.jobs.kinds import job
from super_advanced_agents.stores.local.maintenance import read_backup
from super_advanced_agents.telemetry import get_logger
from super_advanced_agents.tenancy.context import Access
from super_advanced_agents.tenancy.data_folder.exporting import export_data_folder
from super_advanced_agents.tenancy.data_folder.recording import record_entry
from super_advanced_agents.tenancy.data_folder.saving import back_up_data_folder
from super_advanced_agents.tenancy.runtime import Runtime
from super_advanced_agents.types import JSONValue

_log = get_logger("jobs")
_EXPORT = re.compile(r"export-[A-Za-z0-9_-]{1,64}\.(jsonl|parquet)")
_NAME = re.compile(r"backup-[A-Za-z0-9_-]{1,64}")


@job(queue=BULK, timeout_s=86_400.0, operator=True)
async def backup(context: JobContext, keep: int = 7) -> dict[str, JSONValue]:
    """Back up the data folder below `backups_dir`, and delete the oldest backups.

    Reads and writes go on meanwhile. A cancelled backup leaves nothing behind.

    Args:
        context: the job.
        keep: the number of backups to keep, this one included, 1 to 1,000.
    """
    _check_keep(keep)
    settings = context.runtime.settings
    if not settings.has_own_store:
        raise ConfigurationError("the memories are not in the data folder", hint="copy their store with its own tools")
    folder = settings.backups_dir or settings.data_dir / "backups"
    target = folder / f"backup-{context.job_id}"
    made = await context.step("copy", _back_up, context, settings.data_dir, target)
    await _record(context, "backup", tenant="", items=made["records"], path=target)
    deleted = await in_thread(lambda: _delete_oldest(folder, keep), name="delete backups")
    return {**made, "name": target.name, "deleted": deleted}


async def _back_up(context: JobContext, data_dir: Path, target: Path) -> dict[str, JSONValue]:
    ended = threading.Event()

    def copy(report: object) -> dict[str, JSONValue]:
        private_folder(target.parent)
        try:
            found = read_backup(target)  # an earlier attempt made it, and ended before it could say so
        except StoreError:
            found = back_up_data_folder(data_dir, target, on_copied=on_copied).backup
        return {"records": found.records, "size_bytes": sum(file.size_bytes for file in found.files)}

    try:
        async with context.reporting("copies databases") as report:

            def on_copied(done: int, total: int) -> None:
                if ended.is_set():
                    raise ResourceClosedError("the backup was stopped", hint="start it again")
                report(done, total)

            return await in_thread(partial(copy, report), name="back up")
    finally:
        ended.set()


def _delete_oldest(folder: Path, keep: int) -> int:
    # Only folders that a job made and that are whole backups count, by the time in their ids.
    found = sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name) and (path / "backup.json").is_file())
    old = found[:-keep]
    for path in old:
        shutil.rmtree(path)
    return len(old)


@job(queue=BULK, timeout_s=86_400.0)
async def export(
    context: JobContext,
    namespace: str | None = None,
    file_format: Literal["jsonl", "parquet"] = "jsonl",
    vectors: bool = True,
    keep: int = 10,
) -> dict[str, JSONValue]:
    """Export the tenant's memories, settings and collections to a file below `files_dir`.

    The oldest exports beyond `keep` are deleted.

    Args:
        context: the job.
        namespace: the namespace to export, without collections; all when None.
        file_format: `"jsonl"` or `"parquet"`.
        vectors: False leaves out the vectors, and the collections.
        keep: the number of exports to keep, this one included, 1 to 1,000.
    """
    context.require(Access.READ)
    _check_keep(keep)
    folder = files_of(context.runtime, context.tenant) / "exports"
    target = folder / f"export-{context.job_id}.{file_format}"

    def write(report: object) -> int:
        private_folder(folder)
        on_records = partial(_report_records, report)
        return export_data_folder(
            context.runtime.settings,
            target,
            file_format=file_format,
            tenant=context.tenant,
            namespace=namespace,
            vectors=vectors,
            on_records=on_records,
        ).records

    async with context.reporting("writes records") as report:
        records = await in_thread(partial(write, report), name="export")
    await _record(context, "export", tenant=context.tenant, items=records, path=target)
    deleted = await in_thread(lambda: _delete_oldest_exports(folder, keep), name="delete exports")
    return {"records": records, "name": f"exports/{target.name}", "deleted": deleted}


def _delete_oldest_exports(folder: Path, keep: int) -> int:
    # Only files that a job made count, by the time in their ids.
    old = sorted(path for path in folder.iterdir() if _EXPORT.fullmatch(path.name))[:-keep]
    for path in old:
        path.unlink(missing_ok=True)
    return len(old)


def _check_keep(keep: int) -> None:
    if not 1 <= keep <= 1_000:
        raise InvalidInputError("keep must be from 1 to 1000", field="keep")


async def _record(context: JobContext, operation: str, *, tenant: str, items: JSONValue, path: Path) -> None:
    # Lets a later erasure list this copy, which may be outside the data folder.
    settings, key_id = context.runtime.settings, f"job:{context.job_id}"
    count = items if isinstance(items, int) else None
    entry = partial(
        record_entry, settings, operation, key_id=key_id, protocol="job", tenant=tenant, items=count, path=path
    )
    try:
        await in_thread(entry, name="record copy")
    except (OSError, StoreError) as exc:
        if settings.audit_fails_closed:
            raise
        _log.error("jobs.copy_not_recorded", extra={"operation": operation, "reason": str(exc)})


def _report_records(report: object, done: int) -> None:
    assert callable(report)
    report(done, None)


def files_of(runtime: Runtime, tenant: str) -> Path:
    """Return the folder of a tenant's files, which the names in arguments of jobs refer to."""
    return runtime.settings.files_folder / tenant
