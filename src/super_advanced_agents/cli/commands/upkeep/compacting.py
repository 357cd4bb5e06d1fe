"""The command `saa compact`, which removes every byte of what was deleted."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
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
    """Remove every byte of deleted memories from a data folder, and list older copies.

    No server may use the data folder. Backups and exports are left alone: those that are older than the latest
    deletion are listed, so that you can delete them.
    """
    from super_advanced_agents.tenancy.data_folder.compacting import compact_data_folder, old_copies

    done = None if copies_only else compact_data_folder(data_dir)
    if done is not None:
        record_command(data_dir, "compact", tenant="", items=done.databases)
    copies = old_copies(data_dir)
    if as_json:
        listed = [{"path": str(copy.path), "made_at": copy.made_at} for copy in copies]
        print_json({**({} if done is None else asdict(done)), "copies": listed})
        return
    if done is not None:
        print_result(
            f"Compacted {done.databases} databases, removed {done.removed} indexes and caches "
            f"({done.freed_bytes / 2**20:.1f} MiB freed)."
        )
    for copy in copies:
        made_at = datetime.fromtimestamp(copy.made_at, UTC).isoformat(timespec="seconds")
        print_result(f"{made_at}  {without_controls(str(copy.path))}")
    if copies:
        print_note("These copies are older than the latest deletion, and may hold what was deleted.")
    elif copies_only:
        print_note("No known copy is older than the latest deletion.")
