"""Checks of `saa doctor` for damaged and missing databases, and for the audit log."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from super_advanced_agents.cli.doctor.check import Check
from super_advanced_agents.config import CATALOG_FILE, COLLECTIONS_FOLDER, STORE_DATABASE
from super_advanced_agents.stores.local.folder import lost_database
from super_advanced_agents.stores.local.maintenance import SCHEMA_VERSION
from super_advanced_agents.tenancy.data_folder.saving import STORE

REQUESTS, JOBS = "server/requests.db", "jobs/jobs.db"
UPGRADE = "upgrade super-advanced-agents"
_EMPTY = "is empty"
_RESTORE = "put the file back, or restore a backup; to begin anew, remove its folder"
_HINTS = {
    CATALOG_FILE: "put the file back, or restore a backup",
    REQUESTS: "move it away: it only answers a write that is repeated within a day as it was answered first",
    JOBS: "put a copy of the file back, or move its folder away; its jobs and schedules are lost then",
}


@dataclass(frozen=True, slots=True)
class Damage:
    """Say what is wrong with a database file.

    Attributes:
        text: the predicate of a sentence about the file.
        newer: whether a newer version of this package wrote it, and nothing else is wrong.
    """

    text: str
    newer: bool = False


def damage_of(file: Path, newest: int | None) -> Damage | None:
    """Return what is wrong with an SQLite file, or None if it is whole.

    A server may use it meanwhile.

    Args:
        file: the path of the file.
        newest: the newest version of its tables that this program knows; None not to look at it.
    """
    try:
        if file.stat().st_size == 0:
            return Damage(_EMPTY)
        with closing(sqlite3.connect(f"file:{quote(str(file.absolute()))}?mode=ro", uri=True)) as connection:
            [(schema,)] = connection.execute("PRAGMA user_version")
            if newest is not None and schema > newest:
                return Damage(f"has schema {schema}, this version knows {newest}", newer=True)
            problems = [line for (line,) in connection.execute("PRAGMA quick_check(3)")]
    except OSError as exc:
        return Damage(f"cannot be read: {exc.strerror}")
    except sqlite3.Error as exc:
        return Damage(f"cannot be read: {exc}")
    return None if problems == ["ok"] else Damage(f"is damaged: {problems[0]}")


def check_databases_of(data_dir: Path) -> Iterator[Check]:
    """Yield a check result for each missing or damaged database, or one if all are in order.

    The rows of the data folder's own store and the keys have checks of their own.
    """
    databases = _databases(data_dir)
    if (data_dir / STORE).exists():
        databases.pop(STORE, None)
    wrong = list(_damaged(data_dir, databases))
    for check in wrong:
        yield replace(check, name="databases")
    if databases and not wrong:
        yield Check(name="databases", ok=True, detail=f"{len(databases)} besides the memories are there and undamaged")


def damaged_databases(data_dir: Path) -> Iterator[Check]:
    """Yield a check result for each missing or damaged database of a data folder.

    Its name is the path below the data folder.
    """
    yield from _damaged(data_dir, _databases(data_dir))


def _damaged(data_dir: Path, databases: Mapping[str, int | None]) -> Iterator[Check]:
    for name, newest in databases.items():
        file = data_dir / name
        lost = lost_database(file)
        damage = damage_of(file, newest) if file.exists() else Damage("is missing")
        if damage is None or (damage.text == _EMPTY and not lost):  # a first start that was ended leaves an empty one
            continue
        hint = UPGRADE if damage.newer else _HINTS.get(name, _RESTORE)
        yield Check(name=name, ok=False, detail=f"{name!r} {damage.text}", hint=hint)


def _databases(data_dir: Path) -> dict[str, int | None]:
    # The databases that are or were there, each with the newest version of its tables.
    from super_advanced_agents.jobs.sql.database import VERSION as JOBS_VERSION
    from super_advanced_agents.tenancy.catalog.rows import SCHEMA as CATALOG_SCHEMA

    collections = (f"{COLLECTIONS_FOLDER}/{path.name}/{STORE_DATABASE}" for path in _collections(data_dir))
    known: dict[str, int | None] = dict.fromkeys((STORE, *collections), SCHEMA_VERSION)
    known |= {CATALOG_FILE: CATALOG_SCHEMA.version, REQUESTS: None, JOBS: JOBS_VERSION}
    return {name: newest for name, newest in known.items() if _was_there(data_dir / name)}


def _collections(data_dir: Path) -> list[Path]:
    folder = data_dir / COLLECTIONS_FOLDER
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _was_there(file: Path) -> bool:
    return file.is_file() or lost_database(file)


def check_audit_log(data_dir: Path) -> Iterator[Check]:
    """Yield a check result: whether each entry of the audit log is as it was written.

    There is none without a log.
    """
    from super_advanced_agents.tenancy.data_folder.audit_files import AUDIT_FOLDER, AuditFiles

    folder = data_dir / AUDIT_FOLDER
    if not folder.is_dir():
        return
    hint = f"keep the folder {AUDIT_FOLDER!r}, and move it away: the next start begins a new log"
    try:
        found = AuditFiles(folder).verify()
    except OSError as exc:
        yield Check(name="audit log", ok=False, detail=f"cannot be read: {exc.strerror}", hint="check its permissions")
        return
    detail = f"not as it was written: {found.faults[0]}" if found.faults else f"{found.entries} entries as written"
    yield Check(name="audit log", ok=not found.faults, detail=detail, hint=hint if found.faults else "")
