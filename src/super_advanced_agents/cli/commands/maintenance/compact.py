"""The command `saa compact`, which removes every byte of what was deleted or has expired."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import Annotated

import typer

from super_advanced_agents.cli.options import AsJson, DataDir
from super_advanced_agents.cli.output import print_json, print_note, print_result, report_errors, without_controls
from super_advanced_agents.cli.recording import record as record_command


@report_errors
def compact(
    *,
    copies_only: Annotated[
        bool, typer.Option("--copies", help="Only list the backups and exports that may hold what was erased.")
    ] = False,
    data_dir: DataDir,
    as_json: AsJson = False,
) -> None:
    """Remove every byte of deleted and expired memories, and list older copies.

    No server may use the data folder. Backups, exports and uploads are left alone: those that are older than the
    latest deletion are listed, so that you can delete them. Those of a failed job go with `saa jobs cancel`.
    """
    from super_advanced_agents.jobs.erasing import delete_ended
    from super_advanced_agents.tenancy.data_folder.compacting import compact_data_folder, old_copies
    from super_advanced_agents.tenancy.settings import Settings

    settings = Settings.load(data_dir=data_dir)
    delete_jobs = partial(delete_ended, settings)
    done = None if copies_only else compact_data_folder(data_dir, delete_ended_jobs=delete_jobs)
    copies = old_copies(settings)
    if done is not None:
        paths = [copy.path for copy in copies]
        record_command(data_dir, "compact", tenant="", items=done.expired, copies=paths)
    if as_json:
        listed = [{"path": str(copy.path), "made_at": copy.made_at} for copy in copies]
        print_json({**({} if done is None else asdict(done)), "copies": listed})
        return
    if done is not None:
        print_result(
            f"Compacted {done.databases} databases, removed {done.removed} indexes and caches, {done.expired} expired "
            f"memories and {done.jobs} ended jobs ({done.freed_bytes / 2**20:.1f} MiB freed)."
        )
        if done.waiting:
            print_note(f"{done.waiting} memories have expired only now: run this again in a minute to remove them.")
    for copy in copies:
        made_at = datetime.fromtimestamp(copy.made_at, UTC).isoformat(timespec="seconds")
        print_result(f"{made_at}  {without_controls(str(copy.path))}")
    if copies:
        print_note("These copies are older than the latest deletion, and may hold what was deleted.")
    elif copies_only:
        print_note("No known copy is older than the latest deletion.")
