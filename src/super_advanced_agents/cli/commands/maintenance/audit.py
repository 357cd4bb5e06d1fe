"""The commands `saa audit verify` and `saa audit tail`, on the audit log of a data folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from super_advanced_agents.cli.options import AsJson, DataDir
from super_advanced_agents.cli.output import (
    FAILED,
    print_json,
    print_note,
    print_result,
    report_errors,
    without_controls,
)

if TYPE_CHECKING:
    from super_advanced_agents.tenancy.data_folder.audit_files import AuditFiles

audit = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Check and read the audit log. A server may use the data folder meanwhile.",
)


@audit.command("verify")
@report_errors
def verify(
    *,
    head: Annotated[
        str, typer.Option("--head", help="A head that this command printed before; it must be in the log.")
    ] = "",
    data_dir: DataDir,
    as_json: AsJson = False,
) -> None:
    """Check that no entry of the audit log was changed, left out or moved, and print its head.

    Note the head elsewhere: it finds a log that was replaced as a whole, too.
    """
    found = _files(data_dir).verify(head)
    if as_json:
        print_json({"entries": found.entries, "head": found.head, "faults": found.faults})
    else:
        print_result(f"{found.entries} entries, head {found.head}")
        for fault in found.faults:
            print_result(f"NOT AS WRITTEN: {without_controls(fault)}")
    if found.faults:
        raise typer.Exit(FAILED)


@audit.command("tail")
@report_errors
def tail(
    *,
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=100_000, help="How many entries.")] = 20,
    tenant: Annotated[str | None, typer.Option("--tenant", help="Only of this tenant.")] = None,
    data_dir: DataDir,
    as_json: AsJson = False,
) -> None:
    """Print the latest entries of the audit log, oldest first."""
    entries = _files(data_dir).newest(tenant=tenant, limit=count)[::-1]
    if as_json:
        print_json({"entries": entries})
        return
    for entry in entries:
        words = [f"{name}={without_controls(str(value))}" for name, value in entry.items() if name not in _PLAIN]
        print_result(" ".join([*(str(entry.get(name, "")) for name in ("seq", "at", "operation")), *words]))
    if not entries:
        print_note("No entries.")


_PLAIN = frozenset({"seq", "at", "operation", "hash"})


def _files(data_dir: Path) -> AuditFiles:
    from super_advanced_agents.tenancy.data_folder.audit_files import AUDIT_FOLDER, AuditFiles

    return AuditFiles(data_dir / AUDIT_FOLDER)
