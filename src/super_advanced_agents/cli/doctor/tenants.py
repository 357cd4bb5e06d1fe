"""Checks of `saa doctor` for the catalog, collections, keys, modes and backups."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

from super_advanced_agents.cli.doctor.check import Check
from super_advanced_agents.cli.doctor.integrity import check_audit_log, check_databases_of
from super_advanced_agents.cli.doctor.keys import check_keys
from super_advanced_agents.config import CATALOG_FILE, COLLECTIONS_FOLDER, SERVER_FOLDER, STORE_DATABASE, STORE_FOLDER
from super_advanced_agents.errors import SuperAdvancedAgentsError
from super_advanced_agents.stores.local.maintenance import read_backup
from super_advanced_agents.tenancy.data_folder.saving import STORE, read_catalog_of

_GROUP_AND_OTHERS = 0o077
_FOLDERS = (STORE_FOLDER, SERVER_FOLDER, COLLECTIONS_FOLDER, "cache")
_RESTORE = "restore a backup"
_RESTORE_CATALOG = "put the file back, or restore a backup; without it nobody knows whose the collections are"


def check_server_data(data_dir: Path) -> Iterator[Check]:
    """Yield check results for the catalog, the collections, the keys, the modes and backups.

    A server may use the data folder meanwhile.
    """
    if not data_dir.is_dir():
        return
    yield from check_databases_of(data_dir)
    yield from check_catalog(data_dir)
    yield from check_audit_log(data_dir)
    yield from check_keys(data_dir)
    yield _modes(data_dir)
    yield from _backups(data_dir)


def check_catalog(data_dir: Path) -> Iterator[Check]:
    """Yield check results for the catalog, and for the collections that it names."""
    folder = data_dir / COLLECTIONS_FOLDER
    folders = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if not (data_dir / CATALOG_FILE).is_file():
        if (data_dir / SERVER_FOLDER).is_dir() or folders:
            yield Check(name="catalog", ok=not folders, detail="missing", hint=_RESTORE_CATALOG if folders else "")
        return
    try:
        rows = read_catalog_of(data_dir)
    except SuperAdvancedAgentsError as exc:
        yield Check(
            name="catalog", ok=False, detail=f"{CATALOG_FILE!r} cannot be read: {exc.message}", hint=_RESTORE_CATALOG
        )
        return
    detail = f"{len(rows.collections)} collections, {len(rows.agents)} agents with settings"
    if rows.problems:
        detail += f", {len(rows.problems)} damaged rows ({rows.problems[0]})"
    yield Check(name="catalog", ok=not rows.problems, detail=detail, hint=_RESTORE if rows.problems else "")
    gone = sorted(rows.ids - folders)
    extra = sorted(
        name for name in folders - rows.ids - set(rows.deleted) if (folder / name / STORE_DATABASE).is_file()
    )
    if gone:  # one may have been deleted between the two readings
        gone = sorted(read_catalog_of(data_dir).ids & set(gone))
    if gone or extra:
        found = [f"{len(gone)} without a folder"] if gone else []
        found += [f"{len(extra)} folders that the catalog does not name, such as {extra[0]!r}"] if extra else []
        hint = _RESTORE if gone else "move the folders away, or restore a backup whose catalog names them"
        yield Check(name="collections", ok=False, detail=", ".join(found), hint=hint)
    else:
        yield Check(name="collections", ok=True, detail="each one has its folder")


def _modes(data_dir: Path) -> Check:
    # What is below a private folder cannot be reached, whatever its own mode is.
    shared = [name for name in _FOLDERS if _is_shared(data_dir / name)] if _is_shared(data_dir) else []
    if not shared:
        return Check(name="modes", ok=True, detail="no other user can read the data")
    hint = f"chmod -R go= {str(data_dir)!r}; the next start of a server does it too"
    return Check(name="modes", ok=False, detail=f"other users can read {', '.join(map(repr, shared))}", hint=hint)


def _is_shared(folder: Path) -> bool:
    return folder.is_dir() and bool(stat.S_IMODE(folder.stat().st_mode) & _GROUP_AND_OTHERS)


def _backups(data_dir: Path) -> Iterator[Check]:
    if (data_dir / "backup.json").exists():
        try:
            backup = read_backup(data_dir)
            missing = [file.name for file in backup.files if not (data_dir / file.name).is_file()]
            detail = f"{missing[0]!r} is missing" if missing else f"this is a backup of {len(backup.files)} databases"
            yield Check(name="backup", ok=not missing, detail=detail, hint="use another backup" if missing else "")
        except SuperAdvancedAgentsError as exc:
            yield Check(name="backup", ok=False, detail=exc.message, hint=exc.hint)
    parent = data_dir.absolute().parent
    kinds = (STORE, CATALOG_FILE)
    parts = sorted(part.name for part in parent.glob(".*.part") if any((part / kind).exists() for kind in kinds))
    if parts:
        hint = "one may still be running; if not, repeat it, or remove the folder"
        yield Check(name="backup", ok=False, detail=f"{parts[0]!r} beside the data folder is incomplete", hint=hint)
