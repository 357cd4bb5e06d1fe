"""Entries of the audit log for what commands and jobs do to a data folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from super_advanced_agents.config import DEFAULT_TENANT
from super_advanced_agents.tenancy.data_folder.audit_files import AUDIT_FOLDER, AuditFiles
from super_advanced_agents.tenancy.settings import Settings
from super_advanced_agents.types import JSONValue

_MAX_COPIES = 100


def record_entry(
    settings: Settings,
    operation: str,
    *,
    key_id: str,
    protocol: str,
    target: str = "",
    tenant: str = DEFAULT_TENANT,
    items: int | None = None,
    path: Path | None = None,
    copies: Sequence[Path] | None = None,
) -> None:
    """Append what was done to the audit log of a data folder, unless the settings keep none. Blocks.

    Args:
        settings: they name the data folder.
        operation: the name of the operation.
        key_id: who did it.
        protocol: `command` or `job`.
        target: the agent, collection, key or kind of job that it is about.
        tenant: the tenant whose data it is about; empty for all.
        items: the number of records.
        path: where a copy of the data was written.
        copies: the copies that may still hold what was erased; the first hundred are named.

    Raises:
        OSError: it could not be written.
        StoreError: the folder cannot be created.
        CorruptStoreError: the head of the log is damaged or missing.
    """
    if not settings.data_dir.is_dir() or settings.audit == "off":
        return
    entry: dict[str, JSONValue] = {
        "tenant": tenant,
        "key_id": key_id,
        "from": "",
        "protocol": protocol,
        "operation": operation,
        "target": target,
        "outcome": "ok",
    }
    if items is not None:
        entry["items"] = items
    if path is not None:
        entry["path"] = str(path.absolute())
    if copies is not None:
        entry["copies"] = [str(copied) for copied in copies[:_MAX_COPIES]]
    AuditFiles(settings.data_dir / AUDIT_FOLDER).append([entry])
