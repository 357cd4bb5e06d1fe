"""Entries of the audit log for what commands do to a data folder."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from super_advanced_agents.cli.output import print_note
from super_advanced_agents.config import DEFAULT_TENANT


def record(
    data_dir: Path,
    operation: str,
    *,
    target: str = "",
    tenant: str = DEFAULT_TENANT,
    items: int | None = None,
    path: Path | None = None,
    copies: Sequence[Path] | None = None,
) -> None:
    """Append what a command has done to the audit log of a data folder; a failure is a note.

    Args:
        data_dir: the data folder.
        operation: the name of the operation.
        target: the agent, collection or key that it is about.
        tenant: the tenant whose data it is about; empty for all.
        items: the number of records.
        path: where a copy of the data was written.
        copies: the copies that may still hold what was erased.
    """
    from super_advanced_agents.errors import SuperAdvancedAgentsError
    from super_advanced_agents.tenancy.data_folder.recording import record_entry
    from super_advanced_agents.tenancy.settings import Settings

    try:
        record_entry(
            Settings.load(data_dir=data_dir),
            operation,
            key_id=f"user:{os.getuid()}",
            protocol="command",
            target=target,
            tenant=tenant,
            items=items,
            path=path,
            copies=copies,
        )
    except (OSError, SuperAdvancedAgentsError) as exc:
        print_note(f"The audit log could not be written: {exc}")


@contextmanager
def recorded_expiries(data_dir: Path) -> Iterator[None]:
    """Enter a context whose end appends how many expired records the process has deleted in it.

    Args:
        data_dir: the data folder.
    """
    from super_advanced_agents.telemetry import counter

    expired = counter("store_records_expired")
    before = expired.value
    try:
        yield
    finally:
        if expired.value > before:
            record(data_dir, "expire", tenant="", items=int(expired.value - before))
