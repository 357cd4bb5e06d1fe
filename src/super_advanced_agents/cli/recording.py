"""Entries of the audit log for what commands do to a data folder."""

from __future__ import annotations

import os
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
) -> None:
    """Append what a command has done to the audit log of a data folder; a failure is a note.

    Args:
        data_dir: the data folder.
        operation: the name of the operation.
        target: the agent, collection or key that it is about.
        tenant: the tenant whose data it is about; empty for all.
        items: the number of records.
        path: where a copy of the data was written.
    """
    from super_advanced_agents.errors import SuperAdvancedAgentsError
    from super_advanced_agents.tenancy.data_folder.audit_files import AUDIT_FOLDER, AuditFiles
    from super_advanced_agents.tenancy.settings import Settings
    from super_advanced_agents.types import JSONValue

    if not data_dir.is_dir() or Settings.load(data_dir=data_dir).audit == "off":
        return
    entry: dict[str, JSONValue] = {
        "tenant": tenant,
        "key_id": f"user:{os.getuid()}",
        "from": "",
        "protocol": "command",
        "operation": operation,
        "target": target,
        "outcome": "ok",
    }
    if items is not None:
        entry["items"] = items
    if path is not None:
        entry["path"] = str(path.absolute())
    try:
        AuditFiles(data_dir / AUDIT_FOLDER).append([entry])
    except (OSError, SuperAdvancedAgentsError) as exc:
        print_note(f"The audit log could not be written: {exc}")
